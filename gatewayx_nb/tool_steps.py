"""Defines and formats the steps of a call: the tool calls that a model requested."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewayx_nb import html
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.html import StepState
    from gatewayx_nb.messages import ToolCall


@dataclass(frozen=True, slots=True)
class Step:
    """A tool call that the model requested in the course of a call, and its outcome.

    Attributes:
        call: The call, as the model wrote it.
        arguments: The arguments as a dict; empty if they are not a JSON object.
        result: What the function returned, which may be large and is not part of the ``repr``;
            ``None`` if it did not run, its result could not be sent, the call was replayed, or it
            belongs to a row of a map.
        sent: The text that the model received, which describes the error if the call failed.
        error: Why the call failed or was refused, in one line; empty if it succeeded.
        seconds: Duration of the function in seconds; ``None`` while it runs.
        allowed_by: Who permitted the call: ``"tools"`` if passing the function was enough,
            ``"you"`` if you were asked, ``"approve"`` for the option of this name, and ``"replay"``
            if the result comes from a cassette. Empty if it was refused.
        text: What the model wrote before the calls of its turn.
        outside: Whether the result may contain text from outside; see `tool`.
    """

    call: ToolCall
    arguments: Mapping[str, Any] = field(default_factory=dict)
    result: Any = field(default=None, repr=False)
    sent: str = ""
    error: str = ""
    seconds: float | None = None
    allowed_by: str = ""
    text: str = ""
    outside: bool = False


def calls_text(steps: Iterable[Step]) -> str:
    """Return the tool calls before an answer as lines of text; empty if there are none."""
    return html.steps_text(list(map(_step_line, steps)))


def calls_html(steps: Iterable[Step]) -> str:
    """Return the tool calls before an answer as safe HTML; empty if there are none."""
    return html.steps_html(list(map(_step_line, steps)))


def argument_name(name: str) -> str:
    """Return the name of an argument as it is shown: quoted, unless it is an identifier."""
    return name if name.isidentifier() else short_repr(name)


def _step_line(step: Step) -> html.StepLine:
    arguments_text = ", ".join(
        f"{argument_name(name)}={short_repr(value)}" for name, value in step.arguments.items()
    )
    state: StepState = "done"
    if step.seconds is None:
        state = "running"
    elif step.error:
        state = "failed"
    outcome = step.sent if step.sent or step.seconds is None else "[image]"
    return html.StepLine(f"{step.call.name}({arguments_text})", outcome, state, step.text.strip())
