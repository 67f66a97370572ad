from decimal import Decimal

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
