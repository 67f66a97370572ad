"""Limits how often the MCP SDK reopens a stream that its server has ended."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec

_MAX_EARLY_ENDS = 15
"""Maximum number of consecutive early ends; after that, only a new call opens a stream."""

_EMPTY_STREAM_WEIGHT = 5
"""How many early ends a stream without data counts as."""

_MIN_DURATION = 10.0
"""Minimum duration in seconds of a stream that does not end early."""

_FIRST_GAP, _MAX_GAP = 0.25, 5.0
"""Seconds between two streams after the first early end, and the maximum.

The gap doubles with each further early end.
"""


class ReconnectionLimit:
    """Limits how often the SDK reopens a stream that has ended; the SDK itself has no limit.

    A server may end a stream early if a result takes long, so that the client asks for it later.
    """

    def __init__(self) -> None:
        self._early_end_count, self._opened_at = 0, -math.inf

    async def wait_until_allowed(self, request: Any) -> None:  # noqa: ANN401 - a request of httpx2
        """Wait until a request may be sent.

        Raises:
            httpx2.ReadError: If too many streams in a row have ended early.
        """
        import httpx2

        if request.method != "GET":
            # A response does not reset the count, because a server can cause one with a request.
            if b'"method"' in request.content and _has_method(request.content):
                self._early_end_count = 0
            return
        if self._early_end_count >= _MAX_EARLY_ENDS:
            raise httpx2.ReadError("its streams end early")
        gap = (
            min(_MAX_GAP, _FIRST_GAP * 2 ** (self._early_end_count - 1))
            if self._early_end_count
            else 0.0
        )
        await asyncio.sleep(max(0.0, self._opened_at + gap - time.monotonic()))
        self._opened_at = time.monotonic()

    def note_end(self, method: str, start: float, *, is_empty: bool) -> None:
        """Record that a response has ended.

        Args:
            method: HTTP method of the request; only ``GET`` reopens a stream.
            start: Monotonic time at which the response began.
            is_empty: Whether the response contained no data.
        """
        if time.monotonic() - start >= _MIN_DURATION:
            self._early_end_count = 0
        elif method == "GET":
            self._early_end_count += _EMPTY_STREAM_WEIGHT if is_empty else 1


def _has_method(content: bytes) -> bool:
    """Return whether a JSON-RPC message is a request or a notification, not a response."""
    try:
        return bool(msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("method"))
    except msgspec.MsgspecError:
        return False
