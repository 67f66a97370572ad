"""Retry policy, and the loop that applies it to every kind of call."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb.calls.partial_reply import PendingRetry
from gatewayx_nb.errors import (
    DeadlineError,
    GatewayError,
    ProviderError,
    RateLimitError,
    RequestError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_MAX_RETRY_AFTER = 60.0
"""Maximum ``retry_after`` in seconds; if the provider requests more, the call fails immediately."""

# The backoff in seconds, and the jitter as a share of it, are those of OpenAI's and Anthropic's
# SDKs:
# https://github.com/openai/openai-python/blob/main/src/openai/_constants.py
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 8.0
_JITTER = 0.25
# 409 is included because OpenAI's SDK also retries it:
# https://github.com/openai/openai-python#retries
# 529 is Anthropic's "overloaded": https://platform.claude.com/docs/en/api/errors
# 520 to 524 are Cloudflare's codes for an origin that fails or is too slow:
# https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
_TRANSIENT_STATUSES = frozenset({408, 409, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
# Waiting does not fix an invalid certificate, a closed pool or an unexpected exception. A call
# with a malformed response has already been billed.
_PERMANENT_CODES = frozenset({"tls", "closed", "internal", "protocol"})


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    retries: int,
    *,
    may_retry: Callable[[], bool] = lambda: True,
    on_wait: Callable[[PendingRetry | None], object] = lambda _: None,
) -> T:
    """Call ``attempt`` until it succeeds or the retries are used up, backing off in between.

    Args:
        attempt: Makes one attempt.
        retries: Maximum number of attempts after the first.
        may_retry: Returns whether a retry is safe, that is, whether no chunk has been delivered.
        on_wait: Receives the pending retry before a wait, and ``None`` after it.

    Raises:
        GatewayError: The last attempt's error.
    """
    attempt_count = 0
    while True:
        attempt_count += 1
        try:
            return await attempt()
        except GatewayError as error:
            delay = retry_delay(attempt_count, error, retries) if may_retry() else None
            if delay is None:
                raise
            on_wait(PendingRetry(error, time.monotonic() + delay))
        await asyncio.sleep(delay)  # outside `except`, so that a retry's error has no context
        on_wait(None)


def retry_delay(
    attempt: int, error: GatewayError, retries: int, jitter: Callable[[], float] = random.random
) -> float | None:
    """Return the seconds to wait before the next attempt, or ``None`` if there is none.

    The backoff starts at 0.5 seconds and doubles on each attempt up to 8 seconds; jitter subtracts
    up to a quarter. The wait is at least the provider's ``retry_after``; if that exceeds 60
    seconds, there is no retry.

    Args:
        attempt: Attempts made so far, at least 1.
        error: The last attempt's error.
        retries: Maximum number of attempts after the first.
        jitter: Returns a number from 0 to 1.
    """
    min_delay = error.retry_after or 0.0
    if math.isnan(min_delay):  # an engine's own error may contain any number
        min_delay = 0.0
    if attempt > retries or min_delay > _MAX_RETRY_AFTER or not is_transient(error):
        return None
    backoff = min(_FIRST_BACKOFF * 2.0 ** (attempt - 1), _LONGEST_BACKOFF)
    # Jitter spreads the retries of concurrent calls that failed together.
    return max(backoff * (1 - _JITTER * jitter()), min_delay)


def may_succeed_later(error: GatewayError) -> bool:
    """Return whether the same call may succeed later, perhaps with a longer deadline."""
    return isinstance(error, DeadlineError) or is_transient(error)


def is_transient(error: GatewayError) -> bool:
    """Return whether the same request may succeed later."""
    # The provider's explicit advice takes precedence over its status code.
    if isinstance(error, RequestError) and error.should_retry is not None:
        return error.should_retry
    if isinstance(error, TransportError):
        return error.code not in _PERMANENT_CODES
    if isinstance(error, ProviderError):
        return error.status in _TRANSIENT_STATUSES
    return isinstance(error, RateLimitError)
