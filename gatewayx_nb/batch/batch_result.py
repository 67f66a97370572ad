"""Submits the rows of a map with ``batch=True``, and returns the result."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.batch.batch_job import BatchJob, clock, unsubmitted_error
from gatewayx_nb.batch.map_job import MapStatus
from gatewayx_nb.batch.map_session import OutcomeSink
from gatewayx_nb.batch.part_files import PartFiles
from gatewayx_nb.calls import prompt_text
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.storage import JobPart
from gatewayx_nb.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatewayx_nb.batch.batch_engines import BatchEngines
    from gatewayx_nb.batch.figures import MapFigures
    from gatewayx_nb.batch.map_options import Output
    from gatewayx_nb.batch.map_session import MapSession
    from gatewayx_nb.batch.part_files import PartFile
    from gatewayx_nb.batch.row_prompt import RowRequest
    from gatewayx_nb.batch.rows import RowValue
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.storage import JobFigures, JobResults, ResultsStore

    Outcome = Reply | GatewayError

T = TypeVar("T")

_CHUNK_ROWS = 256
"""Number of rows to prepare or read at once."""

_TAKE_OVER_INTERVAL = 0.5
"""Seconds between attempts to take over a job that another process is running."""


@dataclass(slots=True)
class BatchRows:
    """The rows of a map whose outcomes are, or will be, in the store.

    Attributes:
        session: The map.
        output: The form of the result.
        keys: The key of each row; ``None`` for a row whose request cannot be created.
        errors_by_position: The errors of rows whose request cannot be created, by position.
        errors_by_key: The errors of rows whose request cannot be sent, by key.
        is_reply_by_key: For each key that is not submitted again, whether its outcome is a reply.
    """

    session: MapSession
    output: Output
    keys: list[int | None] = field(default_factory=list)
    errors_by_position: dict[int, GatewayError] = field(default_factory=dict)
    errors_by_key: dict[int, GatewayError] = field(default_factory=dict)
    is_reply_by_key: dict[int, bool] = field(default_factory=dict)

    @property
    def schema(self) -> ResponseSchema | None:
        """The schema that the answers must match; ``None`` if none was requested."""
        return self.session.plan.schema

    def add(self, row: RowValue) -> tuple[int, RowRequest] | None:
        """Add a row; return its key and its request, or ``None`` if it has no valid request."""
        try:
            request = self.session.prompt.request(row)
        except GatewayError as error:
            self.errors_by_position[len(self.keys)] = error
            self.keys.append(None)
            return None
        key = self.session.plan.key(request)
        self.keys.append(key)
        return key, request

    def figures(self, earlier_figures: JobFigures) -> JobFigures:
        """Return the job's figures at the time of its submission."""
        counts = Counter(key for key in self.keys if key is not None)
        answered_count = sum(
            counts[key] for key, is_reply in self.is_reply_by_key.items() if is_reply
        )
        failed_count = sum(
            counts[key] for key, is_reply in self.is_reply_by_key.items() if not is_reply
        )
        failed_count += len(self.errors_by_position) + sum(
            counts[key] for key in self.errors_by_key
        )
        return replace(
            earlier_figures,
            state="submitted",
            total=len(self.keys),
            done=answered_count,
            failed=failed_count,
            problem="",
        )

    def repeats(self, keys: Iterable[int]) -> dict[str, int]:
        """Return the number of later rows with the same key, by position; omit zeros."""
        counts = Counter(self.keys)
        return {
            str(position): counts[key] - 1 for position, key in enumerate(keys) if counts[key] > 1
        }

    def result(self, look_up: Callable[[list[int]], Mapping[int, Outcome]]) -> Any:  # noqa: ANN401 - the rows' type
        """Return the rows with their outcomes.

        Args:
            look_up: Returns the stored outcomes by key.

        Raises:
            GatewayError: If all rows failed and none was cancelled, or if a row failed and the map
                has ``on_error="raise"``.
        """
        sink = OutcomeSink(self.session, self.output)
        count, errors = 0, list[GatewayError]()
        for chunk in _chunks(enumerate(self.keys)):
            stored_outcomes = look_up([key for _, key in chunk if key is not None])
            group = [
                (position, self._outcome(position, key, stored_outcomes)) for position, key in chunk
            ]
            errors += [outcome for _, outcome in group if isinstance(outcome, GatewayError)]
            count += len(group)
            sink.add(group)
        self._raise_if_failed(errors, count)
        return sink.result()

    def _outcome(
        self, position: int, key: int | None, stored_outcomes: Mapping[int, Outcome]
    ) -> Outcome:
        if key is None:
            return self.errors_by_position[position]
        return (
            self.errors_by_key.get(key) or stored_outcomes.get(key) or unsubmitted_error(self._name)
        )

    @property
    def _name(self) -> str:
        return self.session.figures.name

    def _raise_if_failed(self, errors: list[GatewayError], count: int) -> None:
        if errors and self.session.plan.raises:
            raise errors[0]
        was_cancelled = any(error.code == "cancelled" for error in errors)
        if errors and len(errors) == count and not was_cancelled:
            rows = "The row" if count == 1 else f"All {count:,} rows"
            raise errors[0].with_appended_text(f" {rows} failed.")


