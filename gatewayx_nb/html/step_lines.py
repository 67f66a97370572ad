"""Formats the tool calls above an answer: one line for each, which unfolds to the whole call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.html.components import BOX_STYLE, MUTED, NO_MATH_CLASSES, escape
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

StepState = Literal["running", "done", "failed"]

_MAX_LINES = 100
"""Maximum number of lines that are shown."""

_MAX_CALL_LENGTH, _MAX_OUTCOME_LENGTH, _MAX_UNFOLDED_LENGTH = 120, 100, 5_000

_MARK_BY_STATE: dict[StepState, str] = {"running": "…", "done": "→", "failed": "✗"}


@dataclass(frozen=True, slots=True)
class StepLine:
    """A tool call and its outcome.

    Attributes:
        call: The call, as a Python expression.
        outcome: The text that the model received; empty while the tool runs.
        state: Whether the call is running, has succeeded or has failed.
        text: The text that the model wrote before the call.
    """

    call: str
    outcome: str = ""
    state: StepState = "done"
    text: str = ""

    @property
    def label(self) -> str:
        """The call and its outcome in one line."""
        call, outcome = shorten(plain(self.call), _MAX_CALL_LENGTH), plain(self.outcome)
        return (
            f"{call} {_MARK_BY_STATE[self.state]} {shorten(outcome, _MAX_OUTCOME_LENGTH)}".rstrip()
        )


def steps_text(lines: Sequence[StepLine]) -> str:
    """Return a line of text for each call, after the text before the call."""
    shown_lines = [
        text for line in lines[:_MAX_LINES] for text in (plain(line.text), line.label) if text
    ]
    return "\n".join([*shown_lines, *_omitted_note(lines)])


def steps_html(lines: Sequence[StepLine]) -> str:
    """Return the calls as folded lines of safe HTML; an empty string if there are none."""
    if not lines:
        return ""
    items = [_line_html(line) for line in lines[:_MAX_LINES]]
    omitted_html = "".join(f"<div>{text}</div>" for text in _omitted_note(lines))
    body = "".join([*items, omitted_html])
    return f'<div class="gatewayx-steps {NO_MATH_CLASSES}" style="{MUTED}">{body}</div>'


def _omitted_note(lines: Sequence[StepLine]) -> list[str]:
    omitted_count = len(lines) - _MAX_LINES
    return [f"… and {omitted_count:,} more calls"] if omitted_count > 0 else []


def _line_html(line: StepLine) -> str:
    text_html = (
        f'<div dir="auto">{escape(shorten(line.text, _MAX_UNFOLDED_LENGTH))}</div>'
        if line.text
        else ""
    )
    call_text = _shorten_lines(f"{line.call}\n{_MARK_BY_STATE[line.state]} {line.outcome}".rstrip())
    style = f"white-space:pre-wrap;margin:.3em 0;{BOX_STYLE}"
    return (
        f"{text_html}<details><summary>{escape(line.label)}</summary>"
        f'<pre style="{style}">{escape(call_text)}</pre></details>'
    )


def _shorten_lines(text: str) -> str:
    """Return the beginning of a long text; keep its line breaks."""
    return text if len(text) <= _MAX_UNFOLDED_LENGTH else f"{text[:_MAX_UNFOLDED_LENGTH]}…"
