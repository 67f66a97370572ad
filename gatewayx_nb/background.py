"""Sends prompts in named background jobs, and lists the jobs and the project's maps."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from gatewayx_nb.arguments import with_one_line_errors
from gatewayx_nb.batch import duration
from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.engine_pool import pool
from gatewayx_nb.errors import DeadlineError, GatewayError, UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gatewayx_nb.batch import MapJob, MapStatus
    from gatewayx_nb.comparisons import Comparison, ComparisonRun
    from gatewayx_nb.replies import Reply

JobState = Literal["running", "done", "failed", "cancelled"]

_POLL_INTERVAL = 0.2
"""Poll interval of a waiting thread in seconds: on Windows a longer wait blocks Ctrl-C."""


class Job:
    """A prompt that is sent to one or more models in the background.

    Args:
        name: The job's name.
        run: Sends the calls; creating the job starts it, so it must not have been started.

    Raises:
        UsageError: If ``run`` cannot be started.
    """

    def __init__(self, name: str, run: ComparisonRun) -> None:
        if not callable(getattr(run, "start", None)):
            raise UsageError(
                f"run must be a comparison that has not been started, got {short_repr(run)}.",
                hint='For example, `Job("trip", pool().plan_comparison("Hi", "mock"))`.',
            )
        self.name = name
        self._run = run
        self._started_at = time.monotonic()
        self._total_seconds: float | None = None
        self._is_cancelled = False
        run.start()

    @property
    def references(self) -> tuple[str, ...]:
        """References of the models."""
        return tuple(column.reference for column in self._run.columns)

    def done(self) -> bool:
        """Return whether the job has ended, successfully or not."""
        return self._run.ended

    @property
    def state(self) -> JobState:
        """The job's state; ``"failed"`` if every model failed."""
        if self._is_cancelled:
            # Check this first, because a cancelled run has also ended.
            return "cancelled"
        if not self.done():
            return "running"
        has_failed = all(isinstance(outcome, GatewayError) for outcome in self._run.comparison)
        return "failed" if has_failed else "done"

    @property
    def seconds(self) -> float:
        """Seconds since the start of the job, or its total duration if it has ended."""
        # The run does not record its end time, so keep the first value read after the end.
        seconds = time.monotonic() - self._started_at
        if self._total_seconds is None and self.done():
            self._total_seconds = seconds
        return seconds if self._total_seconds is None else self._total_seconds

    def result(self, timeout: float | None = None) -> Reply | Comparison:
        """Wait for the result: a reply, or a comparison if there are several models.

        Ctrl-C ends the wait, not the job. The result of a cancelled job is its partial answer,
        marked ``interrupted``.

        Args:
            timeout: Maximum number of seconds to wait.

        Raises:
            DeadlineError: If the job is still running after ``timeout`` seconds.
            GatewayError: If the only model failed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._run.join(_POLL_INTERVAL):
            if deadline is not None and time.monotonic() >= deadline:
                message = f"job {self.name!r} is still running after {self.seconds:.0f} s."
                hint = Hint("cancel_job", job=self.name) | f"Wait longer: `{self.name}.result()`."
                raise DeadlineError(message, hint=hint)
        comparison = self._run.comparison
        if len(comparison) > 1:
            return comparison
        (outcome,) = comparison
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome

    def cancel(self) -> bool:
        """Stop running calls and close their connections; return whether any were running."""
        if self.done():
            return False
        # Set the flag first, because `state` may be read before `stop` returns.
        self._is_cancelled = True
        self._run.stop()
        return True

    @override
    def __repr__(self) -> str:
        return f"Job({self.name!r}, {plain(' '.join(self.references))}, {self.state})"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A snapshot of a job's state.

    Attributes:
        name: The job's name.
        models: References of the models.
        state: The current state; a map may also be ``"submitted"``, ``"stopped"`` or ``"killed"``.
        seconds: Seconds since the start, or the total duration if the job has ended.
        map: The status of the map, with its row counts and cost; ``None`` for a `Job`.
    """

    name: str
    models: tuple[str, ...]
    state: str
    seconds: float
    map: MapStatus | None = None

    @classmethod
    def of_map(cls, status: MapStatus) -> JobStatus:
        """Return a `JobStatus` for a map."""
        return cls(status.name, (status.model,), status.state, status.seconds, status)


