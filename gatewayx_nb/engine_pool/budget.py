"""Stops a call that would cost more than is allowed, before it is sent."""

from __future__ import annotations

import asyncio
import functools
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb import pricing
from gatewayx_nb.engine_pool.pace import weigh
from gatewayx_nb.errors import BudgetError
from gatewayx_nb.messages import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.secure_config import Limits

ANSWER = 1024
"""Tokens of an answer that is not bounded by ``max_tokens``, for the estimate."""


async def price(engine: LLMEngine, model: str, usage: Usage, moment: float) -> Decimal | None:
    """Give what tokens cost; ``None`` where the price is not known."""
    each = engine.get_cost_per_token()
    if each is not None and usage.input_tokens is not None and usage.output_tokens is not None:
        return Decimal(str(each)) * (usage.input_tokens + usage.output_tokens)
    if not (engine.prices and pricing.available()):
        return None
    look = functools.partial(pricing.price, engine.prices, model, usage, moment)
    # A thread costs more than the look itself, once genai-prices is there.
    return look() if pricing.loaded() else await asyncio.to_thread(look)


def estimate(request: Request) -> Usage:
    """Estimate the tokens of a request; an answer without a bound counts as `ANSWER` tokens."""
    answer = request.max_tokens or 0
    return Usage(input_tokens=weigh(request) - answer, output_tokens=answer or ANSWER)


async def afford(
    engine: LLMEngine, request: Request, limits: Limits, spent: Callable[[], Decimal]
) -> Decimal:
    """Give what a call may cost; 0 where nothing bounds it.

    Args:
        engine: Who answers.
        request: What is asked.
        limits: What a call and the session may cost.
        spent: Tells what the session has cost so far.

    Raises:
        BudgetError: It may cost more than is allowed, or its price is not known.
    """
    if limits.max_cost is None and limits.max_call_cost is None:
        return Decimal(0)
    cost = await price(engine, request.model, estimate(request), time.time())
    if cost is None:
        if limits.allow_unpriced:
            return Decimal(0)
        raise BudgetError(
            f"the price of {engine.name}:{request.model} is not known, and a budget is set;"
            " nothing was sent.",
            mend="Allow it: `allow_unpriced=True` (`--allow-unpriced`). Prices come with"
            ' `pip install "gatewayx-nb[prices]"`.',
        )
    if limits.max_call_cost is not None and cost > limits.max_call_cost:
        raise BudgetError(
            f"the call may cost ${_told(cost)}, more than ${_told(limits.max_call_cost)};"
            " nothing was sent.",
            mend="Bound its answer with `max_tokens` (`-n`), or allow more: `max_cost`.",
        )
    if limits.max_cost is not None and spent() + cost > limits.max_cost:
        raise BudgetError(
            f"the session has cost ${_told(spent())} of ${_told(limits.max_cost)}, and the call may"
            f" cost ${_told(cost)}; nothing was sent.",
            mend="Allow more in config/gatewayx.toml: `[limits] max_cost`.",
        )
    return cost


def _told(dollars: Decimal) -> str:
    return f"{dollars.quantize(Decimal('0.000001')).normalize():f}"
