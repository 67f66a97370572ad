"""Parses rate limits from a provider's response headers."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gatewayx_nb.replies import RateLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_PATTERNS = ("x-ratelimit-{quantity}-{resource}", "anthropic-ratelimit-{resource}-{quantity}")
_RESOURCE_BY_FIELD = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input-tokens",
    "output_tokens": "output-tokens",
}
_COUNT_PATTERN = re.compile(r"\d{1,18}", re.ASCII)  # 19 digits may exceed 64 bits
_NUMBER_PATTERN = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_DURATION_PATTERN = re.compile(r"(?<!\d)(\d++(?:\.\d++)?)(ms|h|m|s)", re.ASCII)
_SECONDS_BY_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def rate_limits(headers: Mapping[str, str], now: float) -> RateLimits | None:
    """Parse the rate-limit headers; return ``None`` if the response has none.

    OpenAI and compatible providers send headers such as ``x-ratelimit-remaining-tokens``
    (https://platform.openai.com/docs/guides/rate-limits), with resets such as ``6m0s``.
    Anthropic sends ``anthropic-ratelimit-tokens-remaining``
    (https://docs.anthropic.com/en/api/rate-limits), with resets as RFC 3339 times, and equivalent
    headers for ``input-tokens`` and ``output-tokens``. A limit of 0 or -1 means that it is unknown.

    Args:
        headers: The response headers, with names in lower case.
        now: Seconds since the epoch.
    """
    if not any("ratelimit" in name for name in headers):  # saves the lookups
        return None
    values: dict[str, Any] = {}
    for field, resource in _RESOURCE_BY_FIELD.items():
        values[field] = _count(_header(headers, "limit", resource)) or None
        values[f"{field}_left"] = _count(_header(headers, "remaining", resource))
        values[f"{field}_reset"] = _reset(_header(headers, "reset", resource), now)
    limits = RateLimits(**values)
    return None if limits == RateLimits() else limits


def _header(headers: Mapping[str, str], quantity: str, resource: str) -> str:
    names = (pattern.format(quantity=quantity, resource=resource) for pattern in _NAME_PATTERNS)
    return next((headers[name] for name in names if name in headers), "").strip()


def _count(text: str) -> int | None:
    return int(text) if _COUNT_PATTERN.fullmatch(text) else None


def _reset(text: str, now: float) -> float | None:
    """Parse a reset, which is a number of seconds, a duration such as ``6m0s``, or a time."""
    pieces = _DURATION_PATTERN.findall(text)
    seconds: float | None
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        seconds = sum(float(number) * _SECONDS_BY_UNIT[unit] for number, unit in pieces)
    elif _NUMBER_PATTERN.fullmatch(text):
        seconds = float(text)
    else:
        seconds = _seconds_until(text, now)
    # `float` returns infinity for a number with 400 digits.
    return None if seconds == math.inf else seconds


def _seconds_until(time: str, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now) if moment.tzinfo else None
