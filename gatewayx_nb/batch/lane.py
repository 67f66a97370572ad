"""Runs the calls of a map on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import BudgetError, GatewayError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatewayx_nb.batch.row_prompt import RowRequest
    from gatewayx_nb.calls import PlannedCall
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.replies import Reply

    Finish = Callable[["RowCall", Reply | GatewayError], object]
    """Receives the outcome of a row, on the event loop."""


@dataclass(frozen=True, slots=True)
class RowCall:
    """The call for a row.

    Attributes:
        key: The row's key.
        call: The call.
        request: The request of the call, from which the call can be planned again.
    """

    key: int
    call: PlannedCall
    request: RowRequest


class SpentError(Exception):
    """Raised if a cost limit stops a call, and would also stop it after other calls have ended.

    Attributes:
        error: The error of the call.
    """

    def __init__(self, error: BudgetError) -> None:
        super().__init__(error.message)
        self.error = error


class Lane:
    """Runs calls on the event loop of their engine, at most ``concurrency`` at a time.

    The calls run on their engine's own loop, because a hop between two loops would take as long as
    the rest of a call's overhead.

    Args:
        portal: The event loop.
        concurrency: Maximum number of calls in flight.
        finish: Receives the outcome of each call.
        replan: Plans a call again if a cost limit has stopped it while others were in flight.
    """

    def __init__(
        self,
        portal: Portal,
        concurrency: int,
        finish: Finish,
        replan: Callable[[RowRequest], PlannedCall],
    ) -> None:
        self._portal, self._concurrency = portal, concurrency
        self._finish, self._replan = finish, replan
        self._queue: deque[RowCall] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = self._worker_count = 0
        self._is_stopping = False
        self._call_ended: asyncio.Event | None = None

    @property
    def in_flight(self) -> int:
        """Number of calls that have been started and have not ended."""
        return self._in_flight

    @property
    def running(self) -> int:
        """Number of worker tasks, each of which makes one call after the other."""
        return self._worker_count

    def resize(self, concurrency: int) -> None:
        """Change the maximum number of calls in flight; calls in flight are not cancelled.

        This method may be called from any thread.
        """
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._portal.inbox.call_soon(lambda: self._resize(concurrency))

    def _resize(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._add_calls([])

    def submit(self, calls: Iterable[RowCall]) -> None:
        """Add calls; may be called from any thread.

        Raises:
            RuntimeError: If the loop is closed.
        """
        row_calls = list(calls)
        self._portal.inbox.call_soon(lambda: self._add_calls(row_calls))

    def stop(self) -> None:
        """Cancel the calls; may be called from any thread."""
        self._is_stopping = True
        try:
            self._portal.inbox.call_soon(self._cancel)
        except RuntimeError:  # the loop is closed, so its tasks have been cancelled
            return

    def _add_calls(self, calls: list[RowCall]) -> None:
        if self._is_stopping:
            return
        self._queue.extend(calls)
        for _ in range(min(len(self._queue), self._concurrency - self._worker_count)):
            self._worker_count += 1
            task = self._portal.loop.create_task(self._run_worker())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        self._queue.clear()
        for task in list(self._tasks):
            task.cancel()

    async def _run_worker(self) -> None:
        try:
            await self._make_calls()
        finally:
            self._worker_count -= 1

    async def _make_calls(self) -> None:
        while self._queue and self._worker_count <= self._concurrency:
            row = self._queue.popleft()
            self._in_flight += 1
            try:
                outcome = await self._run_call(row)
            except asyncio.CancelledError:
                if not self._is_stopping:  # the pool has been closed
                    self._finish(row, row.call.closed_error())
                    for waiting_row in self._take_queued():
                        self._finish(waiting_row, waiting_row.call.closed_error())
                raise
            finally:
                self._in_flight -= 1
                if self._call_ended is not None:
                    self._call_ended.set()
            self._finish(row, outcome)

    async def _run_call(self, row: RowCall) -> Reply | GatewayError:
        """Return the reply to a row's call, or its error.

        Each call in flight reserves its maximum cost. If these reservations leave too little for
        this call, it is tried again when another call has ended and its true cost is known.
        """
        call = row.call
        while True:
            try:
                return await call.run()
            except SpentError as spent:
                return spent.error
            except BudgetError as error:
                if self._in_flight <= 1:
                    return error
            except GatewayError as error:
                return error
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001 - a map would wait forever for a row without an outcome
                return ProviderError(
                    f"the call raised {type(error).__name__}.",
                    engine=call.partial.engine,
                    code="internal",
                )
            await self._wait_for_other_call()
            try:
                call = self._replan(row.request)
            except GatewayError as error:
                return error

    async def _wait_for_other_call(self) -> None:
        self._in_flight -= 1
        try:
            event = self._call_ended = self._call_ended or asyncio.Event()
            event.clear()
            if self._in_flight:
                await event.wait()
        finally:
            self._in_flight += 1

    def _take_queued(self) -> list[RowCall]:
        rows, self._queue = list(self._queue), deque()
        return rows
