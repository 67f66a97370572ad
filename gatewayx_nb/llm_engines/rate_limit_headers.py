"""Rate limits from a provider's response headers."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from gatewayx_nb.replies import RateLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_PATTERNS = ("x-ratelimit-{quantity}-{resource}", "anthropic-ratelimit-{resource}-{quantity}")
_COUNT = re.compile(r"\d{1,18}", re.ASCII)  # 19 digits may exceed 64 bits
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def rate_limits(headers: Mapping[str, str], now: float) -> RateLimits | None:
    """Parse the rate-limit headers; return ``None`` if there are none.

    OpenAI and compatible providers send headers such as ``x-ratelimit-remaining-tokens``
    (https://platform.openai.com/docs/guides/rate-limits), with resets such as ``6m0s``.
    Anthropic sends ``anthropic-ratelimit-tokens-remaining``
    (https://docs.anthropic.com/en/api/rate-limits), with resets as RFC 3339 times.

    Args:
        headers: The response headers, with names in lower case.
        now: Seconds since the epoch.
    """
    if not any("ratelimit" in name for name in headers):  # saves twelve lookups
        return None
    limits = RateLimits(
        requests=_count(_header(headers, "limit", "requests")),
        requests_left=_count(_header(headers, "remaining", "requests")),
        requests_reset=_reset(_header(headers, "reset", "requests"), now),
        tokens=_count(_header(headers, "limit", "tokens")),
        tokens_left=_count(_header(headers, "remaining", "tokens")),
        tokens_reset=_reset(_header(headers, "reset", "tokens"), now),
    )
    return None if limits == RateLimits() else limits


def _header(headers: Mapping[str, str], quantity: str, resource: str) -> str:
    names = (pattern.format(quantity=quantity, resource=resource) for pattern in _NAME_PATTERNS)
    return next((headers[name] for name in names if name in headers), "").strip()


def _count(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) else None


def _reset(text: str, now: float) -> float | None:
    """Parse a reset, which is a number of seconds, a duration such as ``6m0s``, or a time."""
    pieces = _DURATION.findall(text)
    seconds: float | None
    if pieces and "".join(number + unit for number, unit in pieces) == text:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in pieces)
    elif _NUMBER.fullmatch(text):
        seconds = float(text)
    else:
        seconds = _seconds_until(text, now)
    # `float` turns a number of 400 digits into infinity.
    return None if seconds == math.inf else seconds


def _seconds_until(time: str, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now) if moment.tzinfo else None
