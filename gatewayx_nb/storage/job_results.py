"""Stores and reads the rows of one job."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from gatewayx_nb.storage.database import UnusableFileError
from gatewayx_nb.storage.job_lock import JobLock
from gatewayx_nb.storage.results_file import config_error, errors_as_config_error
from gatewayx_nb.storage.row_index import RowIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gatewayx_nb.storage.job_record import JobFigures, StoredRow
    from gatewayx_nb.storage.results_store import ResultsStore

_FLUSH_TIMEOUT = 10.0
"""Seconds to wait for the last rows to become durable."""


class JobResults:
    """The rows of one job, to be stored or read; `ResultsStore` creates it.

    Threads may share it. The callbacks are called on the writer's thread, and must not block.

    Attributes:
        digest: The digest that identifies the job.
        name: Name of the job.
        definition: The values from which the digest was computed, by name.
        on_durable: Called with the rows of each commit, in the order in which they were put.
        on_failure: Called with the error of each failed commit; the commit is retried.
        on_unstorable: Called with a row that can never be stored, for example because it is larger
            than 64 MB, and with the error.
        current_figures: Returns the job's progress and totals, which are stored with each commit of
            rows; ``None`` to store none. It is called on the writer's thread.
    """

    def __init__(
        self, store: ResultsStore, digest: bytes, name: str, definition: Mapping[str, str]
    ) -> None:
        self.digest, self.name, self.definition = digest, name, dict(definition)
        self.on_durable: Callable[[list[StoredRow]], object] = _do_nothing
        self.on_failure: Callable[[BaseException], object] = _do_nothing
        self.on_unstorable: Callable[[StoredRow, BaseException], object] = _do_nothing
        self.current_figures: Callable[[], JobFigures] | None = None
        self._store = store
        self._unsaved_figures: JobFigures | None = None
        self.reset()

    def reset(self) -> None:
        """Discard the index without closing it."""
        self._job_lock = JobLock(self._store.path, self.digest)
        self._lock = threading.RLock()  # the writer's thread adds rows while others read
        self._index: RowIndex | None = None
        self._oldest_time: float | None = None

    @property
    def connection(self) -> sqlite3.Connection | None:
        """The connection that the index uses."""
        return self._index.connection if self._index is not None else None

    def try_drive(self) -> bool:
        """Become the process that runs the job; return whether this object runs it.

        The job is released by `close`, or when the process dies.

        Raises:
            ConfigError: If the lock or the file cannot be written.
        """
        with errors_as_config_error(self._store.path, "written"):
            if not self._job_lock.acquire():
                return False
            try:
                while not self._store.mark_running(self):  # the job and its lock file were removed
                    self._job_lock.release()
                    self._store.create_job(self)
                    if not self._job_lock.acquire():
                        return False
            except BaseException:
                self._job_lock.release()
                raise
            return True

    @property
    def is_driven_by_this_thread(self) -> bool:
        """Whether this thread runs the job, with this or another object."""
        return self._job_lock.is_held_by_this_thread

    def request_stop(self) -> None:
        """Ask the process that runs the job to stop.

        Raises:
            ConfigError: If the request cannot be written.
        """
        with errors_as_config_error(self._store.path, "written"):
            self._job_lock.request_stop()

    @property
    def is_stop_requested(self) -> bool:
        """Whether another process or thread has requested that the job be stopped."""
        return self._job_lock.is_stop_requested

    def driver(self) -> str:
        """Return the process that last ran the job, such as ``"process 123 on host"``."""
        records = (record for record in self._store.jobs() if record.digest == self.digest)
        record = next(records, None)
        return record.driver if record else ""

    def load(
        self, max_age: float | None = None, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Find the finished rows; return the number of their distinct keys.

        If a key has several rows, the row that was stored last is used. A second call adds the rows
        that any process has stored since the first call.

        Args:
            max_age: Maximum age of a row in seconds, measured by the system clock.
            on_progress: Called after every 50,000 rows in the file, with the number of this job's
                rows so far.

        Raises:
            ConfigError: If the file cannot be read, or git tracks it.
        """
        self._store.check_not_tracked()
        if max_age is not None:
            self._oldest_time = time.time() - max_age
        loaded_count = 0
        # The lock is released between two chunks, because the writer's thread needs it.
        while (added_count := self._load_chunk()) is not None:
            loaded_count += added_count
            if on_progress is not None:
                on_progress(loaded_count)
        with self._lock, errors_as_config_error(self._store.path):
            if self._index is None:
                return 0
            if self._oldest_time is not None and loaded_count:
                self._index.remove_older(self._oldest_time)
            return self._index.count()

    def _load_chunk(self) -> int | None:
        with self._lock, errors_as_config_error(self._store.path):
            index = self._open_index()
            return index.load() if index is not None else None

    def _open_index(self) -> RowIndex | None:
        """Return the index, which is empty if the file was replaced; ``None`` without a file."""
        if self._index is None or not self._index.is_current:
            self._close_index()
            self._index = RowIndex.open(self._store.path, self.digest)
        return self._index

    def _close_index(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            index.connection.close()

    def get(self, key: int) -> StoredRow | None:
        """Return the last row of a key; ``None`` if the key is not in the index.

        The index contains the rows that `load` has found, and the durable rows of this object.

        Raises:
            ConfigError: If the file cannot be read.
        """
        with self._lock:
            try:
                return self._index.get(key) if self._index is not None else None
            except (sqlite3.Error, OSError) as error:
                raise config_error(self._store.path, error, "read") from None

    def get_many(self, keys: Iterable[int]) -> dict[int, StoredRow]:
        """Return the last row of each key that is in the index; see `get`."""
        with self._lock, errors_as_config_error(self._store.path):
            return self._index.get_many(keys) if self._index is not None else {}

    def rows(self) -> Iterator[StoredRow]:
        """Yield the last row of each key, in the order in which the rows were stored.

        This calls `load` first. Rows that are stored in the meantime may be missing.

        Raises:
            ConfigError: If the file cannot be read.
        """
        self.load()
        last_number, rows = self._next_rows(0)
        while rows:
            yield from rows
            last_number, rows = self._next_rows(last_number)

    def _next_rows(self, after: int) -> tuple[int, list[StoredRow]]:
        with self._lock, errors_as_config_error(self._store.path):
            return self._index.next_rows(after) if self._index is not None else (after, [])

    def put(self, row: StoredRow) -> None:
        """Store a row; `on_durable` is called once it is durable. This does not block."""
        self._store.writer.add(self, row)

    def add_to_index(self, rows: Iterable[tuple[int, int]]) -> None:
        """Add this process's durable rows, as pairs of key and row number."""
        # Even if the index cannot be changed, the rows are durable, so that `load` finds them.
        with self._lock, contextlib.suppress(sqlite3.Error, OSError, UnusableFileError):
            index = self._open_index()
            if index is not None:
                index.add(rows)

    @property
    def unsaved(self) -> int:
        """Number of rows that are not durable yet."""
        return self._store.writer.count_unsaved(self)

    def set_figures(self, figures: JobFigures) -> None:
        """Store the job's progress and totals with the next commit."""
        self._unsaved_figures = figures
        self._store.writer.has_figures = True
        self._store.writer.wake()

    def take_figures(self, *, has_rows: bool) -> JobFigures | None:
        """Return the progress and totals that are not stored yet; call this once for each commit.

        Args:
            has_rows: Whether the commit contains rows of the job, which change its progress.
        """
        figures, self._unsaved_figures = self._unsaved_figures, None
        return self.current_figures() if has_rows and self.current_figures else figures

    def restore_figures(self, figures: JobFigures) -> None:
        """Keep the progress and totals of a failed commit, unless newer values have been set."""
        self._unsaved_figures = self._unsaved_figures or figures

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the rows passed to `put` are durable; return whether they are.

        Args:
            timeout: Maximum number of seconds to wait; by default, 10.
        """
        return self._store.writer.flush(_FLUSH_TIMEOUT if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush, and release the job for other processes; return whether all rows are durable."""
        is_durable = self.flush(timeout)
        if is_durable:
            self._store.release(self)
        self._job_lock.release()
        with self._lock:
            self._close_index()
        return is_durable


def _do_nothing(*_: object) -> None:
    """Do nothing."""
