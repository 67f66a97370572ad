"""Feeds the rows of a running map to their engines, and collects the outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from gatewayx_nb.batch.lane import Lane, RowCall
from gatewayx_nb.batch.row_prompt import with_row_options
from gatewayx_nb.batch.rows import NoRowYet
from gatewayx_nb.batch.stored_outcomes import decode_outcome, encode_outcome
from gatewayx_nb.calls import may_succeed_later, prompt_text
from gatewayx_nb.concurrency import InterruptibleEvent, interruptible
from gatewayx_nb.errors import (
    AuthenticationError,
    BudgetError,
    ConfigError,
    EngineError,
    GatewayError,
    ProviderError,
    QuotaError,
    TransportError,
    UsageError,
)
from gatewayx_nb.storage import StoredRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from gatewayx_nb.batch.figures import MapFigures
    from gatewayx_nb.batch.map_plan import MapPlan, Outcome, Outcomes
    from gatewayx_nb.batch.row_prompt import RequestSource, RowRequest
    from gatewayx_nb.batch.rows import RowValue
    from gatewayx_nb.calls import CallOptions, PlannedCall
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.replies import Reply

_MAX_ROWS_PER_FEED = 64
"""Maximum number of rows that are prepared before outcomes are handled again."""

_MAX_QUEUED_ROWS = 1024
"""Maximum number of rows that wait for a call, beyond those in flight."""

_MANY_UNFINISHED_ROWS = 256
"""Number of unfinished rows above which outcomes are gathered into larger groups."""

_GATHER_SECONDS = 0.02
"""Seconds to gather outcomes; a switch between threads takes as long as handling a row."""

_UPDATE_INTERVAL = 0.1
"""Seconds between updates of the progress."""

_STOP_CHECK_INTERVAL = 1.0
"""Seconds between checks whether `MapJob.cancel` has been called."""

_MAX_EQUAL_FAILURES = 100
"""Number of failed rows that end the map if no row succeeded and all errors are of one class."""

_FINAL_ERRORS = (ConfigError, EngineError, AuthenticationError, QuotaError)
"""Errors that concern every row."""

_STORE_TIMEOUT = 30.0
"""Seconds for which the map is paused if outcomes cannot be stored; after that, it fails."""

_FLUSH_TIMEOUT = 30.0
"""Seconds to wait for the last rows to be stored."""


class MapRun:
    """A running map.

    The rows are read and rendered in the caller's thread, because they run the caller's code. The
    calls run on the event loops of their engines. An outcome is yielded once it is stored.

    Args:
        rows: The rows.
        prompt: Makes the request for each row.
        plan: What the map needs besides its rows.
        figures: The figures, which this object keeps up to date.
        show: Called with the figures about ten times a second.
    """

    def __init__(
        self,
        rows: Iterator[RowValue | NoRowYet],
        prompt: RequestSource,
        plan: MapPlan,
        figures: MapFigures,
        show: Callable[[MapFigures], object],
    ) -> None:
        self.figures = figures
        self._rows, self._prompt, self._plan, self._show = rows, prompt, plan, show
        self._positions_by_key: dict[int, list[int]] = {}
        # The outcomes that are not stored; later rows that are equal reuse them.
        self._run_outcome_by_key: dict[int, Outcome] = {}
        self._unconfirmed_outcome_by_key: dict[int, Outcome] = {}
        self._received_outcomes: deque[tuple[int, Outcome]] = deque()
        self._ready_outcomes: deque[tuple[int, Outcome]] = deque()
        self._lane_by_portal: dict[Portal, Lane] = {}
        self._next_position = 0
        self.is_flushed = False
        """Whether all outcomes have been stored; a second Ctrl-C ends the wait early."""
        self.first_missing_position = 0
        """Position of the first row whose outcome the caller has not taken."""
        self._is_exhausted = False
        self._row_error: Exception | None = None
        self._lacks_rows = False
        self._wake_caller: Callable[[], object] = lambda: None
        self._failing_since: float | None = None
        self._stop_checked_at = time.monotonic()
        self._shown_at, self._started_at = 0.0, time.time()
        self._failure: BaseException | None = None
        if plan.results is not None:
            plan.results.on_durable = self._add_stored
            plan.results.on_failure = self._record_failure
            plan.results.on_unstorable = self._add_unstorable

    def outcomes(self) -> Generator[Outcomes]:
        """Yield the outcomes in groups as they arrive.

        Raises:
            GatewayError: If an error concerns every row, or all rows failed with one error class.
        """
        event = InterruptibleEvent()
        self._wake_caller = event.set
        try:
            while (ready_outcomes := self._advance()) is not None:
                if ready_outcomes:
                    yield ready_outcomes
                elif self._must_wait:
                    event.wait(_UPDATE_INTERVAL)
                if self._may_pause:
                    time.sleep(_GATHER_SECONDS)
        except Exception as error:
            self._record_error(error)
            raise
        finally:
            self.close()

    async def aoutcomes(self) -> AsyncGenerator[Outcomes]:
        """Yield the outcomes in groups; see `outcomes`."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def signal() -> None:
            with contextlib.suppress(RuntimeError):  # the caller's loop has closed
                loop.call_soon_threadsafe(event.set)

        self._wake_caller = signal
        try:
            while (ready_outcomes := self._advance()) is not None:
                if ready_outcomes:
                    yield ready_outcomes
                elif self._must_wait:
                    with interruptible(), contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(event.wait(), _UPDATE_INTERVAL)
                event.clear()
                await asyncio.sleep(_GATHER_SECONDS if self._may_pause else 0)
        except Exception as error:
            self._record_error(error)
            raise
        finally:
            self.close()

    def _advance(self) -> Outcomes | None:
        """Prepare rows, and return the outcomes that are ready; ``None`` if the map has ended."""
        self._show_if_due()
        if self._is_stop_requested():
            self._finish("stopped")
            return None
        self._feed()
        ready_outcomes = self._take_ready()
        if not ready_outcomes and self._has_ended:
            if self._row_error is not None:
                raise self._row_error
            self._finish_rows()
            return None
        return ready_outcomes

    def _is_stop_requested(self) -> bool:
        """Return whether `MapJob.cancel` has been called; the store is read about once a second."""
        results, now = self._plan.results, time.monotonic()
        if results is None or now - self._stop_checked_at < _STOP_CHECK_INTERVAL:
            return False
        self._stop_checked_at = now
        return results.is_stop_requested

    def close(self) -> None:
        """Stop the calls in flight, and store what has arrived."""
        if self.figures.state == "running":
            self._finish("failed" if self._failure else "stopped")
        for lane in self._lane_by_portal.values():
            lane.stop()
        if self._plan.results is not None:
            self._plan.results.flush(_FLUSH_TIMEOUT)
        self.is_flushed = True

    def take_remaining(self) -> Outcomes:
        """Return the outcomes that arrived after the map was stopped, whether stored or not."""
        self._received_outcomes.extend(self._unconfirmed_outcome_by_key.items())
        return self._take_ready(checks_failures=False)

    def _finish_rows(self) -> None:
        """Set the final state: ``"stopped"`` if a cost limit has stopped rows, else ``"done"``."""
        self._finish("stopped" if self.figures.errors["BudgetError"] else "done")

    def _finish(self, state: str) -> None:
        self.figures.state, self.figures.ended = state, time.monotonic()
        self._plan.engines.note_pace(self.figures)

    @property
    def _has_ended(self) -> bool:
        return self._is_exhausted and not self._positions_by_key and not self._received_outcomes

    @property
    def _must_wait(self) -> bool:
        plan = self._plan
        is_too_far_ahead = plan.max_ahead is not None and (
            self._next_position - self.first_missing_position >= plan.max_ahead
        )
        queued_count = len(self._positions_by_key)
        is_blocked = self._is_exhausted or self._lacks_rows
        is_blocked = is_blocked or is_too_far_ahead or self._failing_since is not None
        return is_blocked or queued_count >= _MAX_QUEUED_ROWS + plan.concurrency

    @property
    def _may_pause(self) -> bool:
        """Whether the engines have enough rows for a pause in which to gather outcomes."""
        return self._must_wait and len(self._positions_by_key) > _MANY_UNFINISHED_ROWS

    def _feed(self) -> None:
        """Prepare the next rows, and pass their calls to the engines."""
        row_calls_by_portal: dict[Portal, list[RowCall]] = {}
        new_request_by_key: dict[int, RowRequest] = {}
        self._lacks_rows = False
        try:
            self._read_rows(new_request_by_key)
        except Exception as error:  # noqa: BLE001 - of the user's iterator or function
            # The error is raised after the calls for earlier rows, which are paid for, have ended.
            self._row_error, self._is_exhausted = error, True
        known_outcome_by_key = self._known_outcomes(list(new_request_by_key))
        for key, request in new_request_by_key.items():
            row_call = self._prepare(key, request, *known_outcome_by_key.get(key, (None, None)))
            if row_call is not None:
                row_calls_by_portal.setdefault(row_call.call.portal, []).append(row_call)
        for portal, row_calls in row_calls_by_portal.items():
            self._submit(portal, row_calls)

    def _read_rows(self, new_request_by_key: dict[int, RowRequest]) -> None:
        """Render the next rows; add requests that are not already waiting to the dict."""
        for _ in range(_MAX_ROWS_PER_FEED):
            if self._must_wait:
                return
            try:
                row = next(self._rows)
            except StopIteration:
                self._is_exhausted = True
                return
            if isinstance(row, NoRowYet):
                self._lacks_rows = True
                return
            position, self._next_position = self._next_position, self._next_position + 1
            try:
                request = self._prompt.request(row)
            except GatewayError as error:
                self._settle(position, error)
                continue
            key = self._plan.key(request)
            positions = self._positions_by_key.setdefault(key, [])
            positions.append(position)
            if len(positions) == 1:
                new_request_by_key[key] = request

    def _prepare(
        self,
        key: int,
        request: RowRequest,
        known_outcome: Outcome | None,
        outcome_time: float | None,
    ) -> RowCall | None:
        """Return the call for a row; ``None`` if its outcome is known.

        Args:
            key: The row's key.
            request: Its request.
            known_outcome: The row's outcome, if the row was sent before.
            outcome_time: Time of that outcome; ``None`` if it is from this run.
        """
        # An open cassette takes precedence over the results of earlier runs.
        if known_outcome is not None and (
            outcome_time is None or self._plan.engines.cassette_mode is None
        ):
            self._settle_known(key, known_outcome, outcome_time)
            return None
        try:
            call = self._plan_call(
                request, None if isinstance(known_outcome, GatewayError) else known_outcome
            )
        except UsageError as error:
            for position in self._positions_by_key.pop(key):
                self._settle(position, error)
            return None
        return RowCall(key, call, request)

    def _plan_call(self, request: RowRequest, known_reply: Reply | None = None) -> PlannedCall:
        options: CallOptions = self._plan.options
        if request.options:
            options = with_row_options(options, request)
        return self._plan.engines.plan(request.prompt, options, known_reply)

    def _known_outcomes(self, keys: list[int]) -> dict[int, tuple[Outcome, float | None]]:
        """Return the outcomes of rows that were sent before, with the times of stored outcomes."""
        outcomes: dict[int, tuple[Outcome, float | None]] = {
            key: (self._run_outcome_by_key[key], None)
            for key in keys
            if key in self._run_outcome_by_key
        }
        if self._plan.results is None:
            return outcomes
        schema = self._plan.schema
        for key, row in self._plan.results.get_many(keys).items():
            if key not in outcomes and not row.retry:
                outcome = decode_outcome(row.content, row.outcome, schema)
                outcomes[key] = outcome, None if row.at >= self._started_at else row.at
        return outcomes

    def _settle_known(self, key: int, outcome: Outcome, outcome_time: float | None) -> None:
        """Set a known outcome, from this run or an earlier run, for all rows with this key."""
        for position in self._positions_by_key.pop(key):
            if isinstance(outcome, GatewayError):
                self.figures.add_error(position, outcome)
            elif outcome_time is None:
                self.figures.repeated += 1
                self.figures.answered += 1
            else:
                self.figures.add_reused(outcome_time)
            self._ready_outcomes.append((position, outcome))

    def _submit(self, portal: Portal, row_calls: list[RowCall]) -> None:
        lane = self._lane_by_portal.get(portal)
        if lane is None:
            lane = self._lane_by_portal[portal] = Lane(
                portal, self._plan.concurrency, self._finish_row, self._plan_call
            )
        try:
            lane.submit(row_calls)
        except RuntimeError:
            raise row_calls[0].call.closed_error() from None

    def _finish_row(self, row_call: RowCall, outcome: Outcome) -> None:
        """Store an outcome; called on an engine's loop."""
        if isinstance(outcome, BudgetError):
            outcome = self._plan.engines.usage.budget_error(outcome)
        try:
            self._store_outcome(row_call, outcome)
        except Exception as error:  # noqa: BLE001 - a row without an outcome would be awaited forever
            self._unconfirmed_outcome_by_key.pop(row_call.key, None)
            text = f"the answer to this row cannot be stored: {type(error).__name__}."
            self._received_outcomes.append((row_call.key, ProviderError(text, code="internal")))
            self._wake_caller()

    def _store_outcome(self, row_call: RowCall, outcome: Outcome) -> None:
        results = self._plan.results
        if results is None or not _is_stored(outcome):
            self._received_outcomes.append((row_call.key, outcome))
            self._wake_caller()
            return
        is_error = isinstance(outcome, GatewayError)
        prompt = prompt_text(row_call.request.prompt) if self._plan.keeps_prompts else ""
        prompt = self._plan.redact(prompt)
        steps = getattr(outcome, "steps", ())
        if not self._plan.keeps_prompts:
            steps = tuple(replace(step, sent="") for step in steps)
        self._unconfirmed_outcome_by_key[row_call.key] = outcome
        results.put(
            StoredRow(
                row_call.key,
                encode_outcome(outcome, prompt, steps),
                type(outcome).__name__ if is_error else "ok",
                isinstance(outcome, GatewayError) and may_succeed_later(outcome),
                time.time(),
            )
        )

    def _add_stored(self, rows: list[StoredRow]) -> None:
        """Add outcomes that are stored; called on the thread of the store."""
        for row in rows:
            self._received_outcomes.append((row.key, self._unconfirmed_outcome_by_key.pop(row.key)))
        self._failing_since, self.figures.problem = None, ""
        self._wake_caller()

    def _add_unstorable(self, row: StoredRow, error: BaseException) -> None:
        """Add an outcome that can never be stored; called on the thread of the store."""
        self._add_stored([row])
        self.figures.problem = f"An answer cannot be stored: {error}."

    def _record_failure(self, error: BaseException) -> None:
        """Pause the map until outcomes can be stored; called on the thread of the store."""
        self._failing_since = self._failing_since or time.monotonic()
        self.figures.problem = f"The results cannot be stored: {error}."
        self._wake_caller()

    def _check_store(self) -> None:
        """Check that outcomes can be stored, or could be stored until a short time ago.

        Raises:
            ConfigError: If the outcomes cannot be stored. Those in memory are still yielded.
        """
        failing_since, results = self._failing_since, self._plan.results
        if (
            failing_since is None
            or results is None
            or time.monotonic() - failing_since < _STORE_TIMEOUT
        ):
            return
        self._fail(
            ConfigError(
                f"{self.figures.problem.removesuffix('.')}, so no more rows were sent.",
                hint="Free some space, and run the map again to ask about the missing rows.",
            )
        )

    def _take_ready(self, *, checks_failures: bool = True) -> Outcomes:
        """Return the outcomes that are ready.

        Raises:
            GatewayError: If an error concerns every row.
        """
        while self._received_outcomes:
            key, outcome = self._received_outcomes.popleft()
            if self._plan.results is None or not _is_stored(outcome):
                self._run_outcome_by_key[key] = outcome
            is_replayed = not isinstance(outcome, GatewayError) and outcome.replayed
            self.figures.replayed += is_replayed
            positions = self._positions_by_key.pop(key, [])
            self.figures.asked += bool(positions) and not isinstance(outcome, BudgetError)
            self.figures.repeated += len(positions[1:])
            for position in positions:
                self._settle(position, outcome)
            if checks_failures:
                self._check_final_error(outcome)
        ready_outcomes = list(self._ready_outcomes)
        self._ready_outcomes.clear()
        if checks_failures:
            self._check_failures(ready_outcomes)
        return ready_outcomes

    def _settle(self, position: int, outcome: Outcome) -> None:
        if isinstance(outcome, GatewayError):
            self.figures.add_error(position, outcome)
        else:
            self.figures.add_answer(position, outcome.text)
        self._ready_outcomes.append((position, outcome))

    def _check_final_error(self, outcome: Outcome) -> None:
        if not isinstance(outcome, GatewayError):
            return
        is_closed = isinstance(outcome, TransportError) and outcome.code == "closed"
        if isinstance(outcome, _FINAL_ERRORS) or is_closed:
            self._fail(outcome)

    def _check_failures(self, ready_outcomes: Outcomes) -> None:
        """Raise the error that ends the map: its first error, or the error of all its rows."""
        figures = self.figures
        errors = [outcome for _, outcome in ready_outcomes if isinstance(outcome, GatewayError)]
        if errors and self._plan.raises:
            self._fail(errors[0])
        if figures.answered or not errors:
            return
        has_ended = self._has_ended
        if (figures.failed >= _MAX_EQUAL_FAILURES and len(figures.errors) == 1) or has_ended:
            ((error_name, _),) = figures.errors.most_common(1)
            first_error = figures.first_of_kind[error_name]
            count = figures.failed
            rows = "The row" if count == 1 else f"All {count:,} rows"
            text = f" {rows} failed{'' if has_ended else ' so far'}."
            if not isinstance(first_error, BudgetError):
                first_error = first_error.with_appended_text(text)
            self._fail(first_error)

    def _fail(self, error: GatewayError) -> NoReturn:
        self._record_error(error)
        raise error

    def _record_error(self, error: Exception) -> None:
        """Record the error that ends the map."""
        self._failure = error
        if isinstance(error, GatewayError):
            self.figures.failure = error

    def _show_if_due(self) -> None:
        now = time.monotonic()
        if now - self._shown_at >= _UPDATE_INTERVAL:
            self._shown_at = now
            self.figures.in_flight = sum(lane.in_flight for lane in self._lane_by_portal.values())
            self._plan.engines.note_pace(self.figures)
            self._show(self.figures)
            self._check_store()


def _is_stored(outcome: Outcome) -> bool:
    """Return whether an outcome is stored for the next run."""
    if not isinstance(outcome, GatewayError):
        return not outcome.replayed
    return not isinstance(outcome, (*_FINAL_ERRORS, BudgetError, UsageError))
