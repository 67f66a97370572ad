"""Renders the partial or complete reply in a column as safe HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gatewayx_nb.calls import reply_summary
from gatewayx_nb.comparisons import (
    answer_calls_html,
    answer_details_html,
    answer_text,
    differences,
    error_text,
    tokens_per_second,
)
from gatewayx_nb.display import AnswerState, answer_state, call_status
from gatewayx_nb.html import (
    IncrementalRenderer,
    escape,
    inline_code,
    preformatted_html,
    reply_html,
    wrap_reply,
)
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import plain
from gatewayx_nb.tool_steps import calls_html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.comparisons import Column, Outcome, Span

Mode = Literal["rendered", "raw", "differences"]

_MARKED_STYLE = "background:rgba(255,193,7,.35);border-bottom:1px solid"
_CONTEXT_WORDS = 5
"""Number of words of shared text to show on each side of a difference."""


class AnswerRenderer:
    """Renders the reply in a column, and renders it again only after a change.

    Args:
        column: The column.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self._incremental = IncrementalRenderer()
        self._state: tuple[object, ...] | None = None

    def render_if_changed(self, mode: Mode, *, hide_names: bool) -> str | None:
        """Return the HTML, or ``None`` if it is unchanged since the last call.

        Args:
            mode: How the reply is rendered.
            hide_names: Whether to hide everything that identifies the model.
        """
        state = (self._partial_state(), self._footer(hide_names=hide_names), mode, hide_names)
        if state == self._state:
            return None
        self._state = state
        if self.column.outcome is None:
            return self._render_partial(mode, state[1])
        return _render_outcome(self.column.outcome, mode, state[1])

    def _partial_state(self) -> AnswerState | None:
        """Return the state of the partial answer; ``None`` if there is none."""
        if self.column.outcome is not None or self.column.partial is None:
            return None
        return answer_state(self.column.partial)

    def _footer(self, *, hide_names: bool) -> str:
        """Return the footer: the status of a running call, or the metrics of the reply."""
        outcome, partial = self.column.outcome, self.column.partial
        if outcome is not None:
            return _outcome_footer(outcome, hide_names=hide_names)
        if partial is None:
            return ""
        status = call_status(partial)  # the status begins with the model's name
        return status.partition(" · ")[2] if hide_names else status

    def _render_partial(self, mode: Mode, status: str) -> str:
        partial = self.column.partial
        text = "".join(partial.text) if partial else ""
        render = preformatted_html if mode == "raw" else self._incremental
        above = calls_html(partial.steps) if partial else ""
        return reply_html(text, status=status, body=render(text) if text else "", above=above)


def reply_footer(reply: Reply, *, hide_names: bool = False) -> str:
    """Return a reply's footer: model, seconds, tokens, speed, cost, finish reason."""
    mark = "interrupted" if reply.interrupted else ""
    if hide_names:
        return mark
    speed = tokens_per_second(reply)
    parts = [reply_summary(reply, mark)]
    if speed is not None and not reply.interrupted:
        parts.append(f"{speed:.0f} tokens/s")
    if not mark and reply.finish_reason in ("stop", "other"):  # `reply_summary` shows other reasons
        parts.append(reply.finish_reason)
    return " · ".join(parts)


def _outcome_footer(outcome: Outcome, *, hide_names: bool) -> str:
    """Return the footer of a reply, or the text of an error."""
    if isinstance(outcome, Reply):
        return reply_footer(outcome, hide_names=hide_names)
    return "failed" if hide_names else error_text(outcome)


def _render_outcome(outcome: Outcome, mode: Mode, footer: str) -> str:
    text = answer_text(outcome)
    if not isinstance(outcome, Reply):
        error = f'<div class="gatewayx-error">{inline_code(footer)}</div>'
        return (reply_html(text, "incomplete") if text else "") + error
    if not text:
        footer = " · ".join(filter(None, ["The reply is empty", footer]))
    body = preformatted_html(text) if mode == "raw" and text else None
    return reply_html(
        text,
        footer,
        reasoning=outcome.reasoning,
        body=body,
        above=answer_calls_html(outcome),
        below=answer_details_html(outcome),
    )


def differences_html(outcomes: Sequence[Outcome], *, hide_names: bool = False) -> list[str]:
    """Return each reply as HTML in which the words that other replies lack are marked."""
    # Invisible characters are removed first, so that they do not count as differences.
    spans_by_reply = differences([plain(answer_text(outcome)) for outcome in outcomes])
    return [
        _difference_html(outcome, spans, _outcome_footer(outcome, hide_names=hide_names))
        for outcome, spans in zip(outcomes, spans_by_reply, strict=True)
    ]


def _difference_html(outcome: Outcome, spans: list[Span], footer: str) -> str:
    if isinstance(outcome, Reply):
        return reply_html(outcome.text, footer, body=_mark_differences(spans))
    html = reply_html(answer_text(outcome), body=_mark_differences(spans))
    return f"{html}<div>{inline_code(footer)}</div>"


def _mark_differences(spans: list[Span]) -> str:
    """Return a reply as HTML: its differences are marked, and long shared text is shortened."""
    if all(span.is_shared for span in spans):
        return wrap_reply("<em>no difference</em>")
    parts = [_span_html(span, index, len(spans)) for index, span in enumerate(spans)]
    return wrap_reply(f'<div style="white-space:pre-wrap">{"".join(parts)}</div>')


def _span_html(span: Span, index: int, count: int) -> str:
    if span.is_shared:
        return escape(_shorten_shared(span.text, index > 0, index < count - 1))
    return f'<mark style="{_MARKED_STYLE};color:inherit">{escape(span.text)}</mark>'


def _shorten_shared(text: str, is_after: bool, is_before: bool) -> str:  # noqa: FBT001 - two sides
    """Shorten shared text to the words next to the difference before it and the one after it."""
    words = text.split(" ")
    head = words[:_CONTEXT_WORDS] if is_after else []
    tail = words[-_CONTEXT_WORDS:] if is_before else []
    if len(head) + len(tail) >= len(words):
        return text
    return f"{' '.join(head)} … {' '.join(tail)}"
