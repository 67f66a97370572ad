"""Runs callbacks from other threads on an event loop."""

from __future__ import annotations

import contextlib
import contextvars
import os
import sys
import weakref
from collections import deque
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class LoopInbox:
    """Queue of callbacks for an event loop from other threads; one wake-up runs all of them.

    Waking a loop takes system calls, which also release the GIL. With
    `asyncio.loop.call_soon_threadsafe` for each callback, waking was the largest part of a call's
    overhead when many calls were in flight. On Linux, an eventfd takes two fewer system calls than
    the socket pair of asyncio.
    """

    _inboxes: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopInbox]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The reference is weak, because the inbox is the value of a dictionary whose key is the
        # loop.
        self._loop = weakref.ref(loop)
        self._callbacks: deque[Callable[[], object]] = deque()
        self._is_due = False
        self._event_descriptor = _add_event(loop, self._run_after_event)

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> LoopInbox:
        """Return the inbox of a loop, on that loop's thread or before the loop runs."""
        inbox = cls._inboxes.get(loop)
        if inbox is None:
            inbox = cls._inboxes[loop] = cls(loop)
        return inbox

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run a callback on the loop's thread, after the earlier ones; it must not raise.

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
        if sys.platform == "linux" and self._event_descriptor is not None:
            os.eventfd_write(self._event_descriptor, 1)
        else:
            loop.call_soon_threadsafe(self._run)

    def _run_after_event(self) -> None:
        if sys.platform == "linux" and self._event_descriptor is not None:
            with contextlib.suppress(BlockingIOError):  # a forked child has read the event
                os.eventfd_read(self._event_descriptor)
        self._run()

    def _run(self) -> None:
        # Reset the flag first, so that a callback that is added from now on wakes the loop again.
        self._is_due = False
        while self._callbacks:
            self._callbacks.popleft()()


def _add_event(loop: asyncio.AbstractEventLoop, on_ready: Callable[[], object]) -> int | None:
    """Create an eventfd that calls a function on a loop; return ``None`` if it is not supported."""
    if sys.platform != "linux":
        return None
    event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        # The context is empty; otherwise, the loop would keep the first caller's context variables
        # alive.
        contextvars.Context().run(loop.add_reader, event, on_ready)
    except NotImplementedError:  # this type of loop does not support it
        os.close(event)
        return None
    # Do not close the event with the loop, because another thread may still use it. Do not close it
    # at exit either, because threads may still be running.
    weakref.finalize(loop, os.close, event).atexit = False
    return event
