"""Polls, collects and cancels the batches that contain the rows of a map."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.batch.batch_collector import BatchCollector
from gatewayx_nb.batch.map_job import MapJob, MapStatus, map_status
from gatewayx_nb.batch.stored_outcomes import decode_outcome
from gatewayx_nb.calls import may_succeed_later
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    DeadlineError,
    EngineError,
    GatewayError,
    TransportError,
    UsageError,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import RemoteBatch, row_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayx_nb.batch.batch_engines import BatchEngines
    from gatewayx_nb.batch.batch_result import BatchRows
    from gatewayx_nb.storage import JobPart, JobRecord, JobResults, ResultsStore

_FIRST_POLL_DELAY = 10.0
"""Seconds between the submission and the first query; each later interval is doubled."""

_MAX_POLL_INTERVAL = 300.0
"""Maximum number of seconds between two queries."""

_BUSY_POLL_INTERVAL = 1.0
"""Seconds between two checks of the store while another process collects the results."""

_LISTING_TIMEOUT = 60.0
"""Maximum number of seconds until a provider lists a batch that it has accepted."""

_LISTING_POLL_INTERVAL = 5.0
"""Seconds between two requests for the list of batches."""

_FINAL_ERRORS = (ConfigError, EngineError, AuthenticationError, UsageError)
_FINAL_CODES = ("unclear", "closed", "tls")

_NOT_FOUND_STATUS = 404

_DELETED_HINT = (
    " If the provider has deleted the batch, `gatewayx_nb.job({!r}).discard()` forgets it, and the"
    " next run submits its rows again."
)

_MAX_SUBMISSIONS = 2
"""Maximum number of attempts to submit a part that the provider has not received."""


@dataclass(slots=True)
class Clock:
    """The clock that is used for waiting; tests replace it.

    Attributes:
        monotonic: Returns seconds, unaffected by changes to the system time.
        sleep: Waits for a number of seconds.
    """

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


clock = Clock()


class BatchJob(MapJob):
    """A map that was submitted to a provider's batch API, with ``batch=True``.

    See also: the guide ``batches``.

    `map` returns it immediately. It queries the provider only while `result`, `progress`, `state`
    or `done` is called: first 10 seconds after the submission, then at intervals that double up to
    5 minutes. ``gx.job(name)`` returns it in any kernel, even after the kernel that submitted it
    has ended.

    Args:
        store: The store of results.
        record: The job in the store.
        engines: Calls the batch APIs of the providers.
        rows: The rows; ``None`` if another call or kernel submitted them.
    """

    def __init__(
        self,
        store: ResultsStore,
        record: JobRecord,
        engines: BatchEngines,
        rows: BatchRows | None = None,
    ) -> None:
        super().__init__(store, record)
        self._engines, self._rows = engines, rows
        self._parts = store.parts(record.digest)
        self._next_query_at, self._query_delay = clock.monotonic(), _FIRST_POLL_DELAY
        self._failure: GatewayError | None = None
        self._note = ""

    @override
    def done(self) -> bool:
        """Return whether every row has an answer or an error; query the provider if it is due."""
        self._advance()
        return self._is_collected

    @property
    def _is_collected(self) -> bool:
        return not self._parts.open() and not self._current_record().is_running

    @override
    def progress(self) -> MapStatus:
        """Return the progress and the totals; query the provider if it is due.

        The state is ``"submitted"`` until every row has an answer or an error. A query that fails
        does not affect the batch; its error is the status's ``problem``.
        """
        self._advance()
        return self._status()

    def _status(self) -> MapStatus:
        status = map_status(self._current_record())
        if status.state in ("killed", "stopped") and self._parts.open():
            status = replace(status, state="submitted")
        return replace(status, problem=self._note or status.problem)

    @override
    def result(self, timeout: float | None = None) -> Any:
        """Wait until every row has an answer or an error, and return what `map` would return.

        An iterator of rows becomes a list. A job from ``gx.job(name)`` does not have the rows, so
        it returns the replies and errors in the order in which they were stored. To get the rows
        with the new columns, run the map's cell again; nothing is submitted twice.

        Args:
            timeout: Maximum number of seconds to wait for the batch. A query that has begun may
                take up to a minute longer; a download that has begun is finished.

        Raises:
            DeadlineError: If some rows have no outcome after ``timeout`` seconds; the batch
                continues.
            GatewayError: If the provider cannot be queried and another attempt would not help. A
                job with the rows also raises the first row's error if all rows failed and none was
                cancelled, or if a row failed and the map has ``on_error="raise"``.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout
        while not self.done():
            if self._failure is not None:
                error, self._failure, self._next_query_at = self._failure, None, clock.monotonic()
                raise error
            now = clock.monotonic()
            if deadline is not None and now >= deadline:
                raise DeadlineError(
                    f"batch {self.name!r} did not end within {timeout:g} s.{self._note and ' '}"
                    f"{self._note}",
                    hint=Hint("cancel_job", job=self.name),
                )
            wake_at = (
                self._next_query_at if deadline is None else min(self._next_query_at, deadline)
            )
            clock.sleep(max(wake_at - now, 0.0))
        if self._rows is None:
            return super().result(0)
        results = self._results()
        try:
            results.load()
            return self._rows.result(lambda keys: self._read_outcomes(results, keys))
        finally:
            results.close()

    def _read_outcomes(self, results: JobResults, keys: list[int]) -> dict[int, Any]:
        schema = self._rows.schema if self._rows is not None else self._schema()
        return {
            key: decode_outcome(row.content, row.outcome, schema)
            for key, row in results.get_many(keys).items()
        }

    @override
    def cancel(self) -> bool:
        """Ask the provider to end the batches early; return whether any batch was open.

        Rows that the provider has already answered are kept, and you are charged for them. The
        other rows fail with the code ``"cancelled"``, and the next run submits them again.

        Raises:
            GatewayError: If a provider cannot be queried.
        """
        forbid_blocking_call("amap")
        parts = [
            submitted_part
            for part in self._parts.open()
            if (submitted_part := part if part.batch else self.find_lost(part, waits=False))
        ]
        for part in parts:
            if not self._engines.state(part).has_ended:
                self._engines.cancel(part)
        self._next_query_at, self._query_delay = clock.monotonic(), _FIRST_POLL_DELAY
        return bool(parts)

    def wait_before_first_query(self) -> None:
        """Postpone the first query of the provider by ten seconds."""
        self._next_query_at, self._query_delay = (
            clock.monotonic() + _FIRST_POLL_DELAY,
            2 * _FIRST_POLL_DELAY,
        )

    def discard(self) -> int:
        """Forget the parts whose results have not been collected; return the number of parts.

        The rows then count as not submitted, and the next run submits them again. If the provider
        accepted the first submission, you pay for both. Use this if a submission got no response,
        so that it is unknown whether the provider accepted it, or if the provider has deleted a
        batch.

        Raises:
            UsageError: If another process is running the job.
        """
        with self._run_job() as results:
            if results is None:
                raise UsageError(
                    f"job {self.name!r} is running.", hint=Hint("cancel_job", job=self.name)
                )
            parts = self._parts.open()
            self._parts.remove(parts)
            figures = self._current_record().figures
            self._parts.set_figures(replace(figures, state="stopped", problem=""))
        self._failure, self._note = None, ""
        return len(parts)

    @override
    def __repr__(self) -> str:
        return repr(self._status())  # this does not query the provider

    @contextlib.contextmanager
    def _run_job(self) -> Iterator[JobResults | None]:
        """Run the job in the ``with`` block; yield ``None`` if another process is running it."""
        record = self._record
        results = self._store.open_job(
            record.digest, name=record.name, definition=record.definition
        )
        try:
            yield results if results.try_drive() else None
        finally:
            results.close()

    def _advance(self) -> None:
        """If a query is due, query the open parts, and collect the parts that have ended."""
        forbid_blocking_call("amap")
        if clock.monotonic() < self._next_query_at or not self._parts.open():
            return
        with self._run_job() as results:
            if results is None:
                self._next_query_at = clock.monotonic() + _BUSY_POLL_INTERVAL
                return
            self._failure, self._note = None, ""
            for part in self._parts.open():
                self._try_advance_part(part, results)
        self._next_query_at = clock.monotonic() + self._query_delay
        self._query_delay = min(2 * self._query_delay, _MAX_POLL_INTERVAL)

    def _try_advance_part(self, part: JobPart, results: JobResults) -> None:
        try:
            self._advance_part(part, results)
        except GatewayError as error:
            self._note = f"Batch {part.batch or part.number} cannot be queried: {error.message}"
            if error.status == _NOT_FOUND_STATUS:
                error = error.with_appended_text(_DELETED_HINT.format(self.name))
            if _is_final(error):  # the batch itself is not affected
                self._failure = error

    def _advance_part(self, part: JobPart, results: JobResults) -> None:
        if not part.batch:
            submitted_part = self.find_lost(part, waits=False)
            if submitted_part is None:
                self._forget_if_unlisted(part)
                return
            part = submitted_part
        remote = self._engines.state(part)
        if not remote.has_ended:
            self._note = f"Batch {part.batch}: {remote.status}, {remote.done:,} rows done."
            return
        if part.state != "ended":
            part = replace(part, state="ended")
            self._parts.update(part)
        self._collect_part(part, remote, results)

    def _forget_if_unlisted(self, part: JobPart) -> None:
        """Forget a part that the provider still does not list after `_LISTING_TIMEOUT`."""
        if _must_be_listed(part):
            self._parts.remove([part])
            problem = (
                f"{len(part.keys):,} rows were not submitted. Run the map again to submit them."
            )
            state: Any = "submitted" if self._parts.open() else "stopped"
            figures = self._current_record().figures
            self._parts.set_figures(replace(figures, state=state, problem=problem))

    def _collect_part(self, part: JobPart, remote: RemoteBatch, results: JobResults) -> None:
        schema = self._schema() if self._rows is None else self._rows.schema
        sink = BatchCollector(part, results, self._parts.prompts(part))
        self._engines.collect(part, remote, schema, sink)
        if len(sink.rows) < min(remote.done, len(part.keys)):
            # An earlier download may have been interrupted.
            sink.foreign_count = sink.unreadable_count = 0
            self._engines.collect(part, remote, schema, sink)
        if sink.has_only_foreign_rows:
            excluded_batches = [*part.info.get("not", []), part.batch]
            info = {**part.info, "not": excluded_batches}
            self._parts.update(replace(part, state="submitting", batch="", info=info))
            raise self._unclear_error(
                part, "the batch that seemed to contain it has different rows"
            )
        sink.close(remote)
        has_other_open_parts = any(open_part.id != part.id for open_part in self._parts.open())
        figures = sink.figures(self._current_record().figures, is_last=not has_other_open_parts)
        self._parts.update(replace(part, state="collected"), figures)
        self._engines.record_usage(sink.rows, self.name)

    def submit(self, part: JobPart, file: Path) -> None:
        """Submit a part that the store already records as being submitted.

        Raises:
            GatewayError: If the part was not submitted, or if it is unknown whether it was.
        """
        submission_result: RemoteBatch | GatewayError | None = None
        for _ in range(_MAX_SUBMISSIONS):
            try:
                submission_result = self._engines.submit(part, file)
            except GatewayError:
                self._parts.remove([part])
                raise
            if isinstance(submission_result, RemoteBatch):
                self._parts.update(replace(part, state="submitted", batch=submission_result.id))
                return
            # The provider may have accepted the part, so look for it before sending it again.
            if self.find_lost(part, waits=True) is not None:
                return
        self._parts.remove([part])
        assert isinstance(submission_result, GatewayError)  # noqa: S101 - the last submission's error
        raise submission_result.with_appended_text(
            " The provider has no such batch; nothing was submitted."
        )

    def resolve_lost_parts(self) -> None:
        """Look for the parts whose submission got no response.

        Parts that the provider does not have are forgotten, so that their rows can be submitted
        again.

        Raises:
            GatewayError: If the batches cannot be listed, or several may contain the part.
        """
        for part in self._parts.open():
            if not part.batch and self.find_lost(part, waits=True) is None:
                self._parts.remove([part])

    def find_lost(self, part: JobPart, *, waits: bool) -> JobPart | None:
        """Find the batch of a part whose submission got no response.

        Args:
            part: The part.
            waits: Whether to wait until the provider is certain to list a batch that it accepted.

        Returns:
            The part with its batch; ``None`` if the provider does not list the batch, which may
            still appear unless ``waits`` is set.

        Raises:
            GatewayError: If the batches cannot be listed, or several may contain the part.
        """
        for attempt in range(int(_LISTING_TIMEOUT / _LISTING_POLL_INTERVAL) + 1):
            if attempt:
                clock.sleep(_LISTING_POLL_INTERVAL)
            candidates = self._candidates(part)
            if len(candidates) > 1:
                raise self._unclear_error(part, f"{len(candidates)} batches may contain it")
            if candidates:
                submitted_part = replace(part, state="submitted", batch=candidates[0].id)
                self._parts.update(submitted_part)
                return submitted_part
            if not waits or _must_be_listed(part):
                return None
        return None

    def _candidates(self, part: JobPart) -> list[RemoteBatch]:
        batches = self._engines.find(part)
        exact_matches = [batch for batch in batches if batch.digest == part.digest]
        if exact_matches:
            return exact_matches[:1]
        known_ids = {*self._parts.known_batches(), *part.info.get("not", [])}
        row_count = len(part.keys)
        return [
            batch
            for batch in batches
            if not batch.digest and batch.id not in known_ids and batch.rows == row_count
        ]

    def _unclear_error(self, part: JobPart, reason: str) -> TransportError:
        return TransportError(
            f"the submission of part {part.number} of {self.name!r}, with {len(part.keys):,} rows,"
            f" got no response, and it is unknown whether the provider has accepted it: {reason}."
            " Nothing was submitted again.",
            hint="Look at the batches in the provider's console. If none of them matches this part,"
            " or if you accept paying for it twice, call"
            f" `gatewayx_nb.job({self.name!r}).discard()` and run the map again.",
            engine=str(part.info.get("engine", "")) or None,
            code="unclear",
        )


