"""MCP servers and cassettes: a replay needs neither the server nor the extra."""

import pickle
import sys

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import CassetteMissError
from tests.mcp_client.conftest import calc, raw

CALL = 'call calc__add {"a": 2, "b": 3}'
GONE = gx.mcp(["no-such-command"], name="calc")
"""A server with the same name that cannot be started."""


@pytest.fixture
def without_extra(monkeypatch):
    """Return a function that makes the SDK unavailable."""
    return lambda: monkeypatch.setitem(sys.modules, "mcp", None)


def _ask(pool, tools, **options):
    return pool.ask(CALL, "mock", tools=tools, approve="always", **options)


@pytest.mark.parametrize("prompts", ["text", "digest"])
def test_a_replay_starts_nothing(project, tmp_path, without_extra, prompts):
    """A replay takes the tools and the results from the cassette."""
    path = tmp_path / "a.jsonl"
    if prompts == "digest":
        project.settings('[cassettes]\nprompts = "digest"')
    with project.pool() as pool, pool.cassette(path):
        recorded = _ask(pool, calc())
    without_extra()
    mode = "auto" if prompts == "digest" else "replay"
    with project.pool() as pool, pool.cassette(path, mode) as cassette:
        if prompts == "digest":  # results are recorded as digests only, and are not replayed
            assert [entry.engine for entry in cassette.entries] == ["mcp", "mock", "mock"]
            return
        replayed = _ask(pool, GONE)
        assert (replayed.text, replayed.replayed) == (recorded.text, True)
        assert replayed.steps[0].allowed_by == "replay"
        assert replayed.steps[0].outside
        assert pool.mcp_servers()[0:] == []
        assert [model.engine for model in pool.models()] == ["mock"]
        assert "mcp" not in [row.name for row in pool.status()]
        (state,) = pool.mcp_servers(GONE)
        assert state.state == "recorded"
        assert "add" in [tool.name for tool in state.tools]


def test_a_server_whose_tools_are_not_recorded_is_a_miss(project, tmp_path):
    """The error names the server whose tools are not recorded."""
    path = tmp_path / "a.jsonl"
    with project.pool() as pool, pool.cassette(path):
        _ask(pool, calc())
    with gx.EnginePool(home=project.root, env={"CI": "1"}) as pool, pool.cassette(path):
        with pytest.raises(
            CassetteMissError,
            match=r"does not contain the tools of the MCP server 'raw'.*where CI is not set",
        ):
            pool.ask("Hi", "mock", tools=raw("plain"))
        with pytest.raises(
            CassetteMissError, match="does not contain the tools of the MCP server 'calc'"
        ):
            _ask(pool, calc(only="add"))


def test_tools_are_recorded_once(project, tmp_path):
    """A second call takes the tools from the cassette."""
    path = tmp_path / "a.jsonl"
    with project.pool() as pool, pool.cassette(path) as cassette:
        _ask(pool, calc())
        pool.ask("Hi", "mock", tools=calc())
        assert [entry.engine for entry in cassette.entries].count("mcp") == 1
        _ask(pool, calc(), renew=True)
        assert [entry.engine for entry in cassette.entries].count("mcp") == 1


def test_recorded_tools_that_have_changed_are_not_called(project, tmp_path):
    """A tool that differs from the recorded one, which the model has seen, is not called."""
    path, state = tmp_path / "a.jsonl", tmp_path / "tools.json"
    state.write_text('[{"name": "echo", "description": "Old.", "inputSchema": {"type": "object"}}]')
    server = raw("file", str(state))
    with project.pool() as pool, pool.cassette(path):
        pool.ask("Hi", "mock", tools=server)
        state.write_text(state.read_text().replace("Old", "New"))
        reply = pool.ask("call raw__echo {}", "mock", tools=server, approve="always")
        assert "has changed since it was listed" in reply.steps[0].error
        # The user has allowed the old one.
        renewed = pool.ask("call raw__echo {}", "mock", tools=server, approve="always", renew=True)
        assert renewed.steps[0].error == "the call needs permission, and nobody can be asked"


def test_replayed_tools_can_be_run(project, tmp_path):
    """With the environment variable, tools run, and a different result is a miss."""
    path = tmp_path / "a.jsonl"
    with project.pool() as pool, pool.cassette(path):
        pool.ask("call calc__process {}", "mock", tools=calc(), approve="always")
    env = {"GATEWAYX_CASSETTE_TOOLS": "run"}
    with (
        gx.EnginePool(home=project.root, env=env) as pool,
        pool.cassette(path, "replay"),
        pytest.raises(CassetteMissError),
    ):
        pool.ask("call calc__process {}", "mock", tools=calc(), approve="always")


def test_a_reply_with_open_calls_is_continued(project):
    """A pickled reply is continued in a pool that has not used the server."""
    with project.pool() as pool:
        reply = _ask(pool, calc(), max_turns=1)
        assert pool.resume(reply, approve="always").steps[0].sent == "5"
    copied = pickle.loads(pickle.dumps(reply))
    with project.pool() as pool:
        assert pool.resume(copied, tools=calc(), approve="always").steps[0].sent == "5"
        assert pool.submit(copied, "6", tools=calc()).steps[0].sent == "6"


def test_a_chat_and_a_comparison_take_servers(project):
    """Each column of a comparison calls tools, and a conversation keeps the results."""
    with project.pool() as pool:
        chat = pool.chat("mock")
        assert chat.ask(CALL, tools=calc(), approve="always").steps[0].sent == "5"
        assert chat.ask("Hi").steps == ()
        comparison = pool.compare(CALL, ["mock", "mock"], tools=calc(), approve="always")
        assert [reply.steps[0].sent for reply in comparison] == ["5", "5"]


def test_the_missing_extra_is_named(pool, without_extra):
    """The error about the missing SDK has the command that installs the extra."""
    without_extra()
    with pytest.raises(gx.ConfigError, match="needs the package mcp") as caught:
        pool.ask("Hi", "mock", tools=calc())
    assert 'pip install "gatewayx-nb[mcp]"' in str(caught.value)
