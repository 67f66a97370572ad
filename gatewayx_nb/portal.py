"""Background event loops, and the ways from a thread or another loop onto them.

All I/O of a pool runs on such a loop: a pooled connection belongs to the loop that made it, and
notebooks, threads and scripts come with loops of their own, or none, that come and go.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gatewayx_nb.errors import UsageError, in_one_line

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

_POLL = 0.2
"""Seconds between looks while a thread waits: on Windows a lock that waits longer hides Ctrl-C."""

_BEAT = 0.1
"""Seconds between beats of a loop that Stop must reach."""

_HIGH_WATER = 1024
"""Items that may wait for a reader before their maker has to wait for it."""

_here = threading.local()


class Portal:
    """An event loop on a daemon thread of its own.

    Args:
        name: Name of the thread, as debuggers show it.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop; cancelling the future cancels it there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T], patience: float = math.inf) -> T:
        """Run a coroutine on the loop and wait for it on this thread.

        Ctrl-C cancels it. Call `forbid_here` first: on a portal's own thread this would wait for
        itself.

        Args:
            work: The coroutine.
            patience: Seconds to wait, for a loop that code of others may block.

        Raises:
            TimeoutError: It took longer than ``patience``.
            asyncio.CancelledError: The portal was closed.
        """
        end = time.monotonic() + patience
        begun: list[asyncio.Task[T]] = []
        gate = Gate()

        def begin() -> None:
            begun.append(self.loop.create_task(work))
            begun[0].add_done_callback(lambda _: gate.open())

        def cancel() -> None:
            if begun:
                begun[0].cancel()
            else:
                work.close()

        try:
            self.loop.call_soon_threadsafe(begin)
            while not gate.passed(min(_POLL, patience)):
                if self.loop.is_closed():
                    break
                if time.monotonic() > end:
                    self.loop.call_soon_threadsafe(cancel)
                    raise TimeoutError
        except KeyboardInterrupt as stop:
            self.loop.call_soon_threadsafe(cancel)
            raise in_one_line(stop) from None
        if not begun:
            work.close()
            raise asyncio.CancelledError
        return begun[0].result()

    async def arun(self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        """Run a coroutine on the loop and await it on the current one; cancelling passes on.

        Raises:
            TimeoutError: It took longer than ``patience`` seconds.
        """
        crossing = _Crossing(work, self.loop, asyncio.get_running_loop())
        with open_to_stop():
            async with asyncio.timeout(patience):
                return await crossing.made()

    def close(self, grace: float = 2.0) -> None:
        """Cancel what runs, stop the loop and end the thread; waits ``grace`` seconds at most."""
        if self.loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join(grace)

    def _serve(self) -> None:
        _here.inside = True
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self._cancel_all()
            self.loop.close()

    def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())


class _Crossing(Generic[T]):
    """A coroutine that runs on one loop and is awaited on another.

    What `asyncio.run_coroutine_threadsafe` and `asyncio.wrap_future` do through a third future,
    whose locks take as long as the rest of the crossing.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        there: asyncio.AbstractEventLoop,
        here: asyncio.AbstractEventLoop,
    ) -> None:
        self._work = work
        self._there, self._here = there, here
        self._task: asyncio.Task[T] | None = None
        self._done = here.create_future()

    async def made(self) -> T:
        """Await the answer; cancelling this cancels the work, and does not wait for it."""
        self._there.call_soon_threadsafe(self._begin)
        try:
            await self._done
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):  # that loop is closed, and all on it cancelled
                self._there.call_soon_threadsafe(self._cancel)
            raise
        assert self._task is not None  # noqa: S101 - it has ended
        return self._task.result()

    def _begin(self) -> None:
        self._task = self._there.create_task(self._work)
        self._task.add_done_callback(self._tell)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _tell(self, task: asyncio.Task[T]) -> None:
        with contextlib.suppress(RuntimeError):  # that loop is closed: nobody awaits this
            self._here.call_soon_threadsafe(self._settle)
        if not task.cancelled():
            task.exception()  # seen, whoever awaits it

    def _settle(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


def inside() -> bool:
    """Tell whether this thread is a portal's."""
    return bool(getattr(_here, "inside", False))


