"""Limits on calls: token estimates, cost limits and rate limits."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb import pricing
from gatewayx_nb.errors import BudgetError
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiolimiter import AsyncLimiter

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.secure_config import Limits, Rates

_CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text.

https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
"""

_DEFAULT_REPLY_TOKENS = 1024
"""Number of reply tokens assumed if ``max_tokens`` is not set."""


async def cost_of(engine: LLMEngine, model: str, usage: Usage, sent_at: float) -> Decimal | None:
    """Return the cost of the tokens, or ``None`` if the price is unknown."""
    per_token = engine.get_cost_per_token()
    cost = None if per_token is None else pricing.flat_cost(per_token, usage)
    if cost is not None:
        return cost
    if not (engine.prices and pricing.is_available()):
        return None
    look_up = functools.partial(pricing.price, engine.prices, model, usage, sent_at)
    # Loading genai-prices would block the loop; afterwards, a lookup is cheaper than a thread.
    return look_up() if pricing.is_loaded() else await asyncio.to_thread(look_up)


def estimate_usage(request: Request) -> Usage:
    """Estimate the tokens of a request and of a reply that uses all of its ``max_tokens``."""
    # `estimate_request_tokens` includes the reply; here, input and output are priced separately.
    reply = request.max_tokens or 0
    return Usage(estimate_request_tokens(request) - reply, reply or _DEFAULT_REPLY_TOKENS)


def estimate_request_tokens(request: Request) -> int:
    """Estimate the tokens of a request, plus ``max_tokens`` for its reply if set."""
    texts = [request.system or "", *(message.content for message in request.messages)]
    return estimate_tokens(texts) + (request.max_tokens or 0)


def estimate_tokens(texts: Iterable[str]) -> int:
    """Estimate the number of tokens in texts."""
    return math.ceil(sum(map(len, texts)) / _CHARACTERS_PER_TOKEN)


async def check_budget(
    engine: LLMEngine, request: Request, limits: Limits, spent: Callable[[], Decimal]
) -> Decimal:
    """Check that a call stays within the cost limits; return its maximum cost.

    Args:
        engine: The engine.
        request: The request.
        limits: Cost limits of the call and the session.
        spent: Returns what the session has cost so far.

    Returns:
        US dollars; 0 if no limit is set or an unknown price is allowed.

    Raises:
        BudgetError: If the call may exceed a limit, or its price is unknown.
    """
    if limits.max_cost is None and limits.max_call_cost is None:
        return Decimal(0)
    cost = await cost_of(engine, request.model, estimate_usage(request), time.time())
    if cost is None:
        if limits.allow_unpriced:
            return Decimal(0)
        raise BudgetError(
            f"the price of {engine.name}:{request.model} is unknown, and a cost limit is set;"
            " nothing was sent.",
            hint=Hint("allow_unpriced") | Hint("install", extra="prices"),
        )
    if limits.max_call_cost is not None and cost > limits.max_call_cost:
        raise BudgetError(
            f"the call may cost ${_dollars(cost)}, more than ${_dollars(limits.max_call_cost)};"
            " nothing was sent.",
            hint=Hint("set_option", option="max_tokens", value=_DEFAULT_REPLY_TOKENS // 4)
            | Hint("raise_option", option="max_cost"),
        )
    if limits.max_cost is not None and spent() + cost > limits.max_cost:
        raise BudgetError(
            f"the session has cost ${_dollars(spent())} of ${_dollars(limits.max_cost)}, and the"
            f" call may cost ${_dollars(cost)}; nothing was sent.",
            hint="Raise [limits] max_cost in config/gatewayx.toml.",
        )
    return cost


def _dollars(dollars: Decimal) -> str:
    return f"{dollars.quantize(Decimal('0.000001')).normalize():f}"


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
