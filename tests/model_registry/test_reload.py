"""Every change is noticed by the next access, without a restart."""

import json
import os
import sys
import threading
import tomllib

import pytest

from gatewayx_nb.errors import EngineLoadError, EngineNotFoundError, MissingKeyError
from gatewayx_nb.testing import Send, Server, reply

WAITS = "    async def generate(self, prompt, **kwargs):\n"
SLOW = """\
    async def stream(self, request):
        import asyncio, os, pickle
        from gatewayx_nb.llm_engines import Chunk
        yield Chunk(text="begun ")
        while not os.path.exists({gate!r}):
            await asyncio.sleep(0.01)
        from ._late import WORD
        yield Chunk(text=type(pickle.loads(pickle.dumps(Told()))).__name__ + WORD)

    async def cleanup(self):
        with open({log!r}, "a") as file:
            file.write("closed ")


class Told:
    pass
"""
WHOLE = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()


def _slow(project):
    """Write an engine whose calls wait for a gate, then import and pickle."""
    gate, log = project.root / "gate", project.root / "log"
    project.engine("mine", body=SLOW.format(gate=str(gate), log=str(log)))
    (project.engines / "_late.py").write_text("WORD = ' late'\n")
    return gate, log


def _await_retiring(pool):
    for host in list(pool._runtime._retiring):
        host.portal._thread.join(5)


def test_two_edits_within_one_second_of_equal_size_are_seen(project, monkeypatch):
    """Two edits of equal size and time are noticed; no bytecode is used."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = project.engine("mine", "0")
    with project.pool() as pool:
        for says in "123":
            path.write_text(path.read_text().replace(f"'{int(says) - 1}'", f"'{says}'"))
            os.utime(path, (1, 1))
            pool.refresh()
            assert pool.ask("x", model="mine").text == says
    assert not list(project.engines.rglob("*.pyc"))


def _code(pool, name):
    """Return the code that an engine's file ran."""
    return pool._registry.current(pool._registry.resolve(name))


@pytest.mark.parametrize("where", ["_shared.py", "_parts/deep.py"])
def test_a_helper_is_read_again_with_its_engines(project, where):
    """A helper that is edited, removed or restored reloads exactly the engines that use it."""
    helper = project.engines / where
    helper.parent.mkdir(exist_ok=True)
    if where != "_shared.py":
        (helper.parent / "__init__.py").touch()
    module = where.removesuffix(".py").replace("/", ".")
    tells = f"    from .{module} import WORD\n" + WAITS + "        return self.WORD\n"
    for name in ("one", "two"):
        project.engine(name, body=tells)
    project.engine("other", "other")
    helper.write_text("WORD = 'a'\n")
    with project.pool() as pool:
        expected_message = [pool.ask("x", model=name).text for name in ("one", "two", "other")]
        assert expected_message == ["a", "a", "other"]
        other = _code(pool, "other")
        helper.write_text("WORD = 'b'\n")
        pool.refresh()
        assert [pool.ask("x", model=name).text for name in ("one", "two")] == ["b", "b"]
        assert _code(pool, "other") is other
        helper.unlink()
        pool.refresh()
        with pytest.raises(EngineLoadError, match=module.rpartition(".")[2]):
            pool.ask("x", model="one")
        helper.write_text("WORD = 'c'\n")
        assert {row.name: row.state for row in pool.status()}["one"] == "ready"
        assert pool.ask("x", model="one").text == "c"


def test_a_helper_that_was_not_there_is_seen_when_it_comes(project):
    """A missing optional helper is noticed once it appears."""
    project.engine(
        "mine",
        body="    try:\n        from ._extra import WORD\n    except ImportError:\n"
        "        WORD = 'without'\n" + WAITS + "        return self.WORD\n",
    )
    with project.pool() as pool:
        assert pool.ask("x", model="mine").text == "without"
        (project.engines / "_extra.py").write_text("WORD = 'with'\n")
        pool.refresh()
        assert pool.ask("x", model="mine").text == "with"


def test_a_renamed_file_is_another_engine(project):
    """A renamed file is a new engine, and the old name is gone at once."""
    path = project.engine("old", "x")
    with project.pool() as pool:
        pool.ask("x", model="old")
        path.rename(project.engines / "fresh_engine.py")
        pool.refresh()
        assert pool.ask("x", model="fresh").text == "x"
        with pytest.raises(EngineNotFoundError):
            pool.ask("x", model="old")


