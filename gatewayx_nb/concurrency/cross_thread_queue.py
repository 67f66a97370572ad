"""A queue from one event loop to one reader on another thread or loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MAX_UNREAD_ITEMS = 1024
"""Number of unread items at which the producer starts to wait."""

_MAX_UNREAD_SIZE = 1 << 20
"""Size of the unread items at which the producer starts to wait."""


class CrossThreadQueue(Generic[T]):
    """A queue from one event loop to one reader in another thread or loop.

    The producer waits while `_MAX_UNREAD_ITEMS` items, or items of `_MAX_UNREAD_SIZE` in total, are
    unread, so that a slow reader does not exhaust memory. No lock is needed, because a deque's
    append and popleft are atomic, and each side checks the deque again after setting its waiting
    flag.

    Args:
        wake: Called in the producer's thread when a waiting reader should check again.
        size: Returns the size of an item; if omitted, only the number of items is limited.

    Attributes:
        closed: Whether the last item has been added.
    """

    def __init__(self, wake: Callable[[], object], size: Callable[[T], int] = lambda _: 0) -> None:
        self.closed = False
        self._items: deque[T] = deque()
        self._sizes: deque[int] = deque()
        self._wake_reader_callback, self._size = wake, size
        # Two totals, because each may be changed by only one side.
        self._total_size_put = self._total_size_taken = 0
        self._reader_waits = False
        self._resume_producer: Callable[[], object] | None = None

    async def put(self, item: T) -> None:
        """Add an item; called on the producer's loop."""
        size = self._size(item)
        self._total_size_put += size
        self._sizes.append(size)  # before the item, so that the reader finds it
        self._items.append(item)
        if self._reader_waits:
            self.wake_reader()
        # The same as `not self._has_room(1)`, without a call for each item.
        unread_size = self._total_size_put - self._total_size_taken
        if len(self._items) >= _MAX_UNREAD_ITEMS or unread_size >= _MAX_UNREAD_SIZE:
            await self._wait_for_room()

    def close(self) -> None:
        """Mark the end of the items."""
        self.closed = True
        self.wake_reader()

    def wake_reader(self) -> None:
        """Wake the reader if it is waiting."""
        if self._reader_waits:
            self._reader_waits = False
            self._wake_reader_callback()

    def take(self) -> T | None:
        """Return the next item; if there is none, mark the reader as waiting and return None."""
        if not self._items:
            self._reader_waits = True
            if not self._items:
                return None
            self._reader_waits = False
        return self.poll()

    def poll(self) -> T | None:
        """Return the next item, or None if there is none."""
        items = self.poll_many(1)
        return items[0] if items else None

    def poll_many(self, limit: int) -> list[T]:
        """Return the items that have been added, but at most ``limit``."""
        count = min(len(self._items), limit)
        if not count:
            return []
        items = [self._items.popleft() for _ in range(count)]
        self._total_size_taken += sum([self._sizes.popleft() for _ in range(count)])
        # Read the attribute only once, because the producer may clear it at any time.
        resume = self._resume_producer
        # The producer resumes at half of the limits, so that the threads switch once per 512 items
        # rather than for each item.
        if resume is not None and self._has_room(2):
            resume()
        return items

    def _has_room(self, divisor: int) -> bool:
        """Return whether the unread items are below the limits divided by ``divisor``."""
        size = self._total_size_put - self._total_size_taken
        return (
            len(self._items) < _MAX_UNREAD_ITEMS // divisor and size < _MAX_UNREAD_SIZE // divisor
        )

    async def _wait_for_room(self) -> None:
        loop, has_room = asyncio.get_running_loop(), asyncio.Event()
        self._resume_producer = lambda: loop.call_soon_threadsafe(has_room.set)
        if not self._has_room(2):
            await has_room.wait()
        self._resume_producer = None
