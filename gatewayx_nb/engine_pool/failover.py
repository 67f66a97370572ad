"""Failover: calls several engines in turn until one answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.errors import DeadlineError, GatewayError, TrustError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.calls import ChunkHandler
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.engine_pool.preview import CallPreview
    from gatewayx_nb.errors import TransportError
    from gatewayx_nb.replies import Reply

# Another engine would not help if an option is invalid or the user has to grant a permission.
FINAL_ERRORS = (UsageError, TrustError)
"""Errors after which no fallback is tried."""


class Failover:
    """Calls several engines: if an engine fails before its answer begins, calls the next one.

    Args:
        first_reference: The reference of the first engine.
        attempts: The calls in order, with an error in place of each call that cannot be made.
        portal: The event loop that makes the calls in turn.

    Raises:
        GatewayError: If none of the calls can be made.
    """

    caller_thread = None

    def __init__(
        self, first_reference: str, attempts: Sequence[EngineCall | GatewayError], portal: Portal
    ) -> None:
        calls = [call for call in attempts if isinstance(call, EngineCall)]
        if not calls:
            raise _combine_errors(error for error in attempts if isinstance(error, GatewayError))
        self.portal = portal
        self.partial = calls[0].partial
        for call in calls:  # all calls write to the same partial answer
            call.partial = self.partial
        self._first_reference, self._attempts = first_reference, attempts
        self._current_call = calls[0]

    @property
    def timeout(self) -> float:
        """Seconds that a caller waits for all attempts, which share one deadline."""
        return self._current_call.timeout

    async def preview(self) -> CallPreview:
        """Return the preview of the first call that can be made; see `EngineCall.preview`."""
        return await self._current_call.portal.arun(self._current_call.preview())

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Make the calls until one answers; see `EngineCall.run`."""
        try:
            async with asyncio.timeout(self._current_call.limits.timeout):
                return await self._run_in_turn(emit)
        except TimeoutError:
            raise self.deadline_error() from None

    async def _run_in_turn(self, emit: ChunkHandler | None) -> Reply:
        failures: list[GatewayError] = []
        for number, attempt in enumerate(self._attempts):
            if isinstance(attempt, GatewayError):
                failures.append(attempt)
                continue
            self._current_call = attempt
            fallback_from = self._first_reference if number else None
            self.partial.set_engine(attempt.target.name, attempt.target.model or "", fallback_from)
            try:
                return await attempt.portal.arun(attempt.run(emit))
            except FINAL_ERRORS:
                raise
            except GatewayError as error:
                # A reply never mixes two engines, and a deadline leaves no time for another.
                if self.partial.has_begun or isinstance(error, DeadlineError):
                    raise
                failures.append(error)
        raise _combine_errors(failures)

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""
        return self._current_call.closed_error()

    def deadline_error(self) -> DeadlineError:
        """Return the error to raise if the call exceeds its deadline."""
        return self._current_call.deadline_error()


def _combine_errors(failures: Iterable[GatewayError]) -> GatewayError:
    """Return the first failure, with the messages of later failures appended."""
    first_failure, *later_failures = failures
    later_messages = (f" A fallback failed too: {error.message}" for error in later_failures)
    return first_failure.with_appended_text("".join(later_messages))
