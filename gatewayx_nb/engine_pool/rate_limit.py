"""Rate limiting of calls to one engine, as configured in its settings."""

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
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))


def _limiter(per_minute: float | None, at_once: float) -> AsyncLimiter | None:
    """Return a leaky bucket that allows a burst, and never more than the rate in a minute."""
    if per_minute is None:
        return None
    from aiolimiter import AsyncLimiter

    share = max(1.0, per_minute * at_once)
    drip = max(per_minute - share, per_minute / 2) / 60
    return AsyncLimiter(share, share / drip)
