"""The line below an answer: model, duration, tokens, cost and, if it is incomplete, the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.replies import Reply


def reply_summary(reply: Reply, ending: str = "") -> str:
    """Return the line below an answer: model, seconds, tokens, cost, and anything unusual.

    The tokens and the cost of an interrupted answer without content are omitted. ``ending`` is the
    last part of the line.
    """
    parts = [f"{reply.engine}:{reply.model}".rstrip(":"), _seconds(reply)]
    if reply.time_to_first is not None or not reply.interrupted:
        tokens = (reply.usage.input_tokens, reply.usage.output_tokens)
        counts = ["?" if count is None else str(count) for count in tokens]
        parts.append(f"{counts[0]} in, {counts[1]} out")
        parts.append("unpriced" if reply.cost is None else f"${reply.cost.normalize():f}")
    if reply.attempts > 1:
        parts.append(f"{reply.attempts} {'requests' if reply.steps else 'attempts'}")
    if reply.fallback_from:
        parts.append(f"instead of {reply.fallback_from}")
    if note := finish_note(reply):
        parts.append(note)
    if reply.replayed:
        parts.append("replayed")
    if ending:
        parts.append(ending)
    return " · ".join(parts)


_FINISH_NOTES = {
    "length": "cut off at max tokens",
    "content_filter": "refused by the provider's content filter",
    "pause": "paused by the provider; `messages=[…, reply.message]` continues it",
}
"""Descriptions of the finish reasons of incomplete answers."""


def finish_note(reply: Reply) -> str:
    """Return why an answer is incomplete or which tool it calls; empty if it is complete."""
    if reply.finish_reason == "tool_calls" or reply.tool_calls:
        names = ", ".join(dict.fromkeys(call.name for call in reply.tool_calls))
        return f"asks to call {names or 'a tool'}"
    if reply.token_cap is not None:
        tokens = f"{reply.token_cap:,} tokens"
        if reply.finish_reason == "length":
            return f"cut off at {tokens}, the most that the cost limit allows"
        return f"limited to {tokens} by the cost limit"
    if reply.context_limit is not None:
        return f"cut off at the context limit of {reply.context_limit:,} tokens"
    return _FINISH_NOTES.get(reply.finish_reason, "")


def _seconds(reply: Reply) -> str:
    """Return the latency, and the time to first token if it differs."""
    total_time = f"{reply.latency:.1f} s"
    first_time = total_time if reply.time_to_first is None else f"{reply.time_to_first:.1f} s"
    return total_time if first_time == total_time else f"{total_time}, first after {first_time}"
