"""What a cell binds and reports at its end: `-o`, a stopped call, and answers without text."""

import math

import pytest

from gatewayx_nb.calls import PartialReply, reply_summary
from gatewayx_nb.errors import UsageError
from gatewayx_nb.magics import cell
from gatewayx_nb.magics.cell_run import AnswerRun
from gatewayx_nb.magics.reply_target import ReplyTarget
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Reply


class City:
    """A class in the notebook."""


@pytest.mark.parametrize(
    ("name", "kind"),
    [("math", "module"), ("City", "class"), ("helper", "function"), ("log", "function")],
)
@pytest.mark.parametrize("attribute", ["", ".text"])
def test_a_reply_does_not_overwrite_code(name, kind, attribute):
    """A notebook's module, function or class is not overwritten; nothing is sent."""
    names = {"math": math, "City": City, "helper": lambda: None, "log": math.log}
    with pytest.raises(UsageError, match=f"would overwrite the {kind} '{name}'"):
        cell.read(f"mock -o {name}{attribute}", "hi", names)


def test_a_value_is_overwritten():
    """Any other variable may be bound again, so that a cell can be run twice."""
    parsed = cell.read("mock -o answer", "hi", {"answer": 1})

    assert parsed.target == ReplyTarget("answer")


@pytest.mark.parametrize(
    ("line", "value"),
    [("-o name.text", "[mock] hi"), ("-o name.parsed --as code", "[mock] hi")],
)
def test_an_attribute_of_the_reply_is_bound(shell, line, value):
    """`-o name.text` and `-o name.parsed` bind the value; `_reply` is the reply."""
    shell.ask(f"%%gx mock -q {line}\nhi")

    assert shell.user_ns["name"] == value
    assert shell.user_ns["_reply"].text == "[mock] hi"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mock -o name.txt", "Did you mean 'text'"),
        ("mock -o name.parsed", "needs a parsed answer"),
        ("mock mock:b -o name.text", "needs a single reply"),
        ("mock --bg -o name.text", "needs a single reply"),
        ("mock -o .text", "is not a valid variable name"),
    ],
)
def test_an_attribute_that_cannot_be_bound_is_an_error(line, message):
    """`-o` with an attribute that the reply would not have raises an error before the call."""
    with pytest.raises(UsageError, match=message):
        cell.read(line, "hi", {})


class StoppingView:
    """View in which the user presses Stop before anything has arrived."""

    shows_status = False
    endings = ()

    def update(self, partial):
        raise KeyboardInterrupt

    def finish(self, reply, ending=""):
        self.endings = (reply.text, ending)


def test_a_stopped_call_binds_an_empty_reply(project):
    """A call that is stopped before its first chunk binds an empty, interrupted reply."""
    bound, view = [], StoppingView()
    with project.pool() as pool:
        run = AnswerRun(pool, cell.read("mock -p latency=60", "hi", {}), view, bound.append)
        with pytest.raises(KeyboardInterrupt):
            run.run()

    assert [(reply.text, reply.interrupted) for reply in bound] == [("", True)]
    assert view.endings == ("", "interrupted")


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"finish_reason": "tool_calls"}, "asks to call a tool"),
        (
            {"finish_reason": "tool_calls", "tool_calls": (ToolCall("1", "get_weather", "{}"),)},
            "asks to call get_weather",
        ),
        ({"finish_reason": "content_filter"}, "refused by the provider's content filter"),
        (
            {"finish_reason": "pause"},
            "paused by the provider; `messages=[…, reply.message]` continues it",
        ),
        ({"finish_reason": "length"}, "cut off at max tokens"),
    ],
)
def test_an_answer_without_text_is_explained(fields, note):
    """If an answer ends in tool calls, a pause or a refusal, a line below it says so."""
    reply = Reply(text="", engine="mock", model="m", **fields)

    assert reply_summary(reply).endswith(f" · {note}")
    assert reply_summary(Reply(text="", engine="mock", model="m")).endswith("unpriced")


def test_an_answer_without_a_finish_reason_has_not_ended():
    """An answer has ended only after its finish reason has arrived."""
    partial = PartialReply("mock", "m")
    assert not partial.has_ended
    partial.finish_reason = "stop"
    assert partial.has_ended
