"""Streams of chunks, for a thread or an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb.concurrency import CrossThreadQueue, InterruptibleEvent, interruptible
from gatewayx_nb.errors import UsageError, with_short_traceback

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable
    from typing import Self

    from gatewayx_nb.calls.partial_reply import PartialReply
    from gatewayx_nb.calls.planner import PlannedCall
    from gatewayx_nb.replies import Chunk, Reply

_LOOK = 0.2
"""Seconds between polls while a thread waits: for Ctrl-C on Windows, and for its display."""

StreamT = TypeVar("StreamT", bound="_Stream")


class _Stream:
    """A call whose chunks are relayed to one reader.

    It starts with the first read. Leaving it early, by `close`, by an exception or by dropping the
    last reference to it, cancels the call and closes its connection.
    """

    def __init__(self, call: PlannedCall, wake: Callable[[], object]) -> None:
        self._call = call
        self._relay: CrossThreadQueue[Chunk] = CrossThreadQueue(wake)
        self._future: concurrent.futures.Future[Reply] | None = None
        self._partial: Reply | None = None
        self._begun = 0.0

    @property
    def partial(self) -> PartialReply:
        """The partial answer; safe to read while it grows."""
        return self._call.partial

    @property
    def reply(self) -> Reply:
        """The complete reply after the end; after `close` the partial one, ``interrupted``.

        Raises:
            UsageError: If the stream has not ended.
            GatewayError: If the call failed.
        """
        if self._partial is not None:
            return self._partial
        if self._future is None or not self._future.done():
            raise UsageError(
                "the stream has not ended, so that there is no reply yet.",
                hint="Read it to its end, or `close()` it.",
            )
        return self._future.result()

    def close(self) -> None:
        """Stop the call and keep the partial answer as an ``interrupted`` `reply`."""
        future = self._future
        if future is None or not future.done():
            self._partial = self._partial or self.partial.reply(interrupted=True)
        if future is not None:
            future.cancel()

    def __del__(self) -> None:
        future = getattr(self, "_future", None)
        if future is not None and not future.done():
            future.cancel()

    def _next(self) -> Chunk | None:
        """Return the next chunk if one is available, starting the call if necessary."""
        if self._future is None and self._partial is None:
            work = self._call.run(self._relay.put)
            self._begun = time.monotonic()
            self._future = self._call.portal.submit(work)
            relay = self._relay  # not self: the callback must not keep the stream alive
            self._future.add_done_callback(lambda _: relay.close())
        return self._relay.take()

    @property
    def _ended(self) -> bool:
        return self._partial is not None or self._relay.closed

    def _raise_failure(self) -> None:
        if self._partial is None and self._future is not None:
            if self._future.cancelled():
                raise self._call.closed_error()
            self._future.result()

    def _check_time(self) -> None:
        """Raise `DeadlineError` if third-party code blocks the loop past the deadline."""
        if time.monotonic() - self._begun > self._call.timeout:
            self.close()
            raise self._call.deadline_error()


class ReplyStream(_Stream):
    """Stream of a reply's chunks for a ``for`` loop, with ``reply`` after the end.

    Ctrl-C while waiting cancels the call and keeps the partial answer as an interrupted ``reply``.

    Attributes:
        idle: Called in the reader's thread, about five times a second, while no chunk arrives.
    """

    idle: Callable[[], object] | None = None

    def __init__(self, call: PlannedCall) -> None:
        self._gate = InterruptibleEvent()
        super().__init__(call, self._gate.set)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        try:
            while True:
                chunk = self._next()
                if chunk is None and self._ended:
                    chunk = self._next()  # chunks that arrived between the poll and the end
                    if chunk is None:
                        self._raise_failure()
                        raise StopIteration
                if chunk is not None:
                    return chunk
                if not self._gate.wait(_LOOK) and self.idle is not None:
                    self.idle()
                self._check_time()
        except KeyboardInterrupt as stop:
            self.close()
            raise with_short_traceback(stop) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncReplyStream(_Stream):
    """Stream of a reply's chunks for an ``async for`` loop, with ``reply`` after the end.

    Cancelling the waiting task cancels the call and keeps the partial answer as an interrupted
    ``reply``.
    """

    def __init__(self, call: PlannedCall) -> None:
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        super().__init__(call, self._wake)

    def _wake(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._alarm = self._loop.call_later(self._call.timeout + _LOOK, self._news.set)
        try:
            while True:
                chunk = self._next()
                if chunk is None and self._ended:
                    chunk = self._next()
                    if chunk is None:
                        self._raise_failure()
                        raise StopAsyncIteration  # noqa: TRY301 - it must stop the alarm too
                if chunk is not None:
                    return chunk
                with interruptible():
                    await self._news.wait()
                self._news.clear()
                self._check_time()
        except BaseException as end:
            self._alarm.cancel()
            if isinstance(end, asyncio.CancelledError):
                self.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
