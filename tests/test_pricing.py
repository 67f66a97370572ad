from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest

from gatewayx_nb import pricing
from gatewayx_nb.replies import Usage

TIMESTAMP = 1795348800.0  # 2026-11-22 12:00 UTC


def test_a_known_model_has_a_price():
    """The price of a known model is the one in genai-prices at that time.

    For grok-4.6 it is $2 per million input tokens and $6 per million output tokens.
    """
    assert pricing.is_available()
    assert pricing.price("x-ai", "grok-4.6", Usage(1_000, 1_000), TIMESTAMP) == Decimal("0.008")


def test_cached_tokens_are_cheaper():
    """Cached input tokens cost less than other input tokens."""
    uncached_price = pricing.price("x-ai", "grok-4.6", Usage(1_000, 0), TIMESTAMP)

    assert pricing.price("x-ai", "grok-4.6", Usage(1_000, 0, 1_000), TIMESTAMP) < uncached_price


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("x-ai", "no-such-model", Usage(1, 1)),
        ("no-such-provider", "grok-4.6", Usage(1, 1)),
        ("x-ai", "grok-4.6", Usage(None, 1)),
        ("x-ai", "grok-4.6", Usage(1, None)),
    ],
)
def test_an_unknown_price_is_none(provider, model, usage):
    """The price of unknown models and unknown token counts is `None`, not 0."""
    assert pricing.price(provider, model, usage, TIMESTAMP) is None


def test_uncached_tokens_cost_what_genai_prices_calculates():
    """The price of uncached tokens, calculated here, is that of genai-prices for each model."""
    snapshot = genai_prices.data_snapshot.get_snapshot()
    for provider in snapshot.providers:
        for model in provider.models:
            for tokens in [(0, 0), (1_000, 7), (300_001, 1_000)]:
                price = pricing.price(provider.id, model.id, Usage(*tokens), TIMESTAMP)

                assert price == _calculated(provider.id, model.id, *tokens), (model.id, tokens)


def _calculated(provider, model, input_tokens, output_tokens):
    tokens = genai_prices.Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    sent = datetime.fromtimestamp(TIMESTAMP, UTC)
    try:
        calculated = genai_prices.calc_price(
            tokens, model, provider_id=provider, genai_request_timestamp=sent
        )
    except (LookupError, ValueError):
        return None
    return calculated.total_price
