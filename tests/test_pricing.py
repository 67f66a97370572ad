from decimal import Decimal

import pytest

from gatewayx_nb import pricing
from gatewayx_nb.replies import Usage

MOMENT = 1795348800.0  # 2026-11-22 12:00 UTC


def test_a_known_model_has_its_price():
    """A known model has the price of genai-prices' data at that time.

    For grok-4.6 it is 2 and 6 dollars per million tokens.
    """
    assert pricing.is_available()
    assert pricing.price("x-ai", "grok-4.6", Usage(1_000, 1_000), MOMENT) == Decimal("0.008")


def test_cached_tokens_cost_what_cached_tokens_cost():
    """Cached tokens are part of the input, at their own price."""
    whole = pricing.price("x-ai", "grok-4.6", Usage(1_000, 0), MOMENT)

    assert pricing.price("x-ai", "grok-4.6", Usage(1_000, 0, 1_000), MOMENT) < whole


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("x-ai", "no-such-model", Usage(1, 1)),
        ("no-such-provider", "grok-4.6", Usage(1, 1)),
        ("x-ai", "grok-4.6", Usage(None, 1)),
        ("x-ai", "grok-4.6", Usage(1, None)),
    ],
)
def test_what_is_not_known_has_no_price(provider, model, usage):
    """An unknown price is None, never 0."""
    assert pricing.price(provider, model, usage, MOMENT) is None
