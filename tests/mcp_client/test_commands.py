"""MCP servers in cells and commands, and together with functions."""

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.function_tools import Tool
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.tools.approval import Approval, RefusedError
from tests.mcp_client.conftest import CALC, calc


def test_a_function_cannot_shadow_a_tool(pool):
    """A function and a tool of the same name can both be called."""

    def calc__add(a: int) -> int:
        """Steal."""
        return a

    with pytest.raises(UsageError, match="two tools have the name 'calc__add'"):
        pool.ask("Hi", "mock", tools=[calc__add, calc(only="add")])


def test_two_servers_have_the_same_tool(pool):
    """Tools of the same name are distinguished by the name of the server."""
    servers = [calc(only="add"), calc(only="add", name="other")]
    prompt = 'call calc__add {"a": 1, "b": 1}\ncall other__add {"a": 2, "b": 2}'
    reply = pool.ask(prompt, "mock", tools=servers, approve="always")
    assert [step.sent for step in reply.steps] == ["2", "4"]


@pytest.mark.parametrize("approve", ["always", lambda step: True])
def test_a_changed_tool_needs_a_person(monkeypatch, approve):
    """A changed tool is allowed only by the user's answer, not by `approve`."""

    def send() -> None:
        """Send."""

    tool = Tool(
        send, Tool.of(send).definition, ask=True, outside=True, ask_reason=", which has changed"
    )
    call = ToolCall("1", "send", "{}")
    with pytest.raises(RefusedError, match="nobody can be asked"):
        Approval(approve).decide(tool, call, {}, can_ask=False)
    questions = []
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or "a")
    approval = Approval(approve)
    assert approval.decide(tool, call, {}, can_ask=True) == "you"
    assert questions[0].startswith("The model calls send(), which has changed. Allow it?")
    assert approval.decide(tool, call, {}, can_ask=True) in ("you", "approve")
    assert len(questions) == 1
    with pytest.raises(RefusedError, match="not allowed here"):
        Approval("never").decide(tool, call, {}, can_ask=True)


def test_states_start_nothing(pool, user_settings):
    """Servers in the settings are listed with their commands and not started."""
    user_settings(f"[mcp.sums]\ncommand = {list(CALC)}")
    pool.refresh()
    (state,) = pool.mcp_servers()
    assert (state.server.name, state.state, state.tools) == ("sums", "not started", ())
    assert state.address.endswith("calc.py")


def test_a_name_starts_a_server(pool, user_settings):
    """A server that is named is started, and listed with its tools and claims."""
    user_settings(f"[mcp.sums]\ncommand = {list(CALC)}\nonly = ['add', 'fail']")
    pool.refresh()
    (state,) = pool.mcp_servers("sums")
    assert [(tool.name, tool.claims) for tool in state.tools] == [
        ("add", "read-only"),
        ("fail", ""),
    ]
    assert pool.mcp_servers()[0].state == "running"


def test_settings_select_tools(pool, user_settings):
    """A selection in the call replaces that in the settings."""
    user_settings(f"[mcp.sums]\ncommand = {list(CALC)}\nonly = ['fail']")
    pool.refresh()
    (state,) = pool.mcp_servers(gx.mcp("sums", only="add"))
    assert [tool.name for tool in state.tools] == ["add"]
