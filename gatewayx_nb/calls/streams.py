"""Streams of a reply's chunks, for threads and event loops."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from gatewayx_nb.concurrency import (
    CrossThreadQueue,
    InterruptibleEvent,
    LoopInbox,
    call_after_step,
    interruptible,
)
from gatewayx_nb.errors import UsageError, with_short_traceback

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable
    from typing import Self

    from gatewayx_nb.calls.partial_reply import PartialReply
    from gatewayx_nb.calls.planner import PlannedCall
    from gatewayx_nb.replies import Chunk, Reply

_POLL_INTERVAL = 0.2
"""Seconds between polls of a waiting thread; a poll calls ``on_idle`` and lets Ctrl-C through."""

StreamT = TypeVar("StreamT", bound="_Stream")


class _Stream:
    """A call whose chunks are passed to one reader.

    The call starts with the first read. `close`, or dropping the last reference to the stream,
    cancels it and closes its connection.

    Attributes:
        on_idle: Called in the reader's thread before a function of the call runs there and, by
            `ReplyStream`, about five times a second while no chunk arrives.
    """

    on_idle: Callable[[], object] | None = None

    def __init__(self, call: PlannedCall, wake: Callable[[], object]) -> None:
        self._call = call
        self._queue: CrossThreadQueue[Chunk] = CrossThreadQueue(wake, _size)
        self._future: concurrent.futures.Future[Reply] | None = None
        self._interrupted_reply: Reply | None = None
        self._started_at = 0.0

    @property
    def partial(self) -> PartialReply:
        """The partial answer; it may be read while chunks arrive."""
        return self._call.partial

    @property
    def reply(self) -> Reply:
        """The complete reply; after `close`, the partial reply, which is ``interrupted``.

        Raises:
            UsageError: If the stream has not ended.
            GatewayError: If the call failed.
        """
        if self._interrupted_reply is not None:
            return self._interrupted_reply
        if self._future is None or not self._future.done():
            raise UsageError(
                "the stream has not ended, so there is no reply yet.",
                hint="Read it to its end, or `close()` it.",
            )
        return self._future.result()

    def close(self) -> None:
        """Stop the call and keep the partial answer as an ``interrupted`` `reply`."""
        future = self._future
        if future is None or not future.done() or _is_stopped(future):
            # Set this before the cancellation; the reader would otherwise report a closed pool.
            self._interrupted_reply = self._interrupted_reply or self.partial.reply(
                interrupted=True
            )
        if future is not None:
            future.cancel()

    @override
    def __repr__(self) -> str:
        reference = f"{self.partial.engine}:{self.partial.model}".rstrip(":")
        return f"{type(self).__name__}({reference!r}, {self._state})"

    @property
    def _state(self) -> str:
        if self._interrupted_reply is not None:
            return "stopped"
        if self._future is None:
            return "not started"
        if not self._future.done():
            return "running"
        return "failed" if self._future.cancelled() or self._future.exception() else "done"

    def __del__(self) -> None:
        future = getattr(self, "_future", None)  # unset if `__init__` failed
        if future is not None and not future.done():
            future.cancel()

    def _next(self, end: type[Exception]) -> Chunk | None:
        """Return the next chunk, or ``None`` if none has arrived; start the call if necessary.

        Args:
            end: Class of the exception to raise after the last chunk of a successful call.
        """
        # The first read starts the call, so that a stream that is never read costs nothing.
        if self._future is None and self._interrupted_reply is None:
            self._started_at = time.monotonic()
            self._future = self._call.portal.submit(self._call.run(self._queue.put))
            queue = self._queue  # not self: the callback must not keep the stream alive
            self._future.add_done_callback(lambda _: queue.close())
        chunk = self._queue.take()
        if chunk is None and (self._interrupted_reply is not None or self._queue.closed):
            chunk = self._queue.take()  # chunks may have arrived before the call ended
            if chunk is None:
                self._raise_failure()
                raise end
        return chunk

    def _raise_failure(self) -> None:
        if self._interrupted_reply is None and self._future is not None:
            if self._future.cancelled():  # by the pool: `close` sets `_interrupted_reply` first
                raise self._call.closed_error()
            self._future.result()

    def _run_pending(self) -> None:
        """Run the call's pending functions in this thread, after calling ``on_idle``."""
        caller_thread = self._call.caller_thread
        if caller_thread is not None and caller_thread.has_pending:
            if self.on_idle is not None:
                self.on_idle()
            caller_thread.run_pending()

    def _check_deadline(self) -> None:
        """Raise `DeadlineError` if third-party code blocks the loop past the deadline."""
        if time.monotonic() - self._started_at > self._call.timeout:
            self.close()
            raise self._call.deadline_error()