class BatchSubmission:
    """Submits the rows of a map that have no answer yet.

    Args:
        session: The map.
        store: The store of results.
        results: The results of the job.
        engines: Calls the providers.
        output: The form of the result.
    """

    def __init__(
        self,
        session: MapSession,
        store: ResultsStore,
        results: JobResults,
        engines: BatchEngines,
        output: Output,
    ) -> None:
        self._session, self._store, self._results = session, store, results
        self._engines = engines
        self._rows = BatchRows(session, output)
        self._parts = store.parts(results.digest)

    def run(self) -> BatchJob:
        """Submit the rows, and return the job.

        Raises:
            GatewayError: If a part cannot be submitted; earlier parts stay submitted.
        """
        while not self._results.try_drive():
            clock.sleep(_TAKE_OVER_INTERVAL)
        try:
            record = next(job for job in self._store.jobs() if job.digest == self._results.digest)
            self._engines.usage.set_earlier_cost(record.figures.cost)
            job = BatchJob(self._store, record, self._engines, self._rows)
            job.resolve_lost_parts()
            if not self._session.fresh:
                self._results.load(self._session.max_age)
            with PartFiles() as files:
                self._read_rows(files)
                open_max_costs = [part.info.get("bound") for part in self._parts.open()]
                total_max_cost = sum(
                    (_decimal_or_zero(max_cost) for max_cost in open_max_costs), files.max_cost
                )
                if files.count:
                    self._engines.check_budget(total_max_cost, files.count, self._other_jobs_cost())
                self._submit(job, files, record.figures)
        finally:
            self._results.close()
        job.wait_before_first_query()
        return job

    def _other_jobs_cost(self) -> Decimal:
        """Return the maximum cost of other jobs' open batches, in US dollars."""
        digests = (job.digest for job in self._store.jobs())
        return sum(
            (
                _decimal_or_zero(part.info.get("bound"))
                for digest in digests
                if digest != self._results.digest
                for part in self._store.parts(digest).open()
            ),
            Decimal(0),
        )

    def _read_rows(self, files: PartFiles) -> None:
        """Render the rows, and write those without an answer to the files."""
        session, rows = self._session, self._rows
        pending_keys = {key for part in self._parts.open() for key in part.keys}
        seen_keys = set(pending_keys)
        source = session.rows.read(session.prompt.columns)
        for chunk in _chunks(source):
            valid_rows = [row for row in map(rows.add, chunk) if row is not None]
            new_requests = {key: request for key, request in valid_rows if key not in seen_keys}
            seen_keys |= new_requests.keys()
            for key, row in self._results.get_many(list(new_requests)).items():
                if not row.retry:
                    rows.is_reply_by_key[key] = row.outcome == "ok"
                    del new_requests[key]
            self._prepare(new_requests, files)

    def _prepare(self, new_requests: Mapping[int, RowRequest], files: PartFiles) -> None:
        plan = self._session.plan
        prepared_rows = self._engines.prepare(list(new_requests.values()), plan.options)
        for (key, request), row in zip(new_requests.items(), prepared_rows, strict=True):
            if isinstance(row, GatewayError):
                self._rows.errors_by_key[key] = row
                continue
            prompt = prompt_text(request.prompt) if plan.keeps_prompts else None
            try:
                files.add(key, row, prompt)
            except UsageError as error:
                self._rows.errors_by_key[key] = error

    def _submit(self, job: BatchJob, files: PartFiles, earlier_figures: JobFigures) -> None:
        figures = self._rows.figures(earlier_figures)
        for number, file in enumerate(files.finished()):
            figures = replace(figures, asked=figures.asked + len(file.keys))
            part = self._parts.add(self._make_part(file), file.prompts, figures)
            try:
                job.submit(part, file.path)
            except GatewayError as error:
                if number:
                    raise error.with_appended_text(
                        f" Already submitted: {counted(number, 'part')}. Run the map again to"
                        " submit the others."
                    ) from error.__cause__
                raise
        if not self._parts.open():
            figures = replace(figures, state="done")
        self._parts.set_figures(figures)

    def _make_part(self, file: PartFile) -> JobPart:
        first_row = file.first_row
        info = {
            "engine": first_row.engine,
            "address": first_row.base_url,
            "endpoint": first_row.endpoint,
            "model": first_row.model,
            "bound": str(file.max_cost),
            "repeats": self._rows.repeats(file.keys),
        }
        return JobPart(file.digest, tuple(file.keys), info=info)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, _CHUNK_ROWS)):
        yield chunk


def _decimal_or_zero(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return Decimal(0)


class ReplayedBatch:
    """A map with ``batch=True`` whose rows were replayed from the open cassette.

    Args:
        figures: The progress and the totals of the map.
        result: What `map` returned.

    Attributes:
        name: Name of the job.
    """

    def __init__(self, figures: MapFigures, result: object) -> None:
        self.name, self._figures, self._result = figures.name, figures, result

    def done(self) -> bool:
        """Return ``True``, because nothing was submitted."""
        return True

    def progress(self) -> MapStatus:
        """Return the progress and the totals of the map."""
        figures = self._figures
        return MapStatus(
            name=figures.name,
            model="",
            state=figures.state,
            rows=figures.total,
            done=figures.answered,
            failed=figures.failed,
            cost=Decimal(0),
            unpriced=0,
            seconds=figures.seconds,
            last_used=time.time(),
        )

    def result(self, timeout: float | None = None) -> Any:  # noqa: ANN401, ARG002 - as `BatchJob`
        """Return what `map` would return."""
        return self._result

    def cancel(self) -> bool:
        """Return ``False``, because nothing was submitted."""
        return False