def _models_text(row: JobStatus) -> str:
    return " ".join(row.models)


def _rows_text(row: JobStatus) -> str:
    return row.map.rows_text if row.map else ""


def _failed_text(row: JobStatus) -> str:
    return f"{row.map.failed:,}" if row.map and row.map.failed else ""


def _cost_text(row: JobStatus) -> str:
    return row.map.cost_text if row.map else ""


def _duration_text(row: JobStatus) -> str:
    return duration(row.seconds)


JOB_COLUMNS: tuple[TableColumn[JobStatus], ...] = (
    TableColumn("job", attrgetter("name")),
    TableColumn("models", _models_text),
    TableColumn("state", attrgetter("state")),
    TableColumn("rows", _rows_text, "right", optional=True),
    TableColumn("failed", _failed_text, "right", optional=True),
    TableColumn("cost", _cost_text, "decimal", optional=True),
    TableColumn("ran", _duration_text, "right"),
)
"""The columns of a table of jobs."""


class JobList:
    """The jobs of a notebook, oldest first."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def start(self, name: str | None, create_run: Callable[[], ComparisonRun]) -> Job:
        """Start a job, with a generated name if ``name`` is ``None``.

        Raises:
            UsageError: If a job with that name is running.
        """
        name = name or self._unused_name()
        self.check_name_is_free(name)
        job = self._jobs[name] = Job(name, create_run())
        return job

    def check_name_is_free(self, name: str) -> None:
        """Check that no running job has that name.

        Raises:
            UsageError: If a job with that name is running.
        """
        job = self._jobs.get(name)
        if job is not None and not job.done():
            raise UsageError(
                f"job {name!r} is still running.",
                hint=Hint("cancel_job", job=name) | "Use another name for the new job.",
            )

    def require(self, name: str) -> Job:
        """Return an existing job.

        Raises:
            UsageError: If no job has that name.
        """
        if name not in self._jobs:
            raise UsageError(
                f"there is no job {name!r}.{did_you_mean(name, self._jobs)}", hint=Hint("list_jobs")
            )
        return self._jobs[name]

    def table(self, maps: Iterable[MapStatus] = ()) -> Table[JobStatus]:
        """Return a table with a row for each job of the notebook and each map.

        Args:
            maps: The maps of the project.
        """
        rows = [JobStatus(job.name, job.references, job.state, job.seconds) for job in self]
        return Table([*rows, *map(JobStatus.of_map, maps)], JOB_COLUMNS)

    def __contains__(self, name: object) -> bool:
        return name in self._jobs

    def close(self) -> None:
        """Cancel all jobs and remove them from the list."""
        for job in self:
            job.cancel()
        self._jobs.clear()

    def _unused_name(self) -> str:
        candidates = (f"job{number}" for number in itertools.count(len(self._jobs) + 1))
        return next(name for name in candidates if name not in self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))  # a job may start during the iteration


notebook_jobs = JobList()
"""The jobs of this kernel's notebook; each kernel serves one notebook."""


def _jobs() -> Table[JobStatus]:
    """Return a table with a row for each job of this notebook and each map of the project."""
    return notebook_jobs.table(pool().map_jobs())


def _job(name: str) -> Job | MapJob:
    """Return a job of this notebook or a map of the project by name.

    Args:
        name: The name, as `jobs` lists it.

    Raises:
        UsageError: If there is no job with this name.
    """
    return notebook_jobs.require(name) if name in notebook_jobs else pool().job(name)


jobs = with_one_line_errors(_jobs, "jobs")
job = with_one_line_errors(_job, "job")
