"""Whether a failed call is sent again, and how long to wait before that.

Pure functions: the jitter is an argument, and the caller sleeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import (
    GatewayError,
    ProviderError,
    RateLimitError,
    RequestError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ATTEMPTS = 3
LONGEST_WAIT = 60.0
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_JITTER = 0.25
_PASSING_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 529})
_LASTING_CODES = frozenset({"tls", "closed", "internal"})


def wait_before_retry(
    attempt: int, error: GatewayError, jitter: Callable[[], float]
) -> float | None:
    """Return the seconds to wait before the next attempt, or ``None`` if there is none.

    The backoff starts at half a second and doubles up to 8, minus up to a quarter of jitter; it is
    never less than the provider's ``retry_after``. If that exceeds 60 seconds, there is no retry.

    Args:
        attempt: Attempts made so far, at least 1.
        error: The error of the last attempt.
        jitter: Returns a number from 0 to 1.
    """
    asked = error.retry_after or 0.0
    if attempt >= MAX_ATTEMPTS or asked > LONGEST_WAIT or not _is_passing(error):
        return None
    backoff = min(_FIRST_BACKOFF * 2.0 ** (attempt - 1), _LONGEST_BACKOFF)
    return max(backoff * (1 - _JITTER * jitter()), asked)


def _is_passing(error: GatewayError) -> bool:
    if isinstance(error, RequestError) and error.should_retry is not None:
        return error.should_retry
    if isinstance(error, TransportError):
        return error.code not in _LASTING_CODES
    if isinstance(error, ProviderError):
        return error.status in _PASSING_STATUSES
    return isinstance(error, RateLimitError)