def test_a_row_comes_changes_and_goes(project):
    """A row that is added, changed or removed applies to the next call, with URL and model."""
    rows = project.root / "config" / "engines.toml"
    with Server(lambda request: [Send(reply(WHOLE))]) as server, project.pool() as pool:
        with pytest.raises(EngineNotFoundError):
            pool.use("mine")
        text = f'[mine]\nbase_url = "{server.url}/v1"\nmodel = "a"\nrequires_key = false\n'
        for version in (text, text.replace('"a"', '"b"').replace("/v1", "/v2")):
            rows.write_text(version)
            pool.refresh()
            pool.ask("x", model="mine")
        rows.unlink()
        pool.refresh()
        with pytest.raises(EngineNotFoundError):
            pool.use("mine")
        requests = [
            (request.target, json.loads(request.body)["model"]) for request in server.requests
        ]

    assert requests == [("/v1/chat/completions", "a"), ("/v2/chat/completions", "b")]


def test_settings_come_change_and_go(project):
    """Changes to aliases and engine keywords in the settings apply to the next call."""
    project.engine("mine", body=WAITS + "        return self.options.get('word', 'none')\n")
    with project.pool() as pool:
        expected_message = [pool.ask("x", model="mine").text]
        for word in ("one", "two"):
            project.settings(f'aliases.it = "mine"\nengines.mine.word = "{word}"')
            pool.refresh()
            expected_message.append(pool.ask("x", model="it").text)
        (project.root / "config" / "gatewayx.toml").unlink()
        pool.refresh()
        expected_message.append(pool.ask("x", model="mine").text)
        with pytest.raises(EngineNotFoundError):
            pool.ask("x", model="it")

    assert expected_message == ["none", "one", "two", "none"]


def _edit(project, pool):
    project.engine("mine", "new")
    pool.refresh()
    assert pool.ask("x", model="mine").text == "new"


def _remove(project, pool):
    (project.engines / "mine_engine.py").unlink()
    pool.refresh()
    with pytest.raises(EngineNotFoundError):
        pool.ask("x", model="mine")


def _lose_key(project, pool):
    project.set_keys("")
    pool.refresh()
    with pytest.raises(MissingKeyError):
        pool.ask("x", model="mine")


@pytest.mark.parametrize("change", [_edit, _remove, _lose_key], ids=lambda change: change.__name__)
def test_a_running_call_is_unharmed_and_its_client_closed_behind_it(project, change):
    """A running call survives a change to its engine: it may still import, and pickle its classes.

    Its client is closed afterwards.
    """
    gate, log = _slow(project)
    path = project.engines / "mine_engine.py"
    if change is _lose_key:
        path.write_text(path.read_text().replace("    requires_key = False\n", ""))
        project.set_keys("GATEWAYX_MINE_API_KEY=k\n")
    before = set(sys.modules)
    with project.pool() as pool:
        stream = pool.stream("x", model="mine")
        next(stream)
        change(project, pool)
        assert not log.exists()

        gate.touch()
        assert "".join(chunk.text for chunk in stream) == "Told late"

        _await_retiring(pool)
        if change is _edit:
            pool.ask("x", model="mine")  # runs on the same event loop, so after the closing
        assert log.read_text() == "closed "
    left = [name for name in set(sys.modules) - before if name.endswith(".mine_engine")]
    assert len(left) == (change is not _remove)


def test_an_engine_that_is_gone_leaves_no_thread(project):
    """A removed engine leaves no thread, however many come and go."""
    with project.pool() as pool:
        for number in range(5):
            path = project.engine(f"e{number}", "x")
            pool.refresh()
            pool.ask("x", model=f"e{number}")
            path.unlink()
        pool.refresh()
        _await_retiring(pool)
        names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("gatewayx e")]


def test_closing_the_pool_ends_calls_of_engines_that_are_gone(project):
    """Closing the pool also ends calls of engines that were removed."""
    _, log = _slow(project)
    with project.pool() as pool:
        stream = pool.stream("x", model="mine")
        next(stream)
        (project.engines / "mine_engine.py").unlink()
        pool.refresh()

    assert log.read_text() == "closed "


def test_what_is_unchanged_is_not_parsed_again(project, monkeypatch):
    """Unchanged files are not parsed again: checking the status costs a few stat calls per file."""
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1")
    project.settings("limits.retries = 0")
    with project.pool() as pool:
        before = pool.status(), pool.models()
        for parse in ("load", "loads"):
            monkeypatch.setattr(tomllib, parse, lambda _: pytest.fail("parsed again"))
        assert (pool.status(), pool.models()) == before
