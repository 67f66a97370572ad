from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk


def test_a_call_is_given_whole_and_once():
    """A tool call is yielded once, when it ends, with its parts in order.

    Other calls may be open at the same time.
    """
    calls = ToolCallAssembler()
    calls.add(0, "a", "weather", '{"x"')
    calls.add(1, "b", "now")
    calls.extend(0, ": 1")
    calls.extend(0, "}")

    assert list(calls.finish(0)) == [Chunk(tool_calls=(ToolCall("a", "weather", '{"x": 1}'),))]
    assert list(calls.finish(0)) == []
    assert list(calls.finish(1)) == [Chunk(tool_calls=(ToolCall("b", "now", "{}"),))]


def test_a_piece_of_no_call_is_ignored():
    """A part or the end of an unknown tool call is ignored."""
    calls = ToolCallAssembler()
    calls.extend(3, "{}")
    assert list(calls.finish(3)) == []


def test_servers_that_number_their_calls_carelessly_are_understood():
    """A piece with another id starts a new call; one without an id continues the latest."""
    calls = ToolCallAssembler()
    calls.add(0, "a", "weather", "{")
    calls.add(0, "a", "", "}")
    calls.add(0, "b", "now", "")
    calls.add(0, "", "", "{}")

    assert calls.finish_all() == (ToolCall("a", "weather", "{}"), ToolCall("b", "now", "{}"))
    assert calls.finish_all() == ()
