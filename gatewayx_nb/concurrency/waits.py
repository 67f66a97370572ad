"""Waits that Ctrl-C and Stop interrupt at once, on a thread and on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, ClassVar

from gatewayx_nb.errors import with_short_traceback

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL = 0.2
"""Poll interval of a waiting thread in seconds: on Windows longer lock waits block Ctrl-C."""
_BEAT = 0.1
"""Seconds between wake-ups of a loop that the Stop button must be able to interrupt."""


class InterruptibleEvent:
    """An event for which one thread waits; each `set` ends one wait, and Ctrl-C ends it at once.

    It is a bare lock: `threading.Event` and `concurrent.futures.Future` are written in Python, and
    Ctrl-C between two of their steps leaves their lock held, so that the other side hangs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """End the wait of the thread that waits, or of the next one that does."""
        with contextlib.suppress(RuntimeError):  # already set
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; return whether the event was set."""
        return self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


class _Heartbeat:
    """Timer that wakes an event loop regularly while anything waits on it.

    Signals reach only the main thread, so that one timer, for its current loop, is enough.
    """

    _current: ClassVar[_Heartbeat | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waits = 0
        self._ticks = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> _Heartbeat:
        """Return the timer of the main thread's loop."""
        if cls._current is None or cls._current.loop is not loop:
            cls._current = cls(loop)
        return cls._current

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Keep the loop awake meanwhile."""
        self.waits += 1
        if not self._ticks:
            self._tick()
        try:
            yield
        finally:
            self.waits -= 1

    def _tick(self) -> None:
        self._ticks = self.waits > 0
        if self._ticks:
            self.loop.call_later(_BEAT, self._tick)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make awaits in this context interruptible by the Stop button.

    A kernel passes Stop to its loop through a callback that does not wake the loop: while a cell
    awaits a silent provider, nothing else would.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        with _Heartbeat.of(asyncio.get_running_loop()).beating():
            yield
    except asyncio.CancelledError as stop:
        raise with_short_traceback(stop) from None
