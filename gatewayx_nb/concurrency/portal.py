"""Background event loops, calls to them, and waits that Ctrl-C and Stop can interrupt.

All I/O of a pool runs on such a loop, because a pooled connection belongs to the loop that opened
it, and the loops of notebooks, threads and scripts come and go.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import math
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from gatewayx_nb.concurrency.loop_inbox import LoopInbox
from gatewayx_nb.errors import UsageError, with_short_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from gatewayx_nb.concurrency.caller_thread import CallerThread

T = TypeVar("T")

_POLL_INTERVAL = 0.2
"""Seconds between polls of a waiting thread; on Windows, waiting for a lock blocks Ctrl-C."""
_HEARTBEAT_INTERVAL = 0.1
"""Seconds between wake-ups of a loop that the Stop button must be able to interrupt."""

_thread_state = threading.local()


class Portal:
    """An event loop in its own daemon thread.

    Args:
        name: Name of the thread, as debuggers show it.
        never_blocks: Whether no code on the loop blocks it; third-party code might.
        patience: Maximum seconds for cancelled tasks to end when the loop is closed; no limit if
            omitted.
    """

    def __init__(
        self, name: str, *, never_blocks: bool = False, patience: float | None = None
    ) -> None:
        self._patience = patience
        self._never_blocks, self._is_stopping = never_blocks, False
        self.loop = asyncio.new_event_loop()
        self.inbox = LoopInbox.of(self.loop)
        # The thread is a daemon, so that an engine that blocks its loop cannot keep the interpreter
        # from exiting.
        self._thread = threading.Thread(target=self._run_loop, name=name, daemon=True)
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Schedule a coroutine on the loop; cancelling the future cancels the coroutine.

        If the loop is closed, which another thread may do at any time, the future is cancelled.
        """
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except RuntimeError:
            coroutine.close()
            future: concurrent.futures.Future[T] = concurrent.futures.Future()
            future.cancel()
            future.set_running_or_notify_cancel()  # otherwise, `wait` would not count it as done
            return future

    def run(  # noqa: C901 - one wait, with everything that can end it
        self,
        coroutine: Coroutine[Any, Any, T],
        timeout: float = math.inf,
        caller_thread: CallerThread | None = None,
    ) -> T:
        """Run a coroutine on the loop and block this thread until it finishes.

        Ctrl-C cancels the coroutine. Call `forbid_blocking_call` first, because this would deadlock
        in a portal's own thread.

        Args:
            coroutine: The coroutine.
            timeout: Maximum seconds to wait; needed because third-party code may block the loop.
            caller_thread: Runs functions of the coroutine in this thread while it waits.

        Raises:
            TimeoutError: If the coroutine took longer than ``timeout``.
            asyncio.CancelledError: If the portal was closed.
        """
        deadline = time.monotonic() + timeout
        task: asyncio.Task[T] | None = None
        done_event = InterruptibleEvent()

        def begin() -> None:
            nonlocal task
            task = self.loop.create_task(coroutine)
            task.add_done_callback(lambda _: done_event.set())

        def cancel() -> None:
            if task is None:
                coroutine.close()
            else:
                task.cancel()

        try:
            if caller_thread is not None:
                caller_thread.serve(done_event.set)
            self.loop.call_soon_threadsafe(begin)
            while not (
                done_event.wait(min(_POLL_INTERVAL, timeout)) and (task is None or task.done())
            ):
                if caller_thread is not None:
                    caller_thread.run_pending()
                if self.loop.is_closed():  # the portal may close before the coroutine has begun
                    break
                if time.monotonic() > deadline:
                    self.loop.call_soon_threadsafe(cancel)
                    raise TimeoutError
        except KeyboardInterrupt as interrupt:
            self.loop.call_soon_threadsafe(cancel)
            raise with_short_traceback(interrupt) from None
        if task is None:
            coroutine.close()
            raise asyncio.CancelledError
        return task.result()

    async def arun(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:  # noqa: ASYNC109 - also cancels the coroutine on the other loop
        """Run a coroutine on the loop and await it on the current loop; propagate cancellation.

        Raises:
            TimeoutError: If the coroutine took longer than ``timeout`` seconds.
        """
        with interruptible():
            return await _CrossLoopCall(coroutine, self).result(timeout)

    def close(self, grace: float = 2.0) -> None:
        """Cancel all tasks, stop the loop and join the thread for at most ``grace`` seconds."""
        self.stop()
        # An engine may close its own pool, and a thread cannot join itself.
        if self._thread is not threading.current_thread():
            self._thread.join(grace)

    def stop(self) -> None:
        """Stop the loop without waiting for it; see `close`."""
        # Stop the loop only once, because a second stop would end the clean-up of its tasks.
        if not (self._is_stopping or self.loop.is_closed()):
            self._is_stopping = True
            with contextlib.suppress(RuntimeError):  # another thread has just closed it
                self.loop.call_soon_threadsafe(self.loop.stop)

    def _run_loop(self) -> None:
        _thread_state.inside = True
        _thread_state.never_blocks = self._never_blocks
        asyncio.set_event_loop(self.loop)
        try:
            while not self._is_stopping:
                # An engine's task may raise one of these, which ends `run_forever` but must not end
                # this loop.
                with contextlib.suppress(SystemExit, KeyboardInterrupt):
                    self.loop.run_forever()
        finally:
            # Cancel the tasks here, because only the loop's own thread may access them.
            self._cancel_all()
            self.loop.close()

    def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            # A task that ignores its cancellation must not keep the thread alive.
            ended_tasks, unfinished_tasks = self.loop.run_until_complete(
                asyncio.wait(tasks, timeout=self._patience)
            )
            for task in ended_tasks:
                task.cancelled() or task.exception()  # otherwise, asyncio logs the exception
            for task in unfinished_tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - as `gather` does
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())


