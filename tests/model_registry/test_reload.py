"""Changes to files and keys apply to the next call, without a restart."""

import json
import os
import sys
import threading
import tomllib

import pytest

from gatewayx_nb.errors import EngineLoadError, EngineNotFoundError, MissingKeyError
from gatewayx_nb.testing import Send, Server, reply

GENERATE_HEADER = "    async def generate(self, prompt, **kwargs):\n"
SLOW_BODY = """\
    async def stream(self, request):
        import asyncio, os, pickle
        from gatewayx_nb.llm_engines import Chunk
        yield Chunk(text="first ")
        while not os.path.exists({release_file!r}):
            await asyncio.sleep(0.01)
        from ._late import WORD
        yield Chunk(text=type(pickle.loads(pickle.dumps(Pickled()))).__name__ + WORD)

    async def cleanup(self):
        with open({log!r}, "a") as file:
            file.write("closed ")


class Pickled:
    pass
"""
COMPLETION_BODY = json.dumps(
    {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
).encode()


def _write_slow_engine(project):
    """Write an engine whose calls wait for a file to exist, then import a helper and pickle.

    Return the paths of that file and of the engine's log.
    """
    release_file, log = project.root / "release", project.root / "log"
    project.engine("mine", body=SLOW_BODY.format(release_file=str(release_file), log=str(log)))
    (project.engines / "_late.py").write_text("WORD = ' late'\n")
    return release_file, log


def _join_retiring_threads(pool):
    for host in list(pool._runtime._retiring_hosts):
        host.portal._thread.join(5)


def test_edits_with_equal_size_and_time_are_noticed(project, monkeypatch):
    """Edits that change neither the size nor the time of a file are noticed.

    No bytecode is written, because it would be matched by size and time.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = project.engine("mine", "0")
    with project.pool() as pool:
        for answer in "123":
            path.write_text(path.read_text().replace(f"'{int(answer) - 1}'", f"'{answer}'"))
            os.utime(path, (1, 1))
            pool.refresh()
            assert pool.ask("x", model="mine").text == answer
    assert not list(project.engines.rglob("*.pyc"))


def _loaded_code(pool, name):
    """Return the loaded code of an engine."""
    return pool._registry.current(pool._registry.resolve(name))


@pytest.mark.parametrize("helper_path", ["_shared.py", "_parts/deep.py"])
def test_a_changed_helper_reloads_the_engines_that_use_it(project, helper_path):
    """A helper that is edited, removed or restored reloads only the engines that use it."""
    helper = project.engines / helper_path
    helper.parent.mkdir(exist_ok=True)
    if helper_path != "_shared.py":
        (helper.parent / "__init__.py").touch()
    module = helper_path.removesuffix(".py").replace("/", ".")
    body = f"    from .{module} import WORD\n" + GENERATE_HEADER + "        return self.WORD\n"
    for name in ("one", "two"):
        project.engine(name, body=body)
    project.engine("other", "other")
    helper.write_text("WORD = 'a'\n")
    with project.pool() as pool:
        answers = [pool.ask("x", model=name).text for name in ("one", "two", "other")]
        assert answers == ["a", "a", "other"]
        other_code = _loaded_code(pool, "other")
        helper.write_text("WORD = 'b'\n")
        pool.refresh()
        assert [pool.ask("x", model=name).text for name in ("one", "two")] == ["b", "b"]
        assert _loaded_code(pool, "other") is other_code
        helper.unlink()
        pool.refresh()
        with pytest.raises(EngineLoadError, match=module.rpartition(".")[2]):
            pool.ask("x", model="one")
        helper.write_text("WORD = 'c'\n")
        assert {row.name: row.state for row in pool.status()}["one"] == "ready"
        assert pool.ask("x", model="one").text == "c"


def test_a_missing_helper_is_noticed_once_it_is_added(project):
    """An engine that works without an optional helper uses it once it is added."""
    project.engine(
        "mine",
        body="    try:\n        from ._extra import WORD\n    except ImportError:\n"
        "        WORD = 'without'\n" + GENERATE_HEADER + "        return self.WORD\n",
    )
    with project.pool() as pool:
        assert pool.ask("x", model="mine").text == "without"
        (project.engines / "_extra.py").write_text("WORD = 'with'\n")
        pool.refresh()
        assert pool.ask("x", model="mine").text == "with"


def test_a_renamed_file_is_a_new_engine(project):
    """A renamed file is an engine with the new name, and the old name is immediately unknown."""
    path = project.engine("old", "x")
    with project.pool() as pool:
        pool.ask("x", model="old")
        path.rename(project.engines / "fresh_engine.py")
        pool.refresh()
        assert pool.ask("x", model="fresh").text == "x"
        with pytest.raises(EngineNotFoundError):
            pool.ask("x", model="old")


def test_changes_to_an_entry_apply_to_the_next_call(project):
    """An added, changed or removed entry of engines.toml applies to the next call."""
    path = project.root / "config" / "engines.toml"
    with Server(lambda request: [Send(reply(COMPLETION_BODY))]) as server, project.pool() as pool:
        with pytest.raises(EngineNotFoundError):
            pool.use("mine")
        text = f'[mine]\nbase_url = "{server.url}/v1"\nmodel = "a"\nrequires_key = false\n'
        for version in (text, text.replace('"a"', '"b"').replace("/v1", "/v2")):
            path.write_text(version)
            pool.refresh()
            pool.ask("x", model="mine")
        path.unlink()
        pool.refresh()
        with pytest.raises(EngineNotFoundError):
            pool.use("mine")
        requests = [
            (request.target, json.loads(request.body)["model"]) for request in server.requests
        ]

    assert requests == [("/v1/chat/completions", "a"), ("/v2/chat/completions", "b")]


def test_changes_to_settings_apply_to_the_next_call(project):
    """Changes to aliases and engine keywords in the settings apply to the next call."""
    project.engine(
        "mine", body=GENERATE_HEADER + "        return self.options.get('word', 'none')\n"
    )
    with project.pool() as pool:
        answers = [pool.ask("x", model="mine").text]
        for word in ("one", "two"):
            project.settings(f'aliases.it = "mine"\nengines.mine.word = "{word}"')
            pool.refresh()
            pool.trust(pool.untrusted_engines())
            answers.append(pool.ask("x", model="it").text)
        (project.root / "config" / "gatewayx.toml").unlink()
        pool.refresh()
        answers.append(pool.ask("x", model="mine").text)
        with pytest.raises(EngineNotFoundError):
            pool.ask("x", model="it")

    assert answers == ["none", "one", "two", "none"]


def _edit_engine(project, pool):
    project.engine("mine", "new")
    pool.refresh()
    assert pool.ask("x", model="mine").text == "new"


def _remove_engine(project, pool):
    (project.engines / "mine_engine.py").unlink()
    pool.refresh()
    with pytest.raises(EngineNotFoundError):
        pool.ask("x", model="mine")


def _remove_key(project, pool):
    project.set_keys("")
    pool.refresh()
    with pytest.raises(MissingKeyError):
        pool.ask("x", model="mine")


@pytest.mark.parametrize(
    "change", [_edit_engine, _remove_engine, _remove_key], ids=lambda change: change.__name__
)
def test_a_running_call_survives_a_change_to_its_engine(project, change):
    """A running call of a changed engine can still import helpers and pickle its classes.

    The engine is cleaned up after the call.
    """
    release_file, log = _write_slow_engine(project)
    path = project.engines / "mine_engine.py"
    if change is _remove_key:
        path.write_text(path.read_text().replace("    requires_key = False\n", ""))
        project.set_keys("GATEWAYX_MINE_API_KEY=k\n")
    modules_before = set(sys.modules)
    with project.pool() as pool:
        stream = pool.stream("x", model="mine")
        next(stream)
        change(project, pool)
        assert not log.exists()

        release_file.touch()
        assert "".join(chunk.text for chunk in stream) == "Pickled late"

        _join_retiring_threads(pool)
        if change is _edit_engine:
            pool.ask("x", model="mine")  # runs on the same event loop, after the cleanup
        assert log.read_text() == "closed "
    loaded_modules = [
        name for name in set(sys.modules) - modules_before if name.endswith(".mine_engine")
    ]
    assert len(loaded_modules) == (change is not _remove_engine)


def test_a_removed_engine_leaves_no_thread(project):
    """The thread of a removed engine ends, so that threads do not accumulate."""
    with project.pool() as pool:
        for number in range(5):
            path = project.engine(f"e{number}", "x")
            pool.refresh()
            pool.ask("x", model=f"e{number}")
            path.unlink()
        pool.refresh()
        _join_retiring_threads(pool)
        names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("gatewayx e")]


def test_closing_the_pool_ends_calls_of_removed_engines(project):
    """Closing the pool ends the running calls of engines whose files were removed."""
    _, log = _write_slow_engine(project)
    with project.pool() as pool:
        stream = pool.stream("x", model="mine")
        next(stream)
        (project.engines / "mine_engine.py").unlink()
        pool.refresh()

    assert log.read_text() == "closed "


def test_unchanged_files_are_not_parsed_again(project, monkeypatch):
    """The status of unchanged files is computed without parsing TOML again."""
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1")
    project.settings("limits.retries = 0")
    with project.pool() as pool:
        status_and_models = pool.status(), pool.models()
        for function_name in ("load", "loads"):
            monkeypatch.setattr(tomllib, function_name, lambda _: pytest.fail("parsed again"))
        assert (pool.status(), pool.models()) == status_and_models
