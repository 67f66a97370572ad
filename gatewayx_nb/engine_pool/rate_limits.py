"""Rate limits of calls, as leaky buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

    from gatewayx_nb.secure_config import Rates


class RateLimiter:
    """Rate limiter for calls on one event loop.

    A tenth of a minute's requests, or half of its tokens, may start at once. The rest is spread
    evenly, so that no minute exceeds the rate.
    """

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self._requests = _limiter(rates.requests, 0.1)
        self._tokens = _limiter(rates.tokens, 0.5)

    async def acquire(self, tokens: int) -> None:
        """Wait until a call of ``tokens`` tokens may start."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            # A call larger than the bucket would otherwise never start.
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))


def _limiter(per_minute: float | None, burst_share: float) -> AsyncLimiter | None:
    """Return a leaky bucket that lets this share of a minute's rate start at once."""
    if per_minute is None:
        return None
    from aiolimiter import AsyncLimiter

    burst = max(1.0, per_minute * burst_share)
    # The first minute has the burst and 60 s of refill; together they must not exceed the rate.
    refill = max(per_minute - burst, per_minute / 2) / 60
    return AsyncLimiter(burst, burst / refill)
