"""Parses response headers that determine when a request may be sent again."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_DELAY = 7 * 86_400.0  # seconds; a larger number is a date or has another unit
_NUMBER_PATTERN = re.compile(r"\d+(\.\d*)?", re.ASCII)

_VALUE_SEPARATOR = re.compile(r",\s*(?=[\d.]+\s*(?:,|$)|[A-Za-z]{3,9},)")
"""The separator between the values of repeated headers; the comma within a date does not match."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the retry delay in seconds, or ``None`` if the headers have no valid delay.

    ``retry-after-ms`` takes precedence over ``retry-after``, a number of seconds or an HTTP date
    (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after). A date in the past and a delay of
    more than a week are invalid. If the header is repeated, the longest valid delay is used.

    Args:
        headers: The response headers, case-insensitive or in lower case.
        now: Seconds since the epoch.
    """
    milliseconds = [
        number / 1000
        for text in _VALUE_SEPARATOR.split(headers.get("retry-after-ms", ""))
        if (number := _number(text)) is not None
    ]
    if (delay := longest_delay(milliseconds)) is not None:
        return delay
    values = _VALUE_SEPARATOR.split(headers.get("retry-after", ""))
    return longest_delay(_delay(text, now) for text in values)


def longest_delay(delays: Iterable[float | None]) -> float | None:
    """Return the longest delay in seconds; ``None`` if no delay is between 0 and a week."""
    valid_delays = (delay for delay in delays if delay is not None and 0 <= delay <= _MAX_DELAY)
    return max(valid_delays, default=None)


def limit_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until a rate limit resets, from ``x-ratelimit-reset``.

    Cohere sends seconds since the epoch, as its SDK 7.3 reads them (``core/http_client.py``). Times
    in the past or more than a week ahead are invalid: other providers send seconds or milliseconds
    under this name.

    Args:
        headers: The response headers, case-insensitive or in lower case.
        now: Seconds since the epoch.
    """
    moment = _number(headers.get("x-ratelimit-reset", ""))
    return moment - now if moment is not None and 0 <= moment - now <= _MAX_DELAY else None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Parse ``x-should-retry``, which OpenAI and Anthropic send to override the status."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _delay(text: str, now: float) -> float | None:
    seconds = _number(text)
    return _seconds_until(text, now) if seconds is None else seconds


def _number(text: str) -> float | None:
    stripped_text = text.strip()
    return float(stripped_text) if _NUMBER_PATTERN.fullmatch(stripped_text) else None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:  # parsed from "-0000"; HTTP dates are in GMT
            moment = moment.replace(tzinfo=UTC)
        return float(moment.timestamp() - now)
    # Depending on the Python version, `email.utils` raises any of these for malformed dates.
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
