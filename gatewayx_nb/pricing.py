"""Costs of calls, from the offline data of genai-prices, an optional package."""

from __future__ import annotations

import functools
import importlib.util
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.replies import Usage


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
    if not _has_price(genai_prices.data_snapshot.get_snapshot().timestamp, provider, model):
        return None
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        calculated = genai_prices.calc_price(
            tokens,
            model,
            provider_id=provider,
            genai_request_timestamp=datetime.fromtimestamp(sent_at, UTC),
        )
    except (LookupError, ValueError, ArithmeticError):
        return None
    return Decimal(calculated.total_price)


@functools.lru_cache(1024)
def _has_price(version: datetime, provider: str, model: str) -> bool:  # noqa: ARG001 - cache key
    """Return whether a model has a price; cached, because a failed lookup takes 0.5 ms."""
    import genai_prices

    try:
        genai_prices.data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except (LookupError, ValueError):
        return False
    return True


def flat_cost(per_token: float, usage: Usage) -> Decimal | None:
    """Return the cost at one price per token in US dollars, or ``None`` if tokens are unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    # Convert the price through `str`, because `Decimal(0.1)` would have 55 digits.
    return Decimal(str(per_token)) * (usage.input_tokens + usage.output_tokens)
