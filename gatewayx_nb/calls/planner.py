"""Protocols for planners and planned calls, and functions that run a planned call.

Conversations and comparisons use a `Planner` so that they do not depend on the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gatewayx_nb.concurrency import is_being_cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from gatewayx_nb.calls.options import CallOptions
    from gatewayx_nb.calls.partial_reply import PartialReply
    from gatewayx_nb.concurrency import CallerThread, Portal
    from gatewayx_nb.errors import DeadlineError, TransportError
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.replies import Chunk, Reply

T = TypeVar("T")

ChunkHandler = Callable[["Chunk"], Awaitable[None]]
"""Receives each chunk of an answer; the call waits until the handler returns."""


class PlannedCall(Protocol):
    """A call to be made to an engine, to several engines in turn, or to a cassette."""

    @property
    def portal(self) -> Portal:
        """The event loop on which the call runs."""

    @property
    def partial(self) -> PartialReply:
        """The part of the answer received so far."""

    @property
    def timeout(self) -> float:
        """Seconds after which a caller stops waiting."""

    @property
    def caller_thread(self) -> CallerThread | None:
        """Runs the call's functions in the waiting thread; ``None`` if there are none."""

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Make the call and pass each chunk to ``emit``."""

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""

    def deadline_error(self) -> DeadlineError:
        """Return the error to raise if the call exceeds its deadline."""


class Planner(Protocol):
    """Turns a prompt and its options into a call."""

    def plan(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> PlannedCall:
        """Return a planned call; nothing is sent.

        Raises:
            GatewayError: If the call cannot be made.
        """

    def plan_resumed(
        self, reply: Reply, options: CallOptions, results: Mapping[str, object] | None
    ) -> PlannedCall:
        """Return the call that continues a reply with open tool calls; nothing is sent.

        Args:
            reply: The reply.
            options: Normalized options, which replace those of the call.
            results: The results of the tool calls, by ID; ``None`` to run the tools.

        Raises:
            UsageError: If a tool is unknown.
        """

    def check_reference(self, reference: str) -> None:
        """Check that ``engine:model`` names an engine, whether or not the engine can be called.

        Raises:
            EngineNotFoundError: If the engine does not exist.
        """


def run_blocking(call: PlannedCall, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a call on its loop and block this thread until it finishes."""
    try:
        return call.portal.run(coroutine, call.timeout, call.caller_thread)
    except TimeoutError:
        raise call.deadline_error() from None
    except asyncio.CancelledError:
        # A thread cannot be cancelled, so the coroutine was cancelled because the pool was closed.
        raise call.closed_error() from None


async def run_async(call: PlannedCall, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a call on its loop and await it.

    Cancelling the awaiting task also cancels the coroutine.
    """
    caller_thread = call.caller_thread
    if caller_thread is not None:
        loop = asyncio.get_running_loop()
        caller_thread.serve(lambda: loop.call_soon_threadsafe(caller_thread.run_pending_quietly))
    try:
        return await call.portal.arun(coroutine, call.timeout)
    except TimeoutError:
        raise call.deadline_error() from None
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        # This task was not cancelled, so the coroutine was cancelled because the pool was closed.
        raise call.closed_error() from None
