"""Formats one reply as HTML: its reasoning, text and footer."""

from __future__ import annotations

from gatewayx_nb.html.components import (
    BOX_STYLE,
    MUTED,
    NO_MATH_CLASSES,
    SCROLLED_TO_END_STYLE,
    details,
    escape,
)
from gatewayx_nb.html.markdown import to_html

# Text longer than a screen is put into a scroll box. While the text grows, its end is visible:
# a box with a reversed layout is initially scrolled to the end, without a script.
_LONG_TEXT_LENGTH, _LONG_TEXT_LINES = 5_000, 80
_MAX_REASONING, _MAX_PARTIAL_REASONING = 40_000, 2_000  # partial reasoning is sent repeatedly


def reply_html(  # noqa: PLR0913 - the parts of a reply
    text: str,
    footer: str = "",
    status: str = "",
    *,
    reasoning: str = "",
    body: str | None = None,
    above: str = "",
    below: str = "",
) -> str:
    """Return a reply with a small muted footer, and with its reasoning folded above it.

    Args:
        text: The reply so far, as Markdown; omitted if empty.
        footer: The line below a finished reply.
        status: The line that is shown instead of the footer while the reply is incomplete.
        reasoning: The model's reasoning; while it grows, only the end of long reasoning is shown.
        body: Safe HTML for the reply, which is used instead of rendering ``text``.
        above: Safe HTML to put above the reply: its tool calls.
        below: Safe HTML to put below the reply: its notes and images.
    """
    content = (to_html(text) if text else "") if body is None else body
    page = above + _reasoning_html(reasoning, is_partial=bool(status))
    # The height is estimated from the text, because only the page knows the real height.
    is_long = len(text) > _LONG_TEXT_LENGTH or text.count("\n") > _LONG_TEXT_LINES
    page += _scroll_vertically(content, is_partial=bool(status)) if is_long else content
    page += below
    line = escape(status or footer)
    if line:
        page += f'<div class="gatewayx-line {NO_MATH_CLASSES}" style="{MUTED}">{line}</div>'
    return f'<div class="gatewayx">{page}</div>'


def _reasoning_html(reasoning: str, *, is_partial: bool) -> str:
    """Return the folded reasoning; while it grows, include only its end, to limit the cost."""
    if not reasoning.strip():
        return ""
    limit = _MAX_PARTIAL_REASONING if is_partial else _MAX_REASONING
    text = reasoning if len(reasoning) <= limit else f"…{reasoning[-limit:]}"
    style = f"white-space:pre-wrap;{BOX_STYLE};{MUTED}"
    body = f'<div class="{NO_MATH_CLASSES}" dir="auto" style="{style}">{escape(text.strip())}</div>'
    return details("Reasoning", body)


def _scroll_vertically(body: str, *, is_partial: bool) -> str:
    """Put a long reply into a scroll box that can also be scrolled with the keyboard."""
    style = f"{BOX_STYLE};{SCROLLED_TO_END_STYLE}" if is_partial else BOX_STYLE
    return f'<div role="region" aria-label="Answer" tabindex="0" style="{style}">{body}</div>'
