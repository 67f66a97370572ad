"""`gx.mcp`: the value, its default name and invalid arguments."""

import pickle
import sys
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.mcp_client.declarations import full_name
from tests.canary import KEY

NAMES = {
    "uvx mcp-server-time": "mcp-server-time",
    "npx -y @modelcontextprotocol/server-filesystem /data": "server-filesystem",
    "uv run weather.py": "weather",
    "python -m my_server": "my_server",
    "docker run -i --rm mcp/time": "time",
    "python -c print": "print",
    "./serve --port 1": "serve",
}


@pytest.mark.parametrize("command", NAMES)
def test_the_name_comes_from_the_program(command):
    """The name is that of the program, without its runner and options."""
    assert gx.mcp(command).name == NAMES[command]


def test_a_url_gives_the_name_of_its_host():
    """The name comes from the host; one that begins with a digit gets a prefix."""
    assert gx.mcp(url="https://Mcp.Example.com/mcp").name == "mcp_example_com"
    assert gx.mcp(url="http://127.0.0.1:1/mcp").name == "mcp_127_0_0_1"


def test_a_single_word_names_a_server_in_the_settings():
    """A str of one word names a server in the settings; a list is always a command."""
    assert gx.mcp("time").is_in_settings
    assert not gx.mcp(["time"]).is_in_settings
    assert not gx.mcp([Path(sys.executable)]).is_in_settings


def test_a_server_is_a_plain_value():
    """A server can be compared, pickled and displayed."""
    server = gx.mcp("uvx mcp-server-time", only=["a", "a", "b"])
    assert pickle.loads(pickle.dumps(server)) == server
    assert server.only == ("a", "b")
    assert repr(server) == "mcp('uvx mcp-server-time', only=['a', 'b'])"


INVALID = {
    "nothing": ({}, "needs either a command or a url"),
    "both": ({"command": "a b", "url": "http://a/b"}, "needs either a command or a url"),
    "number": ({"command": 5}, "must be a str or a list of str, got 5"),
    "open quote": ({"command": "a 'b"}, "no closing quotation"),
    "NUL": ({"command": ["a", "b\0"]}, "must not contain a NUL"),
    "key": ({"command": f"server --token {'sk-ant-api03-' + 'a' * 80}"}, "must not contain a key"),
    "scheme": ({"url": "ftp://a/b"}, "must begin with https:// or http://"),
    "user": ({"url": "https://me:secret@a/b"}, "must not contain a user name"),
    "query": ({"url": f"https://a/b?key={KEY}"}, "must not contain a query"),
    "host": ({"url": "https:///b"}, "has no host"),
    "port": ({"url": "https://a:99999999/b"}, "has an invalid port"),
    "name": ({"command": "a b", "name": "Two words"}, "name must consist of at most 24"),
    "long name": ({"command": "a b", "name": "a" * 25}, "name must consist of at most 24"),
    "URL as a command": ({"command": "https://a/b"}, "the command of an MCP server is a URL"),
    "no tools": ({"command": "a b", "only": []}, "only must name at least one tool"),
    "only": ({"command": "a b", "only": [5]}, "only must be a name or a list of names"),
    "value in env": ({"command": "a b", "env": f"TOKEN={KEY}"}, "env must contain only names"),
    "env of a URL": ({"url": "http://a/b", "env": "TOKEN"}, "env has no effect with a url"),
    "env of a name": ({"command": "time", "env": "TOKEN"}, "env has no effect for a server in"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_arguments_are_refused(name):
    """The error is one line with a hint, and contains no secret."""
    arguments, message = INVALID[name]
    with pytest.raises(UsageError) as caught:
        gx.mcp(**arguments)
    assert message in str(caught.value)
    assert caught.value.hint
    assert "me:secret" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_unknown_argument_is_one_line():
    """As for other functions."""
    with pytest.raises(UsageError, match="timeout"):
        gx.mcp("a b", timeout=5)


def test_two_servers_of_one_name_are_refused(pool):
    """Two servers of the same name could hide each other's tools."""
    tools = [gx.mcp("a b", name="x"), gx.mcp("c d", name="x")]
    with pytest.raises(UsageError, match="two MCP servers have the name 'x'"):
        pool.ask("Hi", "mock", tools=tools)


def test_names_of_tools_are_valid_and_different():
    """A name that must be changed ends with a digest of the original."""
    odd = ["read file", "read.file", "read_file", "ä" * 100, "ö" * 100, "a" * 70, "a" * 71, ""]
    names = [full_name("server", name) for name in odd]
    assert len(set(names)) == len(odd)
    assert all(len(name) <= 64 and name.isascii() for name in names)
    assert names[2] == "server__read_file"
