"""The commands `key`, `keys` and `tools` for MCP servers."""

import sys

import pytest

from gatewayx_nb import commands
from gatewayx_nb.errors import UsageError


@pytest.fixture
def session(project, session_of):
    """Return a session in a project with one server that has a URL and one with a command."""
    project.settings(
        '[mcp.search]\nurl = "https://mcp.example.com/mcp"\n[mcp.sums]\ncommand = "sums"'
    )
    with project.pool() as pool:
        session = session_of(pool)
        session.shown = []
        session.show = lambda output: session.shown.append(str(output))
        session.ask_secret = lambda question: session.shown.append(question) or "made-up-key-123456"
        yield session


def test_the_key_of_a_server_is_set_listed_and_removed(session, project):
    """`mcp:NAME` is the name of a server with a URL; the question shows where the key goes."""
    result = repr(commands.run(session, "key set mcp:search"))
    assert "The key for mcp:search is set in " in result
    assert session.shown == [
        "The key for mcp:search is sent to https://mcp.example.com.",
        "GATEWAYX_MCP_SEARCH_API_KEY: ",
    ]
    keys = project.root / "config" / "secrets" / ".env.local"
    assert "GATEWAYX_MCP_SEARCH_API_KEY=made-up-key-123456" in keys.read_text()
    row = next(row for row in commands.run(session, "keys") if row[0] == "mcp:search")
    assert row[1] == "GATEWAYX_MCP_SEARCH_API_KEY"
    assert row[2].startswith("set in ")
    assert "is removed" in repr(commands.run(session, "key remove mcp:search"))
    assert "GATEWAYX_MCP_SEARCH_API_KEY" not in keys.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mcp:sums", "'sums' is started by a command and receives no key"),
        ("mcp:searchh", r"no MCP server 'searchh' with a URL\. Did you mean 'mcp:search'"),
        ("mcp:Search!", "engine 'mcp:Search!' has a name that"),
    ],
)
def test_other_servers_receive_no_key(session, name, message):
    """Nothing is asked for a server that does not use a key."""
    with pytest.raises(UsageError, match=message):
        commands.run(session, f"key set {name}")
    assert session.shown == []


def test_a_key_may_be_set_before_its_server_exists(session):
    """A server that a later cell creates with `gx.mcp(url=…)` is not in the settings."""
    assert "is set in" in repr(commands.run(session, "key set mcp:later --new"))


def test_the_list_says_that_the_extra_is_missing(session, monkeypatch):
    """Without the package `mcp`, no server can be started."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert 'pip install "gatewayx-nb[mcp]"' in repr(commands.run(session, "tools"))
