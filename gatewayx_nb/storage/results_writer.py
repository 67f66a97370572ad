"""Commits rows in a background thread, each batch as soon as the previous commit has ended."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections import Counter, deque
from typing import TYPE_CHECKING

from gatewayx_nb.storage.database import UnusableFileError
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatewayx_nb.storage.job_record import StoredRow
    from gatewayx_nb.storage.job_results import JobResults

    Batch = list[tuple[JobResults, StoredRow]]

log = logging.getLogger("gatewayx_nb")

_RETRY_DELAY = 1.0
"""Seconds between two attempts to commit the rows of a failed commit."""

_MAX_BATCH_ROWS = 5_000
"""Maximum number of rows in a commit, so that the first row does not wait for long."""

_MAX_BATCH_BYTES = 64_000_000

_FILE_ERRORS = (OSError, sqlite3.OperationalError, UnusableFileError)
"""Errors caused by the file, such as a full disk or a lock; other errors are caused by a row."""


class ResultsWriter:
    """Commits rows in the order in which they were added, and keeps them until they are durable.

    A row is dropped only if it can never be stored, not because the disk stays full.

    Args:
        path: The file, for messages.
        commit: Commits all rows, and the changed progress and totals of jobs, or nothing.

    Attributes:
        has_figures: Whether the progress or totals of a job have changed; set it before `wake`.
        problem: Why the last commit failed; empty if it succeeded.
    """

    def __init__(self, path: Path, commit: Callable[[Batch], None]) -> None:
        self._path, self._commit = path, commit
        self._queue: deque[tuple[JobResults, StoredRow] | threading.Event] = deque()
        self._has_items = threading.Event()
        self._retry_now = threading.Event()  # ends the wait before the next attempt
        self._unsaved_rows: Batch = []
        self._waiting_flushes: list[threading.Event] = []
        self._lock = threading.Lock()  # many threads add rows; only one creates the thread
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._counts: Counter[JobResults] = Counter()
        self.has_figures = False
        self.problem = ""

    def add(self, job: JobResults, row: StoredRow) -> None:
        """Add a row to be committed."""
        with self._lock:
            self._counts[job] += 1
        self._queue.append((job, row))
        self.wake()

    def wake(self) -> None:
        """Commit the waiting rows and changed figures soon."""
        if not self._has_items.is_set():
            self._has_items.set()
        if self._thread is None:
            self._start()

    def flush(self, timeout: float) -> bool:
        """Wait until all rows added so far are durable; return whether they are.

        Args:
            timeout: Maximum number of seconds to wait.
        """
        if self._thread is None and not self._queue:
            return True
        is_written = threading.Event()
        self._queue.append(is_written)
        self._retry_now.set()
        self.wake()
        return is_written.wait(timeout)

    def count_unsaved(self, job: JobResults) -> int:
        """Return the number of rows of a job that are not durable yet."""
        with self._lock:
            return self._counts.get(job, 0)

    def close(self, timeout: float) -> bool:
        """Flush, and end the thread if all rows are durable; return whether they are."""
        if not self.flush(timeout):
            return False  # the thread retries until the process ends
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._stop.set()
        self._has_items.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        return True

    def _start(self) -> None:
        with self._lock, contextlib.suppress(RuntimeError):  # raised at interpreter exit
            if self._thread is None:
                self._stop = threading.Event()
                name = f"the results {str(self._path)!r}"
                thread = threading.Thread(
                    target=self._run, args=(self._stop,), name=name, daemon=True
                )
                thread.start()
                self._thread = thread

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._unsaved_rows or self._waiting_flushes:
                self._retry_now.wait(_RETRY_DELAY)
            else:
                self._has_items.wait()
            self._has_items.clear()
            self._retry_now.clear()
            while self._gather():
                if not self._write():
                    break

    def _gather(self) -> bool:
        """Take rows from the queue; return whether there is something to commit."""
        size = sum(_content_size(row) for _, row in self._unsaved_rows)
        while len(self._unsaved_rows) < _MAX_BATCH_ROWS and size < _MAX_BATCH_BYTES:
            try:
                item = self._queue.popleft()
            except IndexError:
                break
            if isinstance(item, threading.Event):
                self._waiting_flushes.append(item)
                break  # a flush does not wait for later rows
            self._unsaved_rows.append(item)
            size += _content_size(item[1])
        return bool(self._unsaved_rows or self._waiting_flushes or self.has_figures)

    def _write(self) -> bool:
        """Commit the gathered rows; return whether they are durable."""
        has_figures, self.has_figures = self.has_figures, False
        try:
            self._commit_valid(self._unsaved_rows[:])
        except BaseException as error:  # noqa: BLE001 - no error ends the thread
            self.has_figures |= has_figures
            self._report_failure(error)
            return False
        self.problem = ""
        for event in self._waiting_flushes:
            event.set()
        self._waiting_flushes = []
        return True

    def _commit_valid(self, batch: Batch) -> None:
        """Commit the valid rows among the gathered rows; drop those that can never be stored."""
        try:
            self._commit(batch)
        except _FILE_ERRORS:
            raise
        except Exception as error:
            if not batch or type(error) is sqlite3.DatabaseError:
                raise
            if len(batch) > 1:
                half = len(batch) // 2
                self._commit_valid(batch[:half])
                self._commit_valid(batch[half:])
                return
            self._remove(batch)
            self._call_logging_errors(batch[0][0].on_unstorable, batch[0][1], error)
        else:
            self._remove(batch)
            self._report_durable(batch)

    def _remove(self, batch: Batch) -> None:
        del self._unsaved_rows[: len(batch)]
        with self._lock:
            self._counts -= Counter(job for job, _ in batch)  # a count of 0 is removed

    def _report_durable(self, batch: Batch) -> None:
        rows_by_job: dict[JobResults, list[StoredRow]] = {}
        for job, row in batch:
            rows_by_job.setdefault(job, []).append(row)
        for job, rows in rows_by_job.items():
            self._call_logging_errors(job.on_durable, rows)

    def _report_failure(self, error: BaseException) -> None:
        problem = plain(f"the results file {str(self._path)!r} cannot be written: {error}.")
        if problem != self.problem:
            self.problem = problem
            log.warning("%s", problem)
        for job in {job for job, _ in self._unsaved_rows}:
            self._call_logging_errors(job.on_failure, error)

    @staticmethod
    def _call_logging_errors(callback: Callable[..., object], *arguments: object) -> None:
        try:
            callback(*arguments)
        except Exception:
            log.exception("a callback of a job failed")


def _content_size(row: StoredRow) -> int:
    # An object of another type is refused later, and must not end the thread.
    return len(row.content) if isinstance(row.content, bytes) else 0
