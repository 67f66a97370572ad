import math
from dataclasses import astuple, dataclass, field

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayx_nb.llm_engines.rate_limit_headers import rate_limits
from gatewayx_nb.replies import RateLimits

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
EXPECTED_LIMITS = {
    "requests": 50,
    "requests_left": 49,
    "requests_reset": 1.0,
    "tokens": 8000,
    "tokens_left": 7999,
    "tokens_reset": 360.0,
}


@dataclass(frozen=True)
class Case:
    """Response headers, and the expected rate limits."""

    name: str
    headers: dict = field(default_factory=dict)
    expected: RateLimits | None = None


CASES = [
    Case("no headers"),
    Case("unrelated headers", {"x-request-id": "1", "x-ratelimit-reset": "1800000030"}),
    Case(
        "openai",
        {
            "x-ratelimit-limit-requests": "50",
            "x-ratelimit-remaining-requests": "49",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-limit-tokens": "8000",
            "x-ratelimit-remaining-tokens": "7999",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        RateLimits(**EXPECTED_LIMITS),
    ),
    Case(
        "anthropic",
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:01Z",
            "anthropic-ratelimit-tokens-limit": "8000",
            "anthropic-ratelimit-tokens-remaining": "7999",
            "anthropic-ratelimit-tokens-reset": "2027-01-15T09:06:00+01:00",
        },
        RateLimits(**EXPECTED_LIMITS),
    ),
    Case(
        "anthropic's input and output tokens",
        {
            "anthropic-ratelimit-input-tokens-limit": "8000",
            "anthropic-ratelimit-input-tokens-remaining": "7999",
            "anthropic-ratelimit-input-tokens-reset": "2027-01-15T08:00:01Z",
            "anthropic-ratelimit-output-tokens-limit": "50",
            "anthropic-ratelimit-output-tokens-remaining": "0",
            "anthropic-ratelimit-output-tokens-reset": "2027-01-15T09:06:00+01:00",
        },
        RateLimits(
            input_tokens=8000,
            input_tokens_left=7999,
            input_tokens_reset=1.0,
            output_tokens=50,
            output_tokens_left=0,
            output_tokens_reset=360.0,
        ),
    ),
    Case(
        "limits of 0 and -1 are unknown",
        {"x-ratelimit-limit-requests": "0", "x-ratelimit-limit-tokens": "-1"},
    ),
    Case("one header", {"x-ratelimit-remaining-tokens": " 0 "}, RateLimits(tokens_left=0)),
    Case("Azure's value for unknown", {"x-ratelimit-remaining-requests": "-1"}),
    Case("not integers", {"x-ratelimit-limit-requests": "many", "x-ratelimit-limit-tokens": "1.5"}),
    Case("Arabic digits", {"x-ratelimit-limit-requests": "٣"}),
    Case("5,000 digits", {"x-ratelimit-limit-requests": "9" * 5000}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rate_limits_are_read_from_headers(case):
    """Rate limits are read from OpenAI's and Anthropic's headers; unknown values are None."""
    assert rate_limits(case.headers, NOW) == case.expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        ("7.66", 7.66),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("2027-01-15T08:00:10Z", 10.0),
        ("2027-01-15T07:59:50Z", 0.0),  # already past
        ("2027-01-15T08:00:10", None),  # no time zone
        ("1s and more", None),
        ("9" * 400, None),
        ("9" * 400 + "s", None),
        ("-5", None),
        ("nan", None),
        ("1e9999", None),
        ("", None),
    ],
)
def test_a_reset_is_converted_to_seconds_from_now(text, seconds):
    """A reset may be a number, a duration or a time, and is converted to seconds from now."""
    limits = rate_limits({"x-ratelimit-reset-tokens": text}, NOW) or RateLimits()
    assert limits.tokens_reset == pytest.approx(seconds)


TIMES = st.datetimes().map(lambda moment: f"{moment.isoformat()}+23:59")


@given(st.text(max_size=30) | st.from_regex(r"[0-9]+(ms|h|m|s)", fullmatch=True) | TIMES)
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
def test_arbitrary_headers_yield_a_valid_number_or_none(text):
    """An arbitrary header yields a finite number >= 0 or None, and never raises an exception."""
    names = [f"x-ratelimit-{field}-tokens" for field in ("limit", "remaining", "reset")]
    limits = rate_limits(dict.fromkeys(names, text), NOW)
    for number in astuple(limits) if limits else ():
        assert number is None or (math.isfinite(number) and number >= 0)
