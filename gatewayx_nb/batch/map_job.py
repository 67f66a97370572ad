"""The stored maps of this and other processes, which `gx.job` finds by name."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.batch.columns import columns_of
from gatewayx_nb.batch.mapped_replies import MappedReplies
from gatewayx_nb.batch.stored_outcomes import decode_outcome, stored_prompt
from gatewayx_nb.errors import ConfigError, DeadlineError, GatewayError, UsageError, did_you_mean
from gatewayx_nb.files import path_to_write, quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.replies import Reply
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.tabulation import check_pandas
from gatewayx_nb.text import known_and_unpriced, plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal
    from pathlib import Path

    import pandas as pd

    from gatewayx_nb.storage import JobFigures, JobRecord, JobResults, ResultsStore

_POLL_INTERVAL = 0.5
"""Seconds between checks of a job that another process runs."""

_MAX_NAMES_IN_ERROR = 5
"""Maximum number of names in an error message."""

_EXPORT_SUFFIXES = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class MapStatus:
    """A snapshot of a map's progress and totals, over all of its runs.

    Attributes:
        name: Name of the job.
        model: Reference of the model.
        state: ``"running"``, ``"done"``, ``"stopped"`` or ``"failed"``; ``"killed"`` if its process
            was killed; ``"submitted"`` if its rows are in a provider's batches.
        rows: Number of rows; ``None`` if it is not known.
        done: Number of rows with an answer.
        failed: Number of rows with an error.
        cost: Cost in US dollars.
        unpriced: Number of calls with an unknown price.
        seconds: Total running time in seconds.
        last_used: Time of the last run in seconds since the epoch.
        problem: Why the map ended early.
    """

    name: str
    model: str
    state: str
    rows: int | None
    done: int
    failed: int
    cost: Decimal
    unpriced: int
    seconds: float
    last_used: float
    problem: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the fields, with ``last_used`` as a `datetime` in UTC."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "last_used": datetime.fromtimestamp(self.last_used, UTC)}

    @property
    def rows_text(self) -> str:
        """The number of rows with an answer or an error, and the total if it differs."""
        ended_count = self.done + self.failed
        return (
            f"{ended_count:,}"
            if self.rows in (None, ended_count)
            else f"{ended_count:,} of {self.rows:,}"
        )

    @property
    def cost_text(self) -> str:
        """The cost, and the number of calls with an unknown price."""
        return known_and_unpriced(self.cost, self.unpriced)

    @override
    def __repr__(self) -> str:
        failed_text = f", {self.failed:,} failed" if self.failed else ""
        ended_count = self.done + self.failed
        noun = "row" if (self.rows or ended_count) == 1 else "rows"
        text = f"{self.name}: {self.state}, {self.rows_text} {noun}{failed_text}, {self.cost_text}"
        return plain(f"{text}. {self.problem}" if self.problem else text)


class MapJob:
    """A map whose answers are stored.

    This object sends nothing. To ask about missing rows, run the cell of the map again.

    Args:
        store: The store of results.
        record: The job in the store.
    """

    def __init__(self, store: ResultsStore, record: JobRecord) -> None:
        self._store, self._record = store, record

    @property
    def name(self) -> str:
        """The job's name."""
        return self._record.name

    @property
    def prompt(self) -> str:
        """The template of the prompt, or the source of its function."""
        return self._record.definition.get("prompt", "")

    @property
    def state(self) -> str:
        """The job's state; see `MapStatus`."""
        return self.progress().state

    def done(self) -> bool:
        """Return whether no process is running the job."""
        return not self._current_record().is_running

    def progress(self) -> MapStatus:
        """Return the progress and the totals, even for a job that another process runs."""
        return map_status(self._current_record())

    def result(self, timeout: float | None = None) -> MappedReplies:
        """Wait until no process runs the job, and return its replies and errors.

        They are ordered by the time at which they were stored; the store does not keep the order
        of the rows.

        Args:
            timeout: Maximum number of seconds to wait.

        Raises:
            DeadlineError: If the job is still running after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineError(
                    f"job {self.name!r} is still running after {timeout:g} s.",
                    hint=Hint("cancel_job", job=self.name),
                )
            time.sleep(_POLL_INTERVAL)
        schema = self._schema()
        outcomes = [outcome for _, outcome, _ in self._outcomes(schema)]
        return MappedReplies(outcomes, columns_of(schema), self.name)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each stored answer: the prompt, then the columns.

        Raises:
            UsageError: If pandas is not installed.
        """
        check_pandas()
        schema = self._schema()
        prompts: list[str] = []
        outcomes: list[Reply | GatewayError] = []
        for prompt, outcome, _ in self._outcomes(schema):
            prompts.append(prompt)
            outcomes.append(outcome)
        frame = MappedReplies(outcomes, columns_of(schema), self.name).to_frame()
        frame.insert(0, "prompt", prompts)
        return frame

    def export(self, path: str | Path) -> Path:
        """Write the answers to a file and return its path.

        Args:
            path: The file: ``.parquet``, ``.csv``, or ``.jsonl`` with one reply per line. An
                existing file is not replaced.

        Raises:
            UsageError: If the file has another extension, or its format needs a package that is not
                installed.
            ConfigError: If the file exists or cannot be written.
        """
        target = path_to_write(path, _EXPORT_SUFFIXES, "answers.csv")
        suffix = target.suffix.lower()
        if suffix != ".jsonl":
            check_pandas()
        try:
            file = target.open("x", encoding="utf-8", newline="")
            with file, _removed_on_error(target):
                if suffix == ".csv":
                    self.to_frame().to_csv(file, index=False)
                elif suffix == ".jsonl":
                    file.writelines(f"{line}\n" for line in self._json_lines())
                else:
                    self._write_parquet(target)
        except FileExistsError:
            raise ConfigError(
                f"{str(target)!r} already exists.",
                hint=f"Use another name, or remove the existing file: `rm {quoted_path(target)}`.",
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{str(target)!r} cannot be written: {error.strerror or error}."
            ) from None
        return target

    def cancel(self) -> bool:
        """Stop the job as an interrupt of its kernel would; return whether the job was running.

        Finished rows stay stored. The process that runs the job may take a second to stop.
        """
        if self.done():
            return False
        self._results().request_stop()
        return True

    def forget(self) -> None:
        """Remove the job and its answers from the store.

        Raises:
            UsageError: If a process is running the job.
        """
        if not self.done():
            raise UsageError(
                f"job {self.name!r} is running.", hint=Hint("cancel_job", job=self.name)
            )
        self._store.forget([self._record.id])

    @override
    def __repr__(self) -> str:
        return repr(self.progress())

    def _current_record(self) -> JobRecord:
        """Read the job's record again, and return it."""
        records = (job for job in self._store.jobs() if job.digest == self._record.digest)
        self._record = next(records, self._record)
        return self._record

    def _results(self) -> JobResults:
        return self._store.read_job(self._record)

    def _outcomes(
        self, schema: ResponseSchema | None
    ) -> Iterator[tuple[str, Reply | GatewayError, float]]:
        """Yield the prompt, the reply or error, and the time of each stored row."""
        results = self._results()
        try:
            results.load()
            for row in results.rows():
                prompt = stored_prompt(row.content, row.outcome)
                yield prompt, decode_outcome(row.content, row.outcome, schema), row.at
        finally:
            results.close()

    def _json_lines(self) -> Iterator[str]:
        for prompt, outcome, at in self._outcomes(self._schema()):
            values: dict[str, Any] = {"prompt": prompt, "at": at}
            if isinstance(outcome, Reply):
                values |= outcome.to_dict()
            else:
                values |= {"error": type(outcome).__name__, "message": outcome.message}
            yield json.dumps(values, ensure_ascii=False)

    def _write_parquet(self, target: Path) -> None:
        try:
            self.to_frame().to_parquet(target, index=False)
        except ImportError:
            raise UsageError(
                "a Parquet file needs pyarrow, which is not installed.",
                hint=Hint("install_package", package="pyarrow") | "Write a .csv or .jsonl file.",
            ) from None

    def _schema(self) -> ResponseSchema | None:
        """Return the stored schema; it parses answers into dicts, not into the original type.

        Answers were validated against that type when they arrived. They are not validated again,
        because a type may accept more than its schema.
        """
        try:
            options = json.loads(self._record.definition.get("options", "{}"))
        except ValueError:
            return None
        schema = options.get("schema") if isinstance(options, dict) else None
        return ResponseSchema(schema, validates=False) if isinstance(schema, dict) else None


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """Remove an incomplete file after an error, so that it does not block another attempt."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def map_status(record: JobRecord) -> MapStatus:
    """Return the status of a job in the store."""
    figures: JobFigures = record.figures
    state: str = figures.state
    if state == "running" and not record.is_running:
        state = "killed"
    elif record.is_running:
        state = "running"
    return MapStatus(
        name=record.name,
        model=record.definition.get("model", ""),
        state=state,
        rows=figures.total,
        done=figures.done,
        failed=figures.failed,
        cost=figures.cost,
        unpriced=figures.unpriced,
        seconds=figures.seconds,
        last_used=record.last_used,
        problem=figures.problem,
    )


def map_statuses(store: ResultsStore | None) -> list[MapStatus]:
    """Return the status of each map in a store; the most recently used map is first."""
    return [map_status(record) for record in (store.jobs() if store else [])]


def find_job(store: ResultsStore | None, name: str) -> tuple[ResultsStore, JobRecord]:
    """Find a job by its name, or by the beginning of its name.

    Returns:
        The store, and the most recently used job with exactly this name or, if there is none, the
        only job whose name begins with it.

    Raises:
        UsageError: If there is no such job, or several names begin with ``name``.
    """
    if not isinstance(name, str):
        raise UsageError(f"name must be a str, got {short_repr(name)}.", hint=Hint("list_jobs"))
    if store is None:
        raise UsageError(
            f"there is no job {name!r}: stored answers are not read while a cassette is being"
            " replayed."
        )
    records = store.jobs()
    matching_records = [record for record in records if record.name == name][:1]
    matching_records = matching_records or [
        record for record in records if name and record.name.startswith(name)
    ]
    if len(matching_records) > 1:
        names = [repr(record.name) for record in matching_records[:_MAX_NAMES_IN_ERROR]]
        names += ["…"] if len(matching_records) > _MAX_NAMES_IN_ERROR else []
        raise UsageError(
            f"{len(matching_records)} jobs begin with {name!r}: {', '.join(names)}.",
            hint="Use the whole name.",
        )
    if not matching_records:
        advice = did_you_mean(name, [record.name for record in records])
        raise UsageError(f"there is no job {name!r}.{advice}", hint=Hint("list_jobs"))
    return store, matching_records[0]