def _must_be_listed(part: JobPart) -> bool:
    """Return whether the provider would list a part by now if it had accepted the part."""
    return (
        abs(time.time() - part.submitted_at) > _LISTING_TIMEOUT
    )  # the clock may have been set back


def _is_final(error: GatewayError) -> bool:
    """Return whether querying a batch again would also fail."""
    if isinstance(error, TransportError):
        return error.code in _FINAL_CODES
    is_refused = error.status is not None and 400 <= error.status < 500  # noqa: PLR2004 - 4xx
    return isinstance(error, _FINAL_ERRORS) or (is_refused and not may_succeed_later(error))


def unsubmitted_error(name: str) -> GatewayError:
    """Return the error for a row that was not submitted.

    Args:
        name: Name of the job.
    """
    return row_error(name, "not_submitted", "it was not submitted")


def check_no_open_batch(store: ResultsStore | None, results: JobResults | None, name: str) -> None:
    """Check that no row of a map is in an open batch, because you would pay for the row twice.

    Raises:
        UsageError: If some rows are in an open batch.
    """
    parts = store.parts(results.digest).open() if store and results else []
    if parts:
        count = sum(len(part.keys) for part in parts)
        raise UsageError(
            f"{count:,} rows of {name!r} are already in a provider's batch; you would pay for them"
            " twice.",
            hint=f"Wait for them with `gatewayx_nb.job({name!r}).result()`, or cancel them with"
            f" `gatewayx_nb.job({name!r}).cancel()`.",
        )