def cancelling() -> bool:
    """Tell whether the current task is being cancelled, rather than what it waits for."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def forbid_here(twin: str) -> None:
    """Refuse a waiting call on a portal's thread, where it would wait for itself.

    Raises:
        UsageError: This is such a thread; the message names ``twin``, the call to await instead.
    """
    if inside():
        raise UsageError(
            "a waiting call was made on an engine's own event loop, which would never answer.",
            mend=f"There, `await pool.{twin}(…)`.",
        )


class Gate:
    """What one thread waits at until any other opens it.

    A bare lock: `threading.Event` and `concurrent.futures.Future` are written in Python, and Ctrl-C
    between two of their steps leaves a lock of theirs held, on which the other side hangs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let the waiting thread through once, now or when it comes."""
        with contextlib.suppress(RuntimeError):  # it is open
            self._lock.release()

    def passed(self, seconds: float) -> bool:
        """Wait so long at most; tell whether the gate was opened."""
        return self._lock.acquire(timeout=seconds)


def wait(future: concurrent.futures.Future[Any]) -> None:
    """Wait on this thread until a future is done, open to Ctrl-C."""
    gate = Gate()
    future.add_done_callback(lambda _: gate.open())
    while not gate.passed(_POLL):
        pass


class _Beat:
    """Wakes one event loop every so often while anything waits on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.waits = 0
        self._ticks = False

    def start(self) -> None:
        """Begin, unless it beats already."""
        if not self._ticks:
            self._tick()

    def _tick(self) -> None:
        self._ticks = self.waits > 0
        if self._ticks:
            self.loop.call_later(_BEAT, self._tick)


_beats: list[_Beat] = []
"""That of the main thread's loop, the latest one."""


@contextlib.contextmanager
def open_to_stop() -> Iterator[None]:
    """Let Stop reach what is awaited here.

    A kernel takes Stop to its loop by a callback that does not wake it: while a cell awaits a
    provider that is silent, nothing else would. Signals come to the main thread only, and one timer
    serves all waits there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    if not _beats or _beats[0].loop is not loop:
        _beats[:] = [_Beat(loop)]
    beat = _beats[0]
    beat.waits += 1
    beat.start()
    try:
        yield
    except asyncio.CancelledError as stop:
        raise in_one_line(stop) from None
    finally:
        beat.waits -= 1


class Relay(Generic[T]):
    """Hands items from a loop to one reader on another thread or loop.

    The maker waits while `_HIGH_WATER` items are unread, so that a slow reader bounds memory. No
    lock: a deque's append and popleft are atomic, and each side looks again after it has raised
    its flag.

    Args:
        wake: Called, from the maker's thread, when a waiting reader may look again.

    Attributes:
        ended: Whether no more will come.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self.ended = False
        self._items: deque[T] = deque()
        self._wake = wake
        self._reader_waits = False
        self._room: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def put(self, item: T) -> None:
        """Add an item; called on the maker's loop."""
        self._items.append(item)
        self.nudge()
        if len(self._items) >= _HIGH_WATER:
            await self._wait_for_room()

    def end(self) -> None:
        """Say that no more will come."""
        self.ended = True
        self.nudge()

    def nudge(self) -> None:
        """Wake the reader if it waits."""
        if self._reader_waits:
            self._reader_waits = False
            self._wake()

    def take(self) -> T | None:
        """Give the next item, or ``None`` and raise the flag that the reader waits."""
        if not self._items:
            self._reader_waits = True
            if not self._items:
                return None
            self._reader_waits = False
        item = self._items.popleft()
        if self._room is not None and len(self._items) < _HIGH_WATER // 2:
            self._free()
        return item

    async def _wait_for_room(self) -> None:
        self._loop, self._room = asyncio.get_running_loop(), asyncio.Event()
        if len(self._items) >= _HIGH_WATER // 2:
            await self._room.wait()
        self._room = None

    def _free(self) -> None:
        room, loop = self._room, self._loop
        if room is not None and loop is not None:
            loop.call_soon_threadsafe(room.set)
