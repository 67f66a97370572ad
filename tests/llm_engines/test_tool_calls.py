from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk


def test_a_tool_call_is_yielded_once_when_it_is_complete():
    """A tool call is yielded once, when it ends, with its fragments joined in order.

    Other tool calls may be incomplete at the same time.
    """
    assembler = ToolCallAssembler()
    assembler.add(0, "a", "weather", '{"x"')
    assembler.add(1, "b", "now")
    assembler.extend(0, ": 1")
    assembler.extend(0, "}")

    assert list(assembler.finish(0)) == [Chunk(tool_calls=(ToolCall("a", "weather", '{"x": 1}'),))]
    assert list(assembler.finish(0)) == []
    assert list(assembler.finish(1)) == [Chunk(tool_calls=(ToolCall("b", "now", "{}"),))]


def test_a_fragment_of_an_unknown_tool_call_is_ignored():
    """A fragment or the end of an unknown tool call is ignored."""
    assembler = ToolCallAssembler()
    assembler.extend(3, "{}")
    assert list(assembler.finish(3)) == []


def test_fragments_are_assigned_by_id_if_indices_repeat():
    """A fragment with a new id starts a tool call; one without an id continues the latest."""
    assembler = ToolCallAssembler()
    assembler.add(0, "a", "weather", "{")
    assembler.add(0, "a", "", "}")
    assembler.add(0, "b", "now", "")
    assembler.add(0, "", "", "{}")

    assert assembler.finish_all() == (ToolCall("a", "weather", "{}"), ToolCall("b", "now", "{}"))
    assert assembler.finish_all() == ()
