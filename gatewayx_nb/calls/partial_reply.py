"""Collects the chunks of a call in a partial answer, which can be read at any time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayx_nb.messages import Carried, Message
from gatewayx_nb.pricing import flat_cost
from gatewayx_nb.replies import Chunk, Details, FinishReason, RateLimits, Reply, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.replies import Citation
    from gatewayx_nb.tool_steps import Step


_MAX_QUOTE_LENGTH = 1_000
"""Maximum number of characters that a citation quotes, because many citations may overlap."""


@dataclass(frozen=True, slots=True)
class PendingRetry:
    """The error that caused a retry, and the monotonic time at which the retry is due."""

    error: GatewayError
    until: float


@dataclass(slots=True)
class PartialReply:
    """The partial answer of a call.

    It is written on the engine's loop and may be read from any thread. No lock is needed: each
    field is set in one step, and a reader that sees a chunk in ``text`` but not yet in
    ``reasoning`` shows the rest on its next update.
    """

    engine: str
    model: str
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    request_id: str | None = None
    attempts: int = 0
    started: float = field(default_factory=time.monotonic)
    first_chunk_at: float | None = None
    pending_retry: PendingRetry | None = None
    cost_per_token: float | None = None
    looked_up_cost: Decimal | None = None
    """The cost by the provider's list price or from a cassette, in US dollars."""
    billed_usage: Usage | None = None
    """Billed tokens, if they differ from ``usage``."""
    tool_calls: tuple[ToolCall, ...] = ()
    steps: list[Step] = field(default_factory=list)
    rate_limits: RateLimits | None = None
    token_cap: int | None = None
    context_limit: int | None = None
    dropped_parameters: tuple[str, ...] = ()
    raw: Mapping[str, Any] | Sequence[Any] | None = None
    details: list[Details] = field(default_factory=list)
    earlier_usage: Usage | None = None
    fallback_from: str | None = None
    mask: Callable[[list[str]], list[str]] = list
    """Masks the engine's key in pieces of text, even if the key is split across pieces."""
    on_rate_limits: Callable[[RateLimits], object] = bool
    """Receives the rate limits as soon as they arrive."""
    instant: bool = False
    """Whether the reply is replayed immediately, so that its progress need not be shown."""
    activity: str = "waiting"
    """What the call is doing before the answer begins, as shown in its status."""

    def set_engine(self, engine: str, model: str, fallback_from: str | None) -> None:
        """Set the engine to call next and, for a fallback, the reference that was called first."""
        self.engine, self.model = engine, model
        self.fallback_from, self.pending_retry = fallback_from, None

    def add(self, chunk: Chunk) -> None:
        """Add a chunk: text, reasoning and tool calls are appended, other values replaced."""
        # A chunk with only the request ID or the usage does not start the answer.
        if chunk.text or chunk.reasoning or chunk.tool_calls or chunk.details:
            if self.first_chunk_at is None:
                self.first_chunk_at = time.monotonic()
            self.text.append(chunk.text)
            self.reasoning.append(chunk.reasoning)
        if chunk.has_only_text:
            return
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        self.model = chunk.model or self.model
        self.request_id = chunk.request_id or self.request_id
        self.billed_usage = chunk.billed or self.billed_usage
        self.context_limit = chunk.context_limit or self.context_limit
        self.tool_calls += chunk.tool_calls
        if chunk.rate_limits is not None:
            self.rate_limits = chunk.rate_limits
            self.on_rate_limits(chunk.rate_limits)
        self.raw = chunk.raw or self.raw
        if chunk.details is not None:
            self.details.append(chunk.details)

    def treat_text_as_reasoning(self) -> None:
        """Turn the text so far into reasoning, after a closing tag that had no opening tag."""
        self.reasoning = [*self.reasoning, *self.text]
        self.text = []

    def begin_attempt(self) -> None:
        """Count a new attempt; discard what a failed attempt received, except its token counts."""
        self.attempts += 1
        self.finish_reason, self.tool_calls, self.details = None, (), []
        if self.usage is not None:
            self.earlier_usage, self.usage = self.total_usage, None

    def reset_for_correction(self) -> None:
        """Clear the text but keep the usage, because both requests are billed."""
        # `first_chunk_at` is kept: the time to the first chunk is that of the whole call.
        self.earlier_usage, self.usage = self.total_usage, None
        self.text, self.reasoning, self.finish_reason, self.tool_calls = [], [], None, ()
        self.details = []

    def apply_mask(self) -> None:
        """Mask the key in text and reasoning; if the key occurs, drop logprobs and raw data."""
        masked_text = self.mask(self.text), self.mask(self.reasoning)
        if masked_text != (self.text, self.reasoning):
            self.text, self.reasoning = masked_text
            self.details = [replace(part, logprobs=()) for part in self.details]
            self.raw = None
        self.mask = list  # searching a long answer again would be slow

    @property
    def total_usage(self) -> Usage | None:
        """Tokens of all requests of the call."""
        if self.earlier_usage is None or self.usage is None:
            return self.usage or self.earlier_usage
        return self.earlier_usage + self.usage

    @property
    def has_begun(self) -> bool:
        """Whether part of the answer has arrived, which rules out a retry."""
        return self.first_chunk_at is not None

    @property
    def has_ended(self) -> bool:
        """Whether the model has reported why it stopped."""
        return self.finish_reason is not None

    @property
    def time_to_first(self) -> float | None:
        """Seconds from the start of the call to the first chunk."""
        return None if self.first_chunk_at is None else self.first_chunk_at - self.started

    def reply(self, *, interrupted: bool = False, parsed: Any = None) -> Reply:  # noqa: ANN401
        """Return the partial answer as a reply."""
        text, reasoning = ("".join(self.mask(pieces)) for pieces in (self.text, self.reasoning))
        details = tuple(self.details)
        return Reply(
            text=text,
            engine=self.engine,
            model=self.model,
            reasoning=reasoning,
            finish_reason=self.finish_reason or ("other" if interrupted else "stop"),
            usage=self.total_usage or Usage(),
            cost=self.cost,
            latency=time.monotonic() - self.started,
            time_to_first=self.time_to_first,
            attempts=self.attempts,
            fallback_from=self.fallback_from,
            interrupted=interrupted,
            parsed=parsed,
            tool_calls=self.tool_calls,
            steps=tuple(self.steps),
            rate_limits=self.rate_limits,
            token_cap=self.token_cap,
            context_limit=self.context_limit,
            dropped=self.dropped_parameters,
            request_id=self.request_id,
            citations=tuple(
                _with_quote(citation, text) for part in details for citation in part.citations
            ),
            images=tuple(image for part in details for image in part.images),
            logprobs=tuple(logprob for part in details for logprob in part.logprobs),
            carried=self.carried,
            raw=self.raw,
        )

    @property
    def carried(self) -> Carried | None:
        """The answer as its provider sent it, if it consists of more than text and tool calls."""
        turn = next((part.carried for part in reversed(self.details) if part.carried), None)
        if turn is None:
            return None
        message = Message("assistant", ("".join(self.text), *self.tool_calls))
        return Carried.of(self.engine, turn, message)

    @property
    def cost(self) -> Decimal | None:
        """The cost in US dollars; ``None`` if the tokens or the price are unknown."""
        # An engine's own price per token takes precedence over the provider's list price.
        if self.cost_per_token == 0:
            return Decimal(0)  # even if the call was stopped before it reported its tokens
        if self.cost_per_token is None or self.total_usage is None:
            return self.looked_up_cost
        return flat_cost(self.cost_per_token, self.total_usage)


def _with_quote(citation: Citation, text: str) -> Citation:
    """Return the citation, with a quote from the answer if it has no text from its source."""
    if citation.text or citation.start is None or citation.end is None:
        return citation
    start, end = max(0, citation.start), max(0, citation.end)
    return replace(citation, text=text[start : min(end, start + _MAX_QUOTE_LENGTH)])
