"""Runs blocking functions in a limited number of threads, with a timeout."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb.concurrency.portal import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_MAX_OVERDUE_FUNCTIONS = 32
"""Maximum number of functions that have exceeded their timeout and are still running."""


class OverdueThreadsError(Exception):
    """A function was not called, because too many overdue functions are still running.

    Attributes:
        count: The number of overdue functions.
    """

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} functions have not ended")
        self.count = count


class WorkerThreads:
    """Runs blocking functions in threads, for the coroutines of one event loop.

    A thread cannot be stopped. If its function exceeds the timeout, or the call is cancelled, the
    function is overdue: it runs to its end, and no longer counts towards the maximum.

    Args:
        max_running: Maximum number of functions that run at once, not counting overdue ones.
    """

    def __init__(self, max_running: int) -> None:
        # Changed only on the event loop, so that no lock is needed.
        self._slots = asyncio.Semaphore(max_running)
        self._overdue_count = 0

    async def run(self, function: Callable[[], T], timeout: float) -> T:  # noqa: ASYNC109 - the thread outlives the wait
        """Call a function in a thread as soon as one is free, and return its result.

        Args:
            function: The function.
            timeout: Maximum seconds for the function, without the wait for a thread.

        Raises:
            TimeoutError: If the function takes longer than ``timeout``.
            OverdueThreadsError: If too many overdue functions are still running.
        """
        async with self._slots:
            if self._overdue_count >= _MAX_OVERDUE_FUNCTIONS:
                raise OverdueThreadsError(self._overdue_count)
            task = asyncio.ensure_future(run_in_thread(function))
            try:
                done_tasks, _ = await asyncio.wait((task,), timeout=timeout)
            finally:
                if not task.done():
                    self._overdue_count += 1
                    task.add_done_callback(self._end_overdue)
            if not done_tasks:
                raise TimeoutError
            return task.result()

    def _end_overdue(self, task: asyncio.Task[T]) -> None:
        self._overdue_count -= 1
        if not task.cancelled():
            task.exception()  # otherwise, asyncio logs that it was never retrieved
