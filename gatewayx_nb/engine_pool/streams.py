"""Answers that are read as they come, by a thread or on an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb.errors import UsageError, in_one_line
from gatewayx_nb.portal import Gate, Relay, open_to_stop

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable
    from typing import Self

    from gatewayx_nb.engine_pool.plan import Plan
    from gatewayx_nb.engine_pool.tally import Tally
    from gatewayx_nb.messages import Chunk, Reply

_LOOK = 0.2
"""Seconds between looks while a thread waits: for Ctrl-C on Windows, and for what it shows."""

StreamT = TypeVar("StreamT", bound="_Stream")


class _Stream:
    """A call whose chunks go through a relay to one reader.

    It starts with the first read. Leaving it early, by `close`, by an exception or by dropping the
    last reference to it, cancels the call and closes its connection.
    """

    def __init__(self, call: Plan, wake: Callable[[], object]) -> None:
        self._call = call
        self._relay: Relay[Chunk] = Relay(wake)
        self._future: concurrent.futures.Future[Reply] | None = None
        self._partial: Reply | None = None
        self._begun = 0.0

    @property
    def tally(self) -> Tally:
        """What has arrived so far; safe to read while it grows."""
        return self._call.tally

    @property
    def reply(self) -> Reply:
        """The whole answer after the end; after `close` what had arrived, ``interrupted``.

        Raises:
            UsageError: The stream has not ended.
            GatewayError: The call failed.
        """
        if self._partial is not None:
            return self._partial
        if self._future is None or not self._future.done():
            raise UsageError(
                "the stream has not ended, so that there is no reply yet.",
                mend="Read it to its end, or `close()` it.",
            )
        return self._future.result()

    def close(self) -> None:
        """Stop the call; what had arrived is the `reply`, marked ``interrupted``."""
        future = self._future
        if future is None or not future.done():
            self._partial = self._partial or self.tally.reply(interrupted=True)
        if future is not None:
            future.cancel()

    def __del__(self) -> None:
        future = getattr(self, "_future", None)
        if future is not None and not future.done():
            future.cancel()

    def _next(self) -> Chunk | None:
        """Give the next chunk if it is there; starts the call."""
        if self._future is None and self._partial is None:
            work = self._call.run(self._relay.put)
            self._begun = time.monotonic()
            self._future = self._call.portal.submit(work)
            relay = self._relay  # not self: the callback must not keep the stream alive
            self._future.add_done_callback(lambda _: relay.end())
        return self._relay.take()

    @property
    def _ended(self) -> bool:
        return self._partial is not None or self._relay.ended

    def _raise_failure(self) -> None:
        if self._partial is None and self._future is not None:
            if self._future.cancelled():
                raise self._call.closed()
            self._future.result()

    def _check_time(self) -> None:
        """Give up on a loop that code of others blocks."""
        if time.monotonic() - self._begun > self._call.patience:
            self.close()
            raise self._call.too_late()


class ReplyStream(_Stream):
    """Chunks of an answer, for a ``for`` loop; afterwards ``reply``.

    Ctrl-C while it waits cancels the call and keeps what had arrived as an interrupted ``reply``.

    Attributes:
        idle: Called by the reader's thread, about five times a second, while nothing comes.
    """

    idle: Callable[[], object] | None = None

    def __init__(self, call: Plan) -> None:
        self._gate = Gate()
        super().__init__(call, self._gate.open)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        try:
            while True:
                chunk = self._next()
                if chunk is None and self._ended:
                    chunk = self._next()  # what came between the look and the end
                    if chunk is None:
                        self._raise_failure()
                        raise StopIteration
                if chunk is not None:
                    return chunk
                if not self._gate.passed(_LOOK) and self.idle is not None:
                    self.idle()
                self._check_time()
        except KeyboardInterrupt as stop:
            self.close()
            raise in_one_line(stop) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncReplyStream(_Stream):
    """Chunks of an answer, for an ``async for`` loop; afterwards ``reply``.

    Cancelling the task that waits cancels the call and keeps what had arrived as an interrupted
    ``reply``.
    """

    def __init__(self, call: Plan) -> None:
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
            self._alarm = self._loop.call_later(self._call.patience + _LOOK, self._news.set)
        try:
            while True:
                chunk = self._next()
                if chunk is None and self._ended:
                    chunk = self._next()
                    if chunk is None:
                        self._raise_failure()
                        raise StopAsyncIteration  # noqa: TRY301 - the alarm is stopped for it too
                if chunk is not None:
                    return chunk
                with open_to_stop():
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
