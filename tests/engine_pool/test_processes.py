"""Pools in processes: pickling, forking, interruption and exit."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import Config


def test_a_pool_pickles_without_keys(project):
    """A pickled pool contains no keys and is rebuilt when unpickled."""
    project.set_keys("GATEWAYX_GROK_API_KEY=sk-canary-123456\n")
    pool = project.pool()

    data = pickle.dumps(pool)

    assert b"canary" not in data
    assert pickle.loads(data).config.project.root == project.root
    assert "canary" not in repr(vars(pool._config.keys)) + repr(pool)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_config_pickles_without_keys(project, protocol):
    """A pickled config contains no key, not even one from the environment, and is read again."""
    project.set_keys("GATEWAYX_GROK_API_KEY=sk-canary-123456\n")
    config = Config(project.root, {"MY_TOKEN": "canary"})

    data = pickle.dumps(config, protocol)

    assert b"canary" not in data
    unpickled = pickle.loads(data)
    assert unpickled.project == config.project
    assert unpickled.key("grok").state == "set"


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("name", ["keys", "trusted"])
def test_the_parts_of_a_config_with_keys_refuse_to_be_pickled(project, name, copied):
    """An object with plain keys cannot be pickled."""
    with pytest.raises(UsageError, match="they may contain keys"):
        copied(getattr(project.pool().config, name))


def _ask(pool, prompt):
    return pool.ask(prompt, "mock")


def test_a_pool_and_a_reply_travel_to_a_worker_process(project):
    """A process pool, as joblib and others use it, calls with a pool and returns the replies."""
    with (
        project.pool() as pool,
        ProcessPoolExecutor(1, get_context("spawn")) as workers,
    ):
        reply = workers.submit(_ask, pool, "hi").result(timeout=60)

    assert (reply.text, reply.engine) == ("[mock] hi", "mock")


def test_the_default_pool_is_built_once(project, monkeypatch):
    """The default pool is built once, for the current folder, and is used by `gx.ask`."""
    monkeypatch.chdir(project.root)

    assert gx.pool() is gx.pool()
    assert gx.ask("x", model="mock").text == "[mock] x"
    assert gx.pool().config.project.root == project.root


def _start_script(text, project, **keywords):
    code = textwrap.dedent(text)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(Path(gx.__file__).parents[1])},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **keywords,
    )


def test_a_forked_child_builds_its_own_pool(project):
    """A forked child builds its own pool, and the pools of parent and child work."""
    process = _start_script(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        import gatewayx_nb as gx
        assert gx.ask("a", model="mock").text == "[mock] a"
        child = os.fork()
        if child == 0:
            print(gx.ask("child", model="mock"), flush=True)
            gx.pool().close()
            os._exit(0)
        os.waitpid(child, 0)
        print(gx.ask("parent", model="mock"))
        """,
        project,
    )

    stdout, stderr = process.communicate(timeout=30)

    assert (stdout, stderr) == ("[mock] child\n[mock] parent\n", "")


@pytest.mark.parametrize("call", ["gx.ask", "list(gx.stream"])
def test_ctrl_c_stops_a_waiting_script(project, call):
    """Ctrl-C in a script raises KeyboardInterrupt before the answer; stderr stays empty."""
    closing_parenthesis = ")" if "(" in call else ""
    process = _start_script(
        f"""
        import gatewayx_nb as gx
        gx.ask("warm", model="mock")
        print("ready", flush=True)
        try:
            {call}("x", model="mock", params={{"latency": 60}}){closing_parenthesis}
        except KeyboardInterrupt:
            print("stopped")
        """,
        project,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)  # the call is running; it does not matter whether the wait has begun
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=90)

    assert (stdout, stderr) == ("stopped\n", "")
    assert time.monotonic() - start < 40  # the call would take 60 s


def test_a_script_that_ends_during_a_stream_exits(project):
    """A script can exit in the middle of a stream without waiting for it."""
    process = _start_script(
        """
        import gatewayx_nb as gx
        stream = gx.stream("a b c", model="mock", params={"rate": 0.1})
        print(next(stream).text)
        """,
        project,
    )

    stdout, stderr = process.communicate(timeout=30)

    assert (stdout, stderr, process.returncode) == ("[mock]\n", "", 0)
