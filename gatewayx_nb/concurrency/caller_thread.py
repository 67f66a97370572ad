"""Runs functions on the thread that waits for a call."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Job = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]

T = TypeVar("T")


class CallerThread:
    """The thread that waits for a call, on which the call runs the user's functions.

    A figure, a database connection or the output of a cell belongs to that thread, and only there
    can Ctrl-C stop a function. The functions run one at a time, while the thread waits.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._wake: Callable[[], object] | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a thread waits for the call, and so can run functions."""
        return self._wake is not None

    @property
    def has_pending(self) -> bool:
        """Whether a function is waiting to run."""
        return bool(self._jobs)

    def serve(self, wake: Callable[[], object]) -> None:
        """Register a waiting thread, which calls `run_pending` after each call of ``wake``."""
        self._wake = wake

    async def run(self, function: Callable[[], T]) -> T:
        """Run a function on the thread, and await its result.

        Raises:
            RuntimeError: If no thread waits.
        """
        if self._wake is None:
            raise RuntimeError("no thread waits for this call")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._jobs.append((function, future, loop))
        self._wake()
        return await future

    def run_pending(self) -> None:
        """Run the functions that are waiting, in this thread.

        Raises:
            KeyboardInterrupt: If the user stops one of them.
        """
        while self._jobs:
            function, future, loop = self._jobs.popleft()
            if future.done():  # the call was stopped
                continue
            try:
                with _interruptible_by_user():
                    outcome = function()
            except KeyboardInterrupt as interrupt:
                _settle(loop, future, future.set_exception, interrupt)
                raise
            # A future does not accept a StopIteration; without this, the call would wait forever.
            except StopIteration as error:
                failure = RuntimeError("the function raised StopIteration")
                failure.__cause__ = error
                _settle(loop, future, future.set_exception, failure)
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                _settle(loop, future, future.set_exception, error)
            else:
                _settle(loop, future, future.set_result, outcome)

    def run_pending_quietly(self) -> None:
        """Run the functions that are waiting, as a callback of an event loop.

        A KeyboardInterrupt is raised where the result of the call is awaited, because it would
        otherwise end the loop.
        """
        with contextlib.suppress(KeyboardInterrupt):
            self.run_pending()


def _settle(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    set_outcome: Callable[[Any], None],
    outcome: object,
) -> None:
    def settle() -> None:
        if not future.done():
            set_outcome(outcome)

    with contextlib.suppress(RuntimeError):  # the loop has been closed
        loop.call_soon_threadsafe(settle)


@contextlib.contextmanager
def _interruptible_by_user() -> Iterator[None]:
    """Make Ctrl-C and Stop raise KeyboardInterrupt in the function.

    While a kernel awaits a cell, its own handler only cancels the cell's task, which does not stop
    a function that is running.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.getsignal(signal.SIGINT)
    if previous_handler in (signal.default_int_handler, signal.SIG_IGN, None):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
