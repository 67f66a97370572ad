"""Whether a failed call is sent again and after how long, and the loop that does it."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb.calls.partial_reply import PendingRetry
from gatewayx_nb.errors import (
    GatewayError,
    ProviderError,
    RateLimitError,
    RequestError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""Seconds that a provider may ask to wait; past them the call fails, or another engine answers."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_JITTER = 0.25
_PASSING_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 529})
_LASTING_CODES = frozenset({"tls", "closed", "internal"})


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    retries: int,
    *,
    may_retry: Callable[[], bool] = lambda: True,
    on_wait: Callable[[PendingRetry | None], object] = lambda _: None,
) -> T:
    """Await an attempt until one succeeds, with a backoff between attempts.

    Args:
        attempt: Starts an attempt.
        retries: Maximum attempts after the first.
        may_retry: Returns whether another attempt is harmless: it is until a chunk is passed on.
        on_wait: Receives the pending retry before a wait, and ``None`` after it.

    Raises:
        GatewayError: The error of the last attempt.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            return await attempt()
        except GatewayError as error:
            wait = wait_before_retry(attempts, error, retries) if may_retry() else None
            if wait is None:
                raise
            on_wait(PendingRetry(error, time.monotonic() + wait))
        await asyncio.sleep(wait)
        on_wait(None)


def wait_before_retry(
    attempt: int,
    error: GatewayError,
    retries: int,
    jitter: Callable[[], float] = random.random,
) -> float | None:
    """Return the seconds to wait before the next attempt, or ``None`` if there is none.

    The backoff starts at half a second and doubles up to 8, minus up to a quarter of jitter; it is
    never less than the provider's ``retry_after``. If that exceeds 60 seconds, there is no retry.

    Args:
        attempt: Attempts made so far, at least 1.
        error: The error of the last attempt.
        retries: Maximum attempts after the first.
        jitter: Returns a number from 0 to 1.
    """
    least = error.retry_after or 0.0
    if attempt > retries or least > LONGEST_WAIT or not _is_passing(error):
        return None
    backoff = min(_FIRST_BACKOFF * 2.0 ** (attempt - 1), _LONGEST_BACKOFF)
    return max(backoff * (1 - _JITTER * jitter()), least)


def _is_passing(error: GatewayError) -> bool:
    if isinstance(error, RequestError) and error.should_retry is not None:
        return error.should_retry
    if isinstance(error, TransportError):
        return error.code not in _LASTING_CODES
    if isinstance(error, ProviderError):
        return error.status in _PASSING_STATUSES
    return isinstance(error, RateLimitError)
