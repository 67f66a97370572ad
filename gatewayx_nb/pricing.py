"""Computes the costs of calls from the offline data of genai-prices, an optional package."""

from __future__ import annotations

import functools
import importlib.util
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genai_prices.types import ModelInfo

    from gatewayx_nb.replies import Usage

_TOKENS_PER_PRICE = 1_000_000
"""Number of tokens to which a price of genai-prices applies."""


@functools.cache
def is_available() -> bool:
    """Return whether prices are available, without importing anything."""
    return importlib.util.find_spec("genai_prices") is not None


def is_loaded() -> bool:
    """Return whether genai-prices is imported: a lookup then takes 0.1 ms, not half a second."""
    return "genai_prices" in sys.modules


def price(provider: str, model: str, usage: Usage, sent_at: float) -> Decimal | None:
    """Return the cost in US dollars, or ``None`` (never 0) if price or tokens are unknown.

    The first call imports genai-prices, which takes half a second, so do not make it on an event
    loop; see `is_loaded`.

    Args:
        provider: The provider's name in genai-prices.
        model: The model that replied.
        usage: The billed tokens.
        sent_at: Time of the call in seconds since the epoch; some prices vary by hour.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    import genai_prices

    # The timestamp is part of the cache key, so that updated prices are looked up again.
    model_info = _find_model(genai_prices.data_snapshot.get_snapshot().timestamp, provider, model)
    if model_info is None:
        return None
    sent_time = datetime.fromtimestamp(sent_at, UTC)
    if not (usage.cached_tokens or usage.cache_write_tokens):
        prices = vars(model_info.get_prices(sent_time))
        if prices.get("requests_kcount") is None:
            return _uncached_price(prices, usage.input_tokens, usage.output_tokens)
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        calculated_price = genai_prices.calc_price(
            tokens, model, provider_id=provider, genai_request_timestamp=sent_time
        )
    except (LookupError, ValueError, ArithmeticError):
        return None
    return Decimal(calculated_price.total_price)


def _uncached_price(prices: Mapping[str, Any], input_tokens: int, output_tokens: int) -> Decimal:
    """Return the price of tokens that have only the base prices.

    This takes a tenth of the time of `genai_prices.calc_price`, which considers all kinds of
    tokens, and which every call of a busy server would pay for.
    """
    from genai_prices.types import calc_unit_price

    input_price = calc_unit_price(
        prices.get("input_mtok"), input_tokens, input_tokens, _TOKENS_PER_PRICE
    )
    return input_price + calc_unit_price(
        prices.get("output_mtok"), output_tokens, input_tokens, _TOKENS_PER_PRICE
    )


@functools.lru_cache(1024)
def _find_model(version: datetime, provider: str, model: str) -> ModelInfo | None:  # noqa: ARG001 - cache key
    """Return a model that has prices; cached, because a failed lookup takes 0.5 ms."""
    import genai_prices

    snapshot = genai_prices.data_snapshot.get_snapshot()
    try:
        return snapshot.find_provider_model(model, None, provider, None)[1]
    except (LookupError, ValueError):
        return None


def flat_cost(per_token: float, usage: Usage) -> Decimal | None:
    """Return the cost at one price per token in US dollars, or ``None`` if tokens are unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    # Convert the price through `str`, because `Decimal(0.1)` would have 55 digits.
    return Decimal(str(per_token)) * (usage.input_tokens + usage.output_tokens)
