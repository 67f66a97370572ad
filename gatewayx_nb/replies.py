"""The output of a call: `Reply`, `Chunk`, `Usage` and `RateLimits`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from gatewayx_nb.html import to_html
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from gatewayx_nb.messages import ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "other"]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Rate limits from the provider's headers; ``None`` means not reported.

    Attributes:
        requests: Requests allowed in the current window.
        requests_left: Requests remaining in the window.
        requests_reset: Seconds until the request limit resets.
        tokens: Tokens allowed in the current window.
        tokens_left: Tokens remaining in the window.
        tokens_reset: Seconds until the token limit resets.
    """

    requests: int | None = None
    requests_left: int | None = None
    requests_reset: float | None = None
    tokens: int | None = None
    tokens_left: int | None = None
    tokens_reset: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token usage of one call; ``None`` means not reported, unlike 0.

    Attributes:
        input_tokens: All input tokens, cached ones included.
        output_tokens: All output tokens, reasoning included.
        cached_tokens: Input tokens read from the provider's cache.
        cache_write_tokens: Input tokens written to the provider's cache.
        reasoning_tokens: Output tokens used for reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a reply; the provider's text events each become a chunk.

    The last chunks have no text but contain the ``finish_reason``, the ``usage`` or both.

    Attributes:
        text: A piece of the reply.
        reasoning: A piece of the model's reasoning.
        finish_reason: Why the model stopped.
        usage: Tokens so far; a later value replaces it.
        model: Name of the model, as the provider reports it.
        request_id: The provider's ID of the request.
        tool_calls: Function calls that the model requests, each complete.
        rate_limits: Rate limits from the provider's headers.
        billed: Billed tokens, if they differ from ``usage``.
        raw: The response body of a non-streamed reply.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    model: str | None = None
    request_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    rate_limits: RateLimits | None = None
    billed: Usage | None = None
    raw: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished reply. ``str(reply)`` is its text.

    Attributes:
        text: The text.
        reasoning: The model's reasoning, separate from the text.
        engine: Name of the engine.
        model: Name of the model, as the provider reported it.
        finish_reason: Why the model stopped; ``"length"`` means truncated at ``max_tokens``.
        usage: Token usage.
        cost: US dollars, or ``None`` if the price is unknown.
        latency: Seconds from the call to the end of the reply.
        time_to_first: Seconds from the call to the first chunk.
        attempts: Number of times that the request was sent.
        replayed: Whether it was replayed from a cassette, with the figures of the recorded call.
        interrupted: Whether the caller stopped the call; the text is then a partial reply.
        fallback_from: The reference that was called first, if a fallback replied.
        parsed: The reply as data, if a schema was requested.
        tool_calls: Function calls that the model requests.
        rate_limits: Rate limits from the provider's headers.
        dropped: Parameters that the model rejected and that ``drop_unsupported`` removed.
        request_id: The provider's ID of the request.
        raw: The response body of a non-streamed reply; ``None`` for a streamed one.
    """

    text: str
    engine: str
    model: str
    reasoning: str = ""
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    replayed: bool = False
    interrupted: bool = False
    fallback_from: str | None = None
    parsed: Any = None
    tool_calls: tuple[ToolCall, ...] = ()
    rate_limits: RateLimits | None = None
    dropped: tuple[str, ...] = ()
    request_id: str | None = None
    # Not compared, so that a streamed reply equals a whole one with the same content.
    raw: Mapping[str, Any] | None = field(default=None, compare=False)

    @override
    def __str__(self) -> str:
        return self.text

    @override
    def __repr__(self) -> str:
        text = shorten(self.text, 60)
        return f"Reply({text!r}, engine={self.engine!r}, model={self.model!r})"

    # IPython passes `include` and `exclude`, which are hints that may be ignored.
    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return text and safe HTML, never ``text/markdown``, whose HTML may be unsafe."""
        return {"text/plain": self.text, "text/html": to_html(self.text)}
