"""Limits how often the MCP SDK reopens a stream that its server has ended."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import msgspec

_MAX_SHORT_STREAMS = 15
"""Maximum number of streams in a row that end early; then, none is opened before a new call."""

_EMPTY_STREAM_WEIGHT = 5
"""The number of early ends that a stream without data counts as."""

_MIN_DURATION = 10.0
"""Seconds after which the end of a stream is not early."""

_FIRST_GAP, _MAX_GAP = 0.25, 5.0
"""Seconds between two streams after the first early end, and their maximum.

They double with each further early end.
"""


class ReconnectionLimit:
    """Limits how often the SDK reopens a stream that has ended; the SDK itself has no limit.

    A server may end a stream early, so that the client asks again for a result that takes long.
    """

    def __init__(self) -> None:
        self._short_streams, self._opened_at = 0, -math.inf

    async def wait(self, request: Any) -> None:  # noqa: ANN401 - of httpx2
        """Wait until a request may be sent.

        Raises:
            httpx2.ReadError: If too many streams in a row have ended early.
        """
        import httpx2

        if request.method != "GET":
            # A response does not reset the count, because a server can cause it with a request.
            if b'"method"' in request.content and _has_method(request.content):
                self._short_streams = 0
            return
        if self._short_streams >= _MAX_SHORT_STREAMS:
            raise httpx2.ReadError("its streams end early")
        gap = (
            min(_MAX_GAP, _FIRST_GAP * 2 ** (self._short_streams - 1))
            if self._short_streams
            else 0.0
        )
        await asyncio.sleep(max(0.0, self._opened_at + gap - time.monotonic()))
        self._opened_at = time.monotonic()

    def note_end(self, method: str, start: float, *, is_empty: bool) -> None:
        """Record that a response has ended.

        Args:
            method: The method of its request; only ``GET`` reopens a stream.
            start: The time at which it began.
            is_empty: Whether it had no data.
        """
        if time.monotonic() - start >= _MIN_DURATION:
            self._short_streams = 0
        elif method == "GET":
            self._short_streams += _EMPTY_STREAM_WEIGHT if is_empty else 1


def _has_method(content: bytes) -> bool:
    """Return whether a JSON-RPC message is a request or a notification, not a response."""
    try:
        return bool(msgspec.json.decode(content, type=dict[str, msgspec.Raw]).get("method"))
    except msgspec.MsgspecError:
        return False
