"""Whether a failed call is sent again, and how long to wait before that.

Pure functions: clock and jitter are given. Who calls them is the only one who retries.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from gatewayx_nb.errors import (
    GatewayError,
    ProviderError,
    RateLimitError,
    RequestError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ATTEMPTS = 3
LONGEST_WAIT = 60.0

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_JITTER = 0.25
_ABSURD = 7 * 86_400.0

_PASSING_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 529})
_LASTING_CODES = frozenset({"tls", "closed", "internal"})
_NUMBER = re.compile(r"\d+(\.\d*)?", re.ASCII)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that a provider asks to wait, or ``None`` where it names no sound number.

    ``retry-after-ms`` goes before ``retry-after``, which is a number of seconds or an HTTP date
    (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after). A date that has passed, and more
    than a week, count as unsound.

    Args:
        headers: The answer's headers, case-insensitive or in lower case.
        now: Seconds since the epoch.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None and milliseconds / 1000 <= _ABSURD:
        return milliseconds / 1000
    text = headers.get("retry-after", "")
    seconds = _number(text)
    if seconds is None:
        seconds = _seconds_until(text, now)
    return seconds if seconds is not None and 0 <= seconds <= _ABSURD else None


def limit_reset(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds until a rate limit is lifted, where ``x-ratelimit-reset`` tells it.

    Cohere says it in seconds since the epoch, as its SDK 7.3 reads it (``core/http_client.py``).
    Times that have passed, and more than a week, count as unsound: others say seconds or
    milliseconds under that name.

    Args:
        headers: The answer's headers, case-insensitive or in lower case.
        now: Seconds since the epoch.
    """
    moment = _number(headers.get("x-ratelimit-reset", ""))
    return moment - now if moment is not None and 0 <= moment - now <= _ABSURD else None


def wait_before_retry(
    attempt: int, error: GatewayError, jitter: Callable[[], float]
) -> float | None:
    """Give the seconds to wait before the next attempt, or ``None`` where there is to be none.

    Half a second, doubling, at most 8; up to a quarter less by jitter; never less than the
    provider's ``retry_after``. One that asks for more than 60 seconds is not waited for.

    Args:
        attempt: Attempts made so far, at least 1.
        error: What ended the last of them.
        jitter: Gives a number from 0 to 1.
    """
    asked = error.retry_after or 0.0
    if attempt >= MAX_ATTEMPTS or asked > LONGEST_WAIT or not _is_passing(error):
        return None
    backoff = min(_FIRST_BACKOFF * 2.0 ** (attempt - 1), _LONGEST_BACKOFF)
    return max(backoff * (1 - _JITTER * jitter()), asked)


def told_to_retry(headers: Mapping[str, str]) -> bool | None:
    """Read ``x-should-retry``, by which OpenAI and Anthropic overrule the status."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def _is_passing(error: GatewayError) -> bool:
    if isinstance(error, RequestError) and error.should_retry is not None:
        return error.should_retry
    if isinstance(error, TransportError):
        return error.code not in _LASTING_CODES
    if isinstance(error, ProviderError):
        return error.status in _PASSING_STATUSES
    return isinstance(error, RateLimitError)


def _number(text: str) -> float | None:
    stripped = text.strip()
    return float(stripped) if _NUMBER.fullmatch(stripped) else None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:  # it said "-0000"; HTTP dates are in GMT
            moment = moment.replace(tzinfo=UTC)
        return float(moment.timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
