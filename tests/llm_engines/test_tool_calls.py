import pytest

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.llm_engines.tool_calls import MAX_CALLS, ToolCallAssembler
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk
from tests.processor import seconds


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


@pytest.mark.parametrize("finish", ["each", "all"])
def test_many_calls_are_assembled_in_linear_time(finish):
    """Eight times as many calls take about 8 times as long, not 64 times."""

    def time_of(count):
        def assemble():
            calls = ToolCallAssembler()
            for number in range(count):
                calls.add(number, f"call_{number}", "f", "{")
            for number in range(count):
                calls.extend(number, "}")
            if finish == "all":
                assert len(calls.finish_all()) == count
            else:
                assert sum(len(list(calls.finish(number))) for number in range(count)) == count
            assert not calls

        return min(seconds(assemble) for _ in range(3))

    assert time_of(8_000) < 30 * time_of(1_000)


def test_an_answer_with_too_many_calls_is_an_error():
    """A provider cannot fill the memory with calls that nobody asked for."""
    calls = ToolCallAssembler()
    for number in range(MAX_CALLS):
        calls.add(number, "", "f")
    with pytest.raises(ProviderError, match="more than 10,000 tool calls"):
        calls.add(MAX_CALLS, "", "f")


@pytest.mark.parametrize("index", [None, 0, "a", [1], {"a": 1}])
def test_an_index_may_be_any_json(index):
    """Pieces with the same index belong to one call."""
    calls = ToolCallAssembler()
    calls.add(index, "1", "f", '{"a":')
    calls.extend(index, "1}")
    assert [call.arguments for call in calls.finish_all()] == ['{"a":1}']
