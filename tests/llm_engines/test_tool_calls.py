from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk


def test_a_call_is_given_whole_and_once():
    """When it ends, with its pieces in order; others may be open beside it."""
    calls = ToolCallAssembler()
    calls.open(0, "a", "weather", '{"x"')
    calls.open(1, "b", "now")
    calls.extend(0, ": 1")
    calls.extend(0, "}")

    assert list(calls.close(0)) == [Chunk(tool_calls=(ToolCall("a", "weather", '{"x": 1}'),))]
    assert list(calls.close(0)) == []
    assert list(calls.close(1)) == [Chunk(tool_calls=(ToolCall("b", "now", "{}"),))]


def test_a_piece_of_no_call_is_ignored():
    """So is the end of one that never began."""
    calls = ToolCallAssembler()
    calls.extend(3, "{}")
    assert list(calls.close(3)) == []
