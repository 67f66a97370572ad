"""What a call costs, by genai-prices where it is installed: offline data, loaded on first use."""

from __future__ import annotations

import functools
import importlib.util
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.messages import Usage


@functools.cache
def available() -> bool:
    """Tell whether prices can be looked up; imports nothing."""
    return importlib.util.find_spec("genai_prices") is not None


def loaded() -> bool:
    """Tell whether a look takes 0.1 ms, no longer half a second."""
    return "genai_prices" in sys.modules


def price(provider: str, model: str, usage: Usage, moment: float) -> Decimal | None:
    """Give US dollars, or ``None`` where the price or the tokens are not known; never 0 for that.

    The first call imports genai-prices, which takes half a second: until it is `loaded`, keep this
    off an event loop.

    Args:
        provider: The provider's name in genai-prices.
        model: The model that answered.
        usage: The tokens to be paid.
        moment: Seconds since the epoch at which it was asked; some prices vary with the hour.
    """
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    import genai_prices

    if not _is_known(genai_prices.data_snapshot.get_snapshot().timestamp, provider, model):
        return None
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        found = genai_prices.calc_price(
            tokens,
            model,
            provider_id=provider,
            genai_request_timestamp=datetime.fromtimestamp(moment, UTC),
        )
    except (LookupError, ValueError):
        return None
    return Decimal(found.total_price)


@functools.lru_cache(1024)
def _is_known(of: datetime, provider: str, model: str) -> bool:  # noqa: ARG001 - renewed prices
    """Tell whether a model has a price; genai-prices looks for 0.5 ms, each time, to say no."""
    import genai_prices

    try:
        snapshot = genai_prices.data_snapshot.get_snapshot()
        snapshot.find_provider_model(model, None, provider, None)
    except (LookupError, ValueError):
        return False
    return True