class _CrossLoopCall(Generic[T]):
    """A coroutine that runs on one loop and is awaited on the current one.

    `asyncio.run_coroutine_threadsafe` and `asyncio.wrap_future` do this with a third future, whose
    locks double the overhead.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], portal: Portal) -> None:
        self._coroutine, self._portal = coroutine, portal
        self._caller_loop = asyncio.get_running_loop()
        self._inbox = LoopInbox.of(self._caller_loop)
        self._task: asyncio.Task[T] | None = None
        self._result: asyncio.Future[None] = self._caller_loop.create_future()
        # The inbox may run the callbacks of several callers in the context of one of them.
        self._context = contextvars.copy_context()

    async def result(self, timeout: float | None) -> T:  # noqa: ASYNC109 - see `Portal.arun`
        """Await the result; cancelling the awaiting task also cancels the coroutine."""
        self._portal.inbox.call_soon(self._begin)
        # A plain timer takes half the time of `asyncio.timeout`.
        timer = None if timeout is None else self._caller_loop.call_later(timeout, self._expire)
        try:
            await self._result
        except (asyncio.CancelledError, TimeoutError):
            with contextlib.suppress(RuntimeError):  # the loop has closed and cancelled its tasks
                self._portal.inbox.call_soon(self._cancel)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        assert self._task is not None  # noqa: S101 - the task has finished
        return self._task.result()

    def _begin(self) -> None:
        self._task = self._portal.loop.create_task(self._coroutine, context=self._context)
        self._task.add_done_callback(self._notify)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _notify(self, task: asyncio.Task[T]) -> None:
        # An error means that the caller's loop has closed, so nothing awaits the result.
        with contextlib.suppress(RuntimeError):
            self._inbox.call_soon(self._settle)
        if not task.cancelled():
            task.exception()  # otherwise, asyncio logs that the exception was never retrieved

    def _expire(self) -> None:
        if not self._result.done():
            self._result.set_exception(TimeoutError())

    def _settle(self) -> None:
        if not self._result.done():  # the caller may have been cancelled
            self._result.set_result(None)


def on_portal_thread() -> bool:
    """Return whether the current thread is a portal's."""
    return bool(getattr(_thread_state, "inside", False))