def _size(chunk: Chunk) -> int:
    """Return the number of characters of a chunk."""
    size = len(chunk.text) + len(chunk.reasoning)
    if chunk.tool_calls:
        size += sum(len(call.arguments) for call in chunk.tool_calls)
    return size


def _is_stopped(future: concurrent.futures.Future[Reply]) -> bool:
    """Return whether the user has stopped a function that the call ran in the reader's thread."""
    return not future.cancelled() and isinstance(future.exception(), KeyboardInterrupt)


class ReplyStream(_Stream):
    """Stream of a reply's chunks for a ``for`` loop; ``reply`` is available after the last one.

    Ctrl-C while waiting cancels the call and keeps the partial answer as an interrupted ``reply``.
    """

    def __init__(self, call: PlannedCall) -> None:
        self._wake_event = InterruptibleEvent()
        super().__init__(call, self._wake_event.set)
        if call.caller_thread is not None:
            call.caller_thread.serve(self._wake_event.set)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        try:
            while (chunk := self._queue.poll() or self._next(StopIteration)) is None:
                # All chunks so far have been read, so a function may run.
                self._run_pending()
                if not self._wake_event.wait(_POLL_INTERVAL) and self.on_idle is not None:
                    self.on_idle()
                self._check_deadline()
        except KeyboardInterrupt as interrupt:
            self.close()
            raise with_short_traceback(interrupt) from None
        else:
            return chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncReplyStream(_Stream):
    """Stream of a reply's chunks for ``async for``; ``reply`` is available after the last one.

    Cancelling the waiting task cancels the call and keeps the partial answer as an interrupted
    ``reply``.

    Attributes:
        poll: Returns the chunks that have arrived, at most as many as its argument, without
            waiting.
    """

    def __init__(self, call: PlannedCall) -> None:
        # An `asyncio.Event` binds to a loop at its first wait, so a stream may be created without a
        # loop.
        self._wake_event = asyncio.Event()
        self._inbox: LoopInbox | None = None
        super().__init__(call, self._wake)
        self.poll = self._queue.poll_many

    def _wake(self) -> None:
        # Wake the loop once for all chunks that have arrived together. Waking it releases the GIL,
        # so waking it for every chunk would switch threads each time.
        call_after_step(self._wake_loop)

    def _wake_loop(self) -> None:
        if self._inbox is not None:
            with contextlib.suppress(RuntimeError):  # the reader's loop has been closed
                self._inbox.call_soon(self._wake_event.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        chunk = self._queue.poll()
        return await self._wait_for_next() if chunk is None else chunk

    async def _wait_for_next(self) -> Chunk:
        if self._inbox is None:
            loop = asyncio.get_running_loop()
            self._inbox = LoopInbox.of(loop)
            if (caller_thread := self._call.caller_thread) is not None:
                # The call must not keep the stream alive, because dropping the stream cancels it.
                run_pending = weakref.WeakMethod(self._run_pending_quietly)
                caller_thread.serve(lambda: loop.call_soon_threadsafe(_call_if_alive, run_pending))
            # Use one timer for the whole stream, because a timer for each chunk would cost more.
            self._deadline_timer = loop.call_later(
                self._call.timeout + _POLL_INTERVAL, self._wake_event.set
            )
        try:
            while (chunk := self._next(StopAsyncIteration)) is None:
                with interruptible():
                    await self._wake_event.wait()
                self._wake_event.clear()
                self._check_deadline()
        except BaseException as error:
            # The normal end of the stream is also an exception, `StopAsyncIteration`.
            self._deadline_timer.cancel()
            if isinstance(error, asyncio.CancelledError):
                self.close()
            raise
        else:
            return chunk

    def _run_pending_quietly(self) -> None:
        """Run the call's pending functions in this thread, as a callback of its event loop."""
        # A KeyboardInterrupt would end the loop; it is raised where the next chunk is awaited.
        with contextlib.suppress(KeyboardInterrupt):
            self._run_pending()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _call_if_alive(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    function = method()
    if function is not None:
        function()
