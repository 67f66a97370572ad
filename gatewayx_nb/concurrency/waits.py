"""Waits that Ctrl-C and Stop interrupt at once, on a thread and on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import with_short_traceback

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Iterator

POLL = 0.2
"""Poll interval of a waiting thread in seconds: on Windows longer lock waits block Ctrl-C."""
_BEAT = 0.1
"""Seconds between wake-ups of a loop that the Stop button must be able to interrupt."""


class InterruptibleEvent:
    """A barrier that one thread waits at until any other thread opens it.

    It is a bare lock: `threading.Event` and `concurrent.futures.Future` are written in Python, and
    Ctrl-C between two of their steps leaves their lock held, so that the other side hangs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Release the waiting thread once, now or when it arrives."""
        with contextlib.suppress(RuntimeError):  # already open
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; return whether the gate was opened."""
        return self._lock.acquire(timeout=seconds)


def wait_for_future(future: concurrent.futures.Future[Any]) -> None:
    """Block this thread until a future is done, while Ctrl-C keeps working."""
    gate = InterruptibleEvent()
    future.add_done_callback(lambda _: gate.set())
    while not gate.wait(POLL):
        pass


class _Heartbeat:
    """Timer that wakes an event loop regularly while anything waits on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waits = 0
        self._ticks = False

    def start(self) -> None:
        """Start the timer unless it is running."""
        if not self._ticks:
            self._tick()

    def _tick(self) -> None:
        self._ticks = self.waits > 0
        if self._ticks:
            self.loop.call_later(_BEAT, self._tick)


_heartbeats: list[_Heartbeat] = []
"""The timer of the main thread's current loop."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Make awaits in this context interruptible by the Stop button.

    A kernel passes Stop to its loop through a callback that does not wake the loop: while a cell
    awaits a silent provider, nothing else would. Signals reach only the main thread, so one timer
    is enough for all waits there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    if not _heartbeats or _heartbeats[0].loop is not loop:
        _heartbeats[:] = [_Heartbeat(loop)]
    beat = _heartbeats[0]
    beat.waits += 1
    beat.start()
    try:
        yield
    except asyncio.CancelledError as stop:
        raise with_short_traceback(stop) from None
    finally:
        beat.waits -= 1
