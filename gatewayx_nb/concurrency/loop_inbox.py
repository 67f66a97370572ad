"""Callbacks from other threads for an event loop."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class LoopInbox:
    """Callbacks from other threads for one event loop, which is woken once for several of them.

    Waking a loop is a system call, which also hands over the interpreter lock. It would be the
    largest part of a call's overhead if many calls were in flight.
    """

    _inboxes: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopInbox]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak, because the inbox is the value of a dictionary whose key is the loop.
        self._loop = weakref.ref(loop)
        self._callbacks: deque[Callable[[], object]] = deque()
        self._is_due = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> LoopInbox:
        """Return the inbox of a loop; call it on that loop's thread, or before the loop runs."""
        inbox = cls._inboxes.get(loop)
        if inbox is None:
            inbox = cls._inboxes[loop] = cls(loop)
        return inbox

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call a function, which must not raise, on the loop's thread, in order.

        Raises:
            RuntimeError: If the loop is closed.
        """
        self._callbacks.append(callback)
        if not self._is_due:
            self._is_due = True
            self._wake()

    def _wake(self) -> None:
        loop = self._loop()
        if loop is None or loop.is_closed():
            self._is_due = False
            raise RuntimeError("the event loop is closed")
        loop.call_soon_threadsafe(self._run)

    def _run(self) -> None:
        # Reset first: a callback that is added from now on wakes the loop again.
        self._is_due = False
        while self._callbacks:
            self._callbacks.popleft()()
