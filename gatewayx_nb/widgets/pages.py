"""What a column shows, as safe HTML: an answer while it grows and when it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gatewayx_nb import rendering
from gatewayx_nb.comparisons import differences, fault, pace, said
from gatewayx_nb.display import figures, waiting
from gatewayx_nb.growing import Growing
from gatewayx_nb.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.comparisons import Column, Outcome, Span

Mode = Literal["rendered", "raw", "differences"]

_OWN = "background:rgba(255,193,7,.35);border-bottom:1px solid"
_FEW = 5
"""Words of a shared piece that are shown on either side of what differs."""


class Page:
    """One column's answer; rendered anew only where there is news.

    Args:
        column: Whose answer.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self._growing = Growing()
        self._state: tuple[object, ...] | None = None

    def news(self, mode: Mode, *, hidden: bool) -> str | None:
        """Give the HTML, or ``None`` where it is what was given last.

        Args:
            mode: How the answer is shown.
            hidden: Whether nothing may tell which model it is.
        """
        state = (self._length(), self._line(hidden=hidden), mode, hidden)
        if state == self._state:
            return None
        self._state = state
        outcome = self.column.outcome
        return self._grown(mode, state[1]) if outcome is None else _whole(outcome, mode, state[1])

    def _length(self) -> int:
        if self.column.outcome is not None or self.column.tally is None:
            return -1
        return len(self.column.tally.text)

    def _line(self, *, hidden: bool) -> str:
        """Give the line below: what it waits for, or its figures."""
        outcome, tally = self.column.outcome, self.column.tally
        if outcome is not None:
            return _ended(outcome, hidden=hidden)
        if tally is None:
            return ""
        line = waiting(tally)
        return line.partition(" · ")[2] if hidden else line

    def _grown(self, mode: Mode, line: str) -> str:
        tally = self.column.tally
        text = "".join(tally.text) if tally else ""
        if mode == "raw":
            return rendering.reply_html(text, status=line, body=rendering.preformatted(text))
        return rendering.reply_html(text, status=line, body=self._growing(text) if text else "")


def told(reply: Reply, *, hidden: bool = False) -> str:
    """Give the line below a whole answer: model, seconds, tokens, pace, cost, how it ended."""
    mark = "interrupted" if reply.interrupted else ""
    if hidden:
        return mark
    speed = pace(reply)
    parts = [figures(reply, mark)]
    if speed is not None and not reply.interrupted:
        parts.append(f"{speed:.0f} tokens/s")
    if not mark and reply.finish_reason != "length":  # that is told as "cut at max tokens"
        parts.append(reply.finish_reason)
    return " · ".join(parts)


def _ended(outcome: Outcome, *, hidden: bool) -> str:
    """Give the line below an answer, or why there is none."""
    if isinstance(outcome, Reply):
        return told(outcome, hidden=hidden)
    return "failed" if hidden else fault(outcome)


def _whole(outcome: Outcome, mode: Mode, line: str) -> str:
    text = said(outcome)
    if not isinstance(outcome, Reply):
        failed = f'<div class="gatewayx-error">{rendering.coded(line)}</div>'
        return (rendering.reply_html(text, "broken off") if text else "") + failed
    if not text:
        line = " · ".join(filter(None, ["The model answered nothing", line]))
    body = rendering.preformatted(text) if mode == "raw" and text else None
    return rendering.reply_html(text, line, reasoning=outcome.reasoning, body=body)


def compared(outcomes: Sequence[Outcome], *, hidden: bool = False) -> list[str]:
    """Give answers with what each says that the others do not, in marked words."""
    spans = differences([rendering.plain(said(one)) for one in outcomes])
    return [
        _compared(one, pieces, _ended(one, hidden=hidden))
        for one, pieces in zip(outcomes, spans, strict=True)
    ]


def _compared(outcome: Outcome, spans: list[Span], line: str) -> str:
    if isinstance(outcome, Reply):
        return rendering.reply_html(outcome.text, line, body=_marked(spans))
    page = rendering.reply_html(said(outcome), body=_marked(spans))
    return f"{page}<div>{rendering.coded(line)}</div>"


def _marked(spans: list[Span]) -> str:
    """Give what differs, marked, and of what is shared some words around it."""
    if all(span.shared for span in spans):
        return rendering.boxed("<em>no difference</em>")
    parts = [_piece(span, at, len(spans)) for at, span in enumerate(spans)]
    return rendering.boxed(f'<div style="white-space:pre-wrap">{"".join(parts)}</div>')


def _piece(span: Span, at: int, count: int) -> str:
    text = rendering.escape(_cut(span.text, at > 0, at < count - 1) if span.shared else span.text)
    return text if span.shared else f'<mark style="{_OWN};color:inherit">{text}</mark>'


def _cut(text: str, before: bool, after: bool) -> str:  # noqa: FBT001 - which neighbours it has
    """Leave a few words next to what differs."""
    words = text.split(" ")
    head, tail = (words[:_FEW] if before else []), (words[-_FEW:] if after else [])
    if len(head) + len(tail) >= len(words):
        return text
    return f"{' '.join(head)} … {' '.join(tail)}"
