"""Stores the results of jobs in a SQLite file: the answer to each row, and each job's progress."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import sqlite3
import threading
import time
import weakref
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import quoted_path
from gatewayx_nb.secure_config import may_be_tracked
from gatewayx_nb.storage.database import UnusableFileError, is_from_later_version, is_unusable
from gatewayx_nb.storage.job_parts import JobParts
from gatewayx_nb.storage.job_results import JobResults
from gatewayx_nb.storage.job_table import mark_running, read_jobs, save_job
from gatewayx_nb.storage.journal import MOUNTS, Journal, network_file_system
from gatewayx_nb.storage.results_file import (
    OpenFile,
    errors_as_config_error,
    file_identity,
    open_to_read,
    open_to_write,
    replace_damaged,
    write_transaction,
)
from gatewayx_nb.storage.results_writer import ResultsWriter
from gatewayx_nb.storage.retention import LAST_ROW_SQL, SECONDS_PER_DAY, forget_jobs, forget_unused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gatewayx_nb.storage.job_record import JobRecord, StoredRow

_EXIT_TIMEOUT = 5.0
"""Maximum seconds to wait at exit for the last rows, which a full disk may delay."""


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """Where and how results are stored.

    Attributes:
        path: The file, which need not exist.
        journal: How changes to the file are made durable, or will be when it is next opened.
        size: Size of the file and its journal in bytes.
        problem: Why results currently cannot be stored; empty if they can.
    """

    path: Path
    journal: Journal
    size: int
    problem: str


class ResultsStore:
    """The results of a project's jobs, or of a user's jobs outside any project.

    A row is durable once `JobResults.on_durable` has been called with it: it survives a killed
    process and a power cut. Threads may share a store, and processes may share a file. A damaged
    file is renamed, and a warning is issued. The file is opened on first use.

    Args:
        path: The file; the first job creates it and its folder.
        keep_days: The number of days after which an unused job and its rows are removed when the
            file is opened; ``None`` to keep them.
        mounts: The file that lists the mounted file systems.
    """

    def __init__(
        self, path: Path, *, keep_days: float | None = None, mounts: Path = MOUNTS
    ) -> None:
        self.path, self.keep_days, self._mounts = path, keep_days, mounts
        self._writable_jobs: set[JobResults] = set()  # the jobs in the file that may store rows
        self._all_jobs: weakref.WeakSet[JobResults] = weakref.WeakSet()
        self._reset()
        _stores.add(self)

    def _reset(self) -> None:
        self.writer = ResultsWriter(self.path, self._commit)
        self._lock = threading.RLock()  # only one thread at a time may write
        self._file: OpenFile | None = None
        self._is_untracked: bool | None = None
        self._job_ids: dict[bytes, int] = {}

    def open_job(
        self, digest: bytes, *, name: str = "", definition: Mapping[str, str] | None = None
    ) -> JobResults:
        """Return a job that this process will run, or will follow if another process is running it.

        The file, its folder and the job are created if they do not exist.

        Args:
            digest: The digest that identifies the job.
            name: The name, which a later run may change.
            definition: The values from which the digest was computed, stored for display.

        Raises:
            ConfigError: If the file cannot be written, or a later version wrote it.
        """
        job = self._new_job(digest, name, definition or {})
        with errors_as_config_error(self.path, "written"):
            self.create_job(job)
        return job

    def read_job(self, record: JobRecord) -> JobResults:
        """Return a job for reading its rows; nothing is written to the file."""
        return self._new_job(record.digest, record.name, record.definition)

    def parts(self, digest: bytes) -> JobParts:
        """Return the parts of a job that were submitted as batches, without opening the file.

        Raises:
            ConfigError: If git may track the file, because others could have written the parts.
        """
        self.check_not_tracked()
        return JobParts(self.path, digest, self._mounts)

    def _new_job(self, digest: bytes, name: str, definition: Mapping[str, str]) -> JobResults:
        job = JobResults(self, digest, name, definition)
        with self._lock:
            self._all_jobs.add(job)
        return job

    def create_job(self, job: JobResults) -> None:
        """Add a job to the file, or mark it as used now."""
        with self._lock:
            connection = self._open().connection
            with write_transaction(connection):
                self._job_ids[job.digest] = save_job(connection, job)
            self._writable_jobs.add(job)

    def mark_running(self, job: JobResults) -> bool:
        """Record that this process is running a job; return whether the job exists."""
        with self._lock:
            connection = self._open().connection
            with write_transaction(connection):
                return mark_running(connection, self._job_ids.get(job.digest))

    def release(self, job: JobResults) -> None:
        """Remove a closed job from the jobs that may store rows; it stays in the file."""
        with self._lock:
            self._writable_jobs.discard(job)

    def _open(self) -> OpenFile:
        """Return the open file, opening it again if it was replaced or removed."""
        if self._file is not None:
            if file_identity(self.path) == self._file.identity:
                return self._file
            self._close_file()
        self._file = file = open_to_write(self.path, self._mounts)
        if self.keep_days is not None:
            forget_unused(self.path, file.connection, self.keep_days)
        return file

    def check_not_tracked(self) -> None:
        """Check that git does not track the file, because others could have written its answers.

        Raises:
            ConfigError: If git tracks the file, or a repository exists and git does not answer.
        """
        if self._is_untracked is None:  # call git only once
            self._is_untracked = not (self.path.exists() and may_be_tracked(self.path))
        if not self._is_untracked:
            raise ConfigError(
                f"the results file {str(self.path)!r} may be part of a repository, so somebody"
                " else may have written the answers in it.",
                hint="Move the file away:"
                f" `mv {quoted_path(self.path)} {quoted_path(self.path)}.off`.",
                topic="tracked-results",
            )

    def _close_file(self) -> None:
        file, self._file = self._file, None
        self._job_ids = {}
        if file is not None:
            file.connection.close()

    def _commit(self, batch: list[tuple[JobResults, StoredRow]]) -> None:
        with self._lock:
            try:
                self._insert(batch)
            except (sqlite3.DatabaseError, UnusableFileError) as error:
                identity = self._file.identity if self._file is not None else None
                # After an I/O error, SQLite may not know what is in the file.
                with contextlib.suppress(sqlite3.Error):
                    self._close_file()
                if not is_unusable(error) or is_from_later_version(error):
                    raise
                replace_damaged(self.path, error, identity)
                self._insert(batch)

    def _insert(self, batch: list[tuple[JobResults, StoredRow]]) -> None:
        jobs_with_rows = {job for job, _ in batch}
        figures_by_job = {
            job: figures
            for job in tuple(self._writable_jobs)
            if (figures := job.take_figures(has_rows=job in jobs_with_rows))
        }
        if not batch and not figures_by_job:
            return
        try:
            connection = self._open().connection
            with write_transaction(connection):
                (last_number,) = connection.execute(f"SELECT {LAST_ROW_SQL}").fetchone()
                # If the file is new, it does not contain the jobs yet.
                unsaved_jobs = [
                    job
                    for job in jobs_with_rows | set(figures_by_job)
                    if job.digest not in self._job_ids
                ]
                job_ids = self._job_ids | {
                    job.digest: save_job(connection, job) for job in unsaved_jobs
                }
                numbered_rows = list(zip(count(last_number + 1), batch, strict=False))
                connection.executemany(
                    "INSERT INTO rows VALUES (?, ?, ?, ?)",
                    [
                        (number, job_ids[job.digest], row.key, row.at)
                        for number, (job, row) in numbered_rows
                    ],
                )
                connection.executemany(
                    "INSERT INTO answers VALUES (?, ?, ?, ?)",
                    [
                        (number, row.outcome, row.retry, bytes(row.content))
                        for number, (_, row) in numbered_rows
                    ],
                )
                connection.executemany(
                    "UPDATE jobs SET figures = ?, last_used = ? WHERE id = ?",
                    [
                        (figures.to_json(), time.time(), job_ids[job.digest])
                        for job, figures in figures_by_job.items()
                    ],
                )
        except BaseException:
            for job, figures in figures_by_job.items():
                job.restore_figures(figures)
            raise
        self._job_ids = job_ids
        for job in jobs_with_rows:
            job.add_to_index(
                (row.key, number) for number, (owner, row) in numbered_rows if owner is job
            )

    def jobs(self) -> list[JobRecord]:
        """Return the jobs in the file, most recently used first; empty if there is no file.

        Raises:
            ConfigError: If the file exists and cannot be read.
        """
        if not os.path.exists(self.path):
            return []
        with (
            errors_as_config_error(self.path),
            contextlib.closing(open_to_read(self.path)) as connection,
        ):
            return read_jobs(connection, self.path)

    def find(self, name: str) -> JobRecord | None:
        """Return the most recently used job with the given name.

        If there is none, return a job whose hexadecimal digest begins with the given name.
        """
        jobs = self.jobs() if name else []
        named_jobs = (job for job in jobs if job.name == name)
        jobs_by_digest = (job for job in jobs if job.digest.hex().startswith(name.lower()))
        return next(named_jobs, None) or next(jobs_by_digest, None)

    def forget(self, ids: Iterable[int]) -> int:
        """Delete jobs and their rows; return the number of deleted jobs.

        Running jobs are kept, and so are jobs whose answers a provider still has.

        Raises:
            ConfigError: If the file cannot be written.
        """
        wanted_ids = set(ids)
        digests = {job.id: job.digest for job in self.jobs() if job.id in wanted_ids}
        if not digests:
            return 0
        # With a separate connection, this process can store rows at the same time.
        with (
            errors_as_config_error(self.path, "written"),
            contextlib.closing(open_to_write(self.path, self._mounts).connection) as connection,
        ):
            return forget_jobs(self.path, connection, digests)

    def older_than(self, days: float) -> list[JobRecord]:
        """Return the jobs that were last used more than ``days`` days ago."""
        return [job for job in self.jobs() if job.last_used < time.time() - days * SECONDS_PER_DAY]

    def describe(self) -> StoreDescription:
        """Return where results are stored, without opening the file."""
        file = self._file
        if file is None:
            network_type = network_file_system(self.path, self._mounts)
            reason = f"{network_type} is a network file system" if network_type else ""
            journal = Journal("truncate" if network_type else "wal", reason)
        else:
            journal = file.journal
        sizes = (
            _file_size(self.path.with_name(self.path.name + suffix))
            for suffix in ("", "-wal", "-journal")
        )
        return StoreDescription(self.path, journal, sum(sizes), self.writer.problem)

    def close(self, timeout: float = 10.0) -> bool:
        """Flush, then close all jobs and the file; return whether all rows are durable."""
        is_durable = self.writer.close(timeout)
        with self._lock:  # other threads may add jobs
            jobs = tuple(self._all_jobs)
        for job in jobs:
            job.close(0)
        with self._lock:
            self._close_file()
        return is_durable

    def reset_after_fork(self) -> None:
        """Start with a closed file in a forked child; the queued rows belong to the parent."""
        if self._file is not None:
            _inherited_connections.append(self._file.connection)
        for job in tuple(self._all_jobs):
            _inherited_connections.extend(filter(None, [job.connection]))
            job.reset()
        self._writable_jobs = set()
        self._reset()


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


_stores: weakref.WeakSet[ResultsStore] = weakref.WeakSet()
_inherited_connections: list[sqlite3.Connection] = []


def _reset_all() -> None:
    for store in tuple(_stores):
        store.reset_after_fork()
    # A child must never close its parent's connection, not even when it exits, because this might
    # roll back the parent's transaction:
    # https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
    for connection in _inherited_connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


@atexit.register
def close_all() -> None:
    """Store all remaining rows and close all stores, before the interpreter exits."""
    for store in tuple(_stores):
        store.close(_EXIT_TIMEOUT)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
