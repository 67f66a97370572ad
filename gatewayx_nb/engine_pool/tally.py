"""What has arrived of an answer so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayx_nb.messages import FinishReason, RateLimits, Reply, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.messages import Chunk
    from gatewayx_nb.model_registry import Target


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a call waits before it is sent again, and until when on the monotonic clock."""

    error: GatewayError
    until: float


@dataclass(slots=True)
class Tally:
    """What has arrived of an answer so far.

    Written on the engine's loop and read from anywhere: each field is set whole.
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
    first: float | None = None
    waiting: Waiting | None = None
    cost_per_token: float | None = None
    price: Decimal | None = None
    billed: Usage | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    rate_limits: RateLimits | None = None
    dropped: tuple[str, ...] = ()
    raw: Mapping[str, Any] | None = None
    spent: Usage | None = None
    fallback_from: str | None = None
    at_once: bool = False
    """Whether it is played back in no time, so that only its end is worth showing."""

    def begin(self, target: Target, instead_of: str | None) -> None:
        """Note who is asked, and in whose place."""
        self.engine, self.model = target.name, target.model or ""
        self.fallback_from, self.waiting = instead_of, None

    def add(self, chunk: Chunk) -> None:
        """Add a chunk; of usage and model the last word holds."""
        if chunk.text or chunk.reasoning:
            if self.first is None:
                self.first = time.monotonic()
            self.text.append(chunk.text)
            self.reasoning.append(chunk.reasoning)
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        self.model = chunk.model or self.model
        self.request_id = chunk.request_id or self.request_id
        self.billed = chunk.billed or self.billed
        self.tool_calls += chunk.tool_calls
        self.rate_limits = chunk.rate_limits or self.rate_limits
        self.raw = chunk.raw or self.raw

    def again(self) -> None:
        """Forget the answer but not its tokens: it is asked for once more, and both are paid."""
        self.spent, self.usage = self.total, None
        self.text, self.reasoning, self.finish_reason, self.tool_calls = [], [], None, ()

    @property
    def total(self) -> Usage | None:
        """The tokens of all that was asked."""
        if self.spent is None or self.usage is None:
            return self.usage or self.spent
        names = Usage.__slots__
        both = ((getattr(self.spent, name), getattr(self.usage, name)) for name in names)
        return Usage(*(None if None in pair else sum(pair) for pair in both))

    @property
    def begun(self) -> bool:
        """Whether some of the answer has arrived, so that it must not be asked for again."""
        return self.first is not None

    def reply(self, *, interrupted: bool = False, parsed: Any = None) -> Reply:  # noqa: ANN401
        """Give what has arrived as a reply."""
        return Reply(
            text="".join(self.text),
            engine=self.engine,
            model=self.model,
            reasoning="".join(self.reasoning),
            finish_reason=self.finish_reason or ("other" if interrupted else "stop"),
            usage=self.total or Usage(),
            cost=self.cost,
            latency=time.monotonic() - self.started,
            time_to_first=None if self.first is None else self.first - self.started,
            attempts=self.attempts,
            fallback_from=self.fallback_from,
            interrupted=interrupted,
            parsed=parsed,
            tool_calls=self.tool_calls,
            rate_limits=self.rate_limits,
            dropped=self.dropped,
            request_id=self.request_id,
            raw=self.raw,
        )

    @property
    def cost(self) -> Decimal | None:
        """US dollars; ``None`` where tokens or price are not known."""
        usage = self.total
        if self.cost_per_token is None or usage is None:
            return self.price
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        return Decimal(str(self.cost_per_token)) * (usage.input_tokens + usage.output_tokens)
