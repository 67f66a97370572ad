"""An instance that is replaced or retired is cleaned up once, after its last call."""

import asyncio
import threading

import pytest

from gatewayx_nb.errors import GatewayError
from tests.widgets.waiting import wait_until

# Each instance logs what happens to it. The first clean-up waits for a file to exist.
BODY = """\
    count = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        type(self).count += 1
        self.number = self.count
        self.note("create")

    def note(self, event):
        with open({log!r}, "a") as file:
            file.write(f"{{event}} {{self.number}}\\n")

    async def generate(self, prompt, **kwargs):
        self.note("call")
        return f"instance {{self.number}}"

    async def cleanup(self):
        import asyncio, os
        self.note("begin to clean up")
        while not os.path.exists({gate!r}):
            await asyncio.sleep(0.01)
        self.note("clean up")
"""


class Scene:
    """A pool whose first call has ended, and whose engine's settings can be changed."""

    def __init__(self, project):
        self.project, self._settings = project, 0
        self._gate, self._log = project.root / "gate", project.root / "log"
        project.engine("mine", body=BODY.format(log=str(self._log), gate=str(self._gate)))
        self.pool = project.pool()
        assert self.pool.ask("x", model="mine").text == "instance 1"

    @property
    def log(self):
        """The logged events."""
        return self._log.read_text().splitlines()

    def wait_for(self, event):
        """Wait for an event in the log."""
        wait_until(lambda: event in self.log)

    def change_settings(self):
        """Change the engine's settings, so that the next call creates an instance."""
        self._settings += 1
        self.project.settings(f'[engines.mine]\nmodel = "model-{self._settings}"\n')
        self.pool.refresh()

    def ask_in_thread(self, model="mine"):
        """Start a call; return its thread and the list that receives its text or error."""
        outcomes = []

        def ask():
            try:
                outcomes.append(self.pool.ask("x", model=model).text)
            except GatewayError as error:
                outcomes.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        return thread, outcomes

    def replace_instance(self):
        """Start a call that replaces the instance and waits until it is cleaned up."""
        self.change_settings()
        call = self.ask_in_thread()
        self.wait_for("begin to clean up 1")
        return call

    def finish_cleanups(self):
        """Let the clean-ups end."""
        self._gate.touch()


@pytest.fixture
def scene(project):
    """Yield a scene whose pool is closed at the end."""
    scene = Scene(project)
    yield scene
    scene.finish_cleanups()
    scene.pool.close()


def _assert_cleaned_up_once(log, number):
    assert log.count(f"begin to clean up {number}") == log.count(f"clean up {number}") == 1
    assert f"call {number}" not in log[log.index(f"begin to clean up {number}") :]


def test_a_second_change_does_not_close_the_instance_of_a_waiting_call(scene):
    """A call that waits for a clean-up keeps its new instance if the settings change again."""
    waiting, outcomes = scene.replace_instance()
    scene.change_settings()
    second, second_outcomes = scene.ask_in_thread()
    scene.wait_for("create 3")
    scene.finish_cleanups()
    waiting.join()
    second.join()
    scene.wait_for("clean up 2")

    assert (outcomes, second_outcomes) == (["instance 2"], ["instance 3"])
    for number in (1, 2):
        _assert_cleaned_up_once(scene.log, number)
    assert "begin to clean up 3" not in scene.log


def test_a_removed_engine_is_cleaned_up_after_a_waiting_call(scene):
    """If an engine's file is removed, a call that waits for a clean-up still ends normally."""
    waiting, outcomes = scene.replace_instance()
    (scene.project.engines / "mine_engine.py").unlink()
    scene.pool.refresh()
    scene.finish_cleanups()
    waiting.join()
    scene.wait_for("clean up 2")

    assert outcomes == ["instance 2"]
    for number in (1, 2):
        _assert_cleaned_up_once(scene.log, number)


def test_closing_a_pool_cancels_a_waiting_call(scene):
    """If a pool is closed, a call that waits for a clean-up is not sent, and nothing is left."""
    waiting, outcomes = scene.replace_instance()
    closing = threading.Thread(target=scene.pool.close)
    closing.start()
    scene.wait_for("begin to clean up 2")
    scene.finish_cleanups()
    closing.join()
    waiting.join()

    assert outcomes[0].code == "closed"
    assert "call 2" not in scene.log
    for number in (1, 2):
        _assert_cleaned_up_once(scene.log, number)


async def _cancel_a_waiting_call(scene):
    scene.change_settings()
    task = asyncio.create_task(scene.pool.aask("x", model="mine"))
    await asyncio.to_thread(scene.wait_for, "begin to clean up 1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_cancelling_a_waiting_call_does_not_interrupt_the_clean_up(scene):
    """The old instance is cleaned up, and the next call uses the new one."""
    asyncio.run(_cancel_a_waiting_call(scene))
    assert scene.pool.ask("x", model="mine").text == "instance 2"
    scene.finish_cleanups()
    scene.wait_for("clean up 1")

    _assert_cleaned_up_once(scene.log, 1)
    assert "begin to clean up 2" not in scene.log


def test_closing_a_pool_cleans_up_a_replaced_instance(scene):
    """A clean-up that has begun ends before the loop is stopped, although its call is cancelled."""
    asyncio.run(_cancel_a_waiting_call(scene))
    closing = threading.Thread(target=scene.pool.close)
    closing.start()
    scene.wait_for("begin to clean up 2")
    scene.finish_cleanups()
    closing.join()

    for number in (1, 2):
        _assert_cleaned_up_once(scene.log, number)


def test_an_instance_that_is_created_while_the_pool_closes_is_cleaned_up(scene):
    """A call whose engine is still loading when the pool is closed leaves no instance behind."""
    loading, loaded, log = (scene.project.root / name for name in ("loading", "loaded", "late-log"))
    wait = f"    import os, time\n    open({str(loading)!r}, 'w').close()\n"
    wait += f"    while not os.path.exists({str(loaded)!r}):\n"
    body = BODY.replace("    count = 0\n", f"{wait}        time.sleep(0.01)\n    count = 0\n")
    body = body.replace('self.note("call")', "import asyncio\n        await asyncio.sleep(3600)")
    scene.project.engine("late", body=body.format(log=str(log), gate=str(loaded)))
    scene.pool.refresh()
    waiting, outcomes = scene.ask_in_thread("late")
    wait_until(loading.exists)  # a call that begins after the closing opens the pool again
    closing = threading.Thread(target=scene.pool.close)
    closing.start()
    scene.wait_for("begin to clean up 1")
    loaded.touch()
    wait_until(lambda: log.exists() or not closing.is_alive())
    scene.finish_cleanups()
    closing.join()
    waiting.join()

    assert outcomes[0].code == "closed"
    events = log.read_text() if log.exists() else ""
    assert events.count("create") == events.count("\nclean up")