def call_after_step(function: Callable[[], object]) -> None:
    """Call a function as soon as the coroutine running in this thread waits for something.

    The function is called immediately if other code may block the loop, or outside a portal's
    thread.
    """
    if getattr(_thread_state, "never_blocks", False):
        asyncio.get_running_loop().call_soon(function)
    else:
        function()


def is_being_cancelled() -> bool:
    """Return whether the current task, not the one that it awaits, is being cancelled."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def forbid_blocking_call(async_method: str) -> None:
    """Raise an error in a portal's thread, where a blocking call would deadlock.

    Raises:
        UsageError: If the current thread is a portal's; the hint is to await ``async_method``
            instead.
    """
    if on_portal_thread():
        raise UsageError(
            "a blocking call was made on an engine's own event loop, where it would deadlock.",
            hint=f"Use `await pool.{async_method}(…)` instead.",
            topic="blocking-call",
        )


class InterruptibleEvent:
    """An event for one waiting thread; each `set` ends one wait, and so does Ctrl-C.

    It uses only a lock, because `threading.Event` and `concurrent.futures.Future` are written in
    Python: Ctrl-C in the middle of their code can leave their lock held, which blocks the other
    thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The lock is held from the start. `wait` acquires it again, which succeeds after `set`
        # releases it.
        self._lock.acquire()

    def set(self) -> None:
        """End the current wait, or the next one if no thread is waiting."""
        with contextlib.suppress(RuntimeError):  # already set
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait for at most ``seconds``; return whether the event was set."""
        return self._lock.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


class _Heartbeat:
    """Timer that wakes an event loop regularly while a coroutine waits in the timer's context.

    Python handles signals only in the main thread, so a single timer for the main thread's loop is
    sufficient.
    """

    _current: ClassVar[_Heartbeat | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.wait_count = 0
        self._is_ticking = False

    @classmethod
    def for_loop(cls, loop: asyncio.AbstractEventLoop) -> _Heartbeat:
        """Return the timer of the main thread's loop."""
        if cls._current is None or cls._current.loop is not loop:
            cls._current = cls(loop)
        return cls._current

    def __enter__(self) -> None:
        self.wait_count += 1
        if not self._is_ticking:
            self._tick()

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.wait_count -= 1
        # An interrupted user function raises `KeyboardInterrupt`.
        if isinstance(error, (asyncio.CancelledError, KeyboardInterrupt)):
            raise with_short_traceback(error) from None

    def _tick(self) -> None:
        self._is_ticking = self.wait_count > 0
        if self._is_ticking:
            self.loop.call_later(_HEARTBEAT_INTERVAL, self._tick)


def interruptible() -> contextlib.AbstractContextManager[None]:
    """Return a context in which the Stop button can interrupt an await.

    A kernel handles Stop in a callback that does not wake the loop. Without regular wake-ups, a
    cell that awaits a silent provider would not stop.
    """
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return _Heartbeat.for_loop(asyncio.get_running_loop())


async def gather_or_cancel(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await coroutines concurrently and return their results; if one fails, cancel the others."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def run_in_thread(function: Callable[..., T], *args: object, **kwargs: object) -> T:
    """Call a blocking function in its own thread, and await its result.

    The thread is a daemon and does not belong to the loop's executor: a function that never returns
    must not prevent the interpreter from exiting or occupy a thread of the executor.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not future.done():  # the call may have been cancelled
            set_outcome(outcome)

    def run() -> None:
        try:
            settle_future = functools.partial(settle, future.set_result, function(*args, **kwargs))
        # A future does not accept a StopIteration; without this, the call would wait forever.
        except StopIteration as error:
            failure = RuntimeError("the function raised StopIteration")
            failure.__cause__ = error
            settle_future = functools.partial(settle, future.set_exception, failure)
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            settle_future = functools.partial(settle, future.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(settle_future)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), daemon=True).start()
    return await future
