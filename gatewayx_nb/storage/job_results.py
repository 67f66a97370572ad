"""The results of one job: an index of its finished rows, and their contents."""

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
    """The rows of one job, for the process that runs it or reads it; `ResultsStore` creates it.

    Threads may share it. The callbacks are called on the writer's thread, and must not block.

    Attributes:
        digest: What identifies the job.
        name: Its name.
        definition: What the digest was computed from.
        on_durable: Called with the rows of each commit, in the order in which they were put.
        on_failure: Called with the error of each failed commit; the rows are kept and tried again.
        on_refused: Called with a row that can never be stored, such as one of more than 64 MB, and
            with the error.
        current_figures: Returns the figures to store with each commit of rows; ``None`` if there
            are none. It is called on the writer's thread.
    """

    def __init__(
        self, store: ResultsStore, digest: bytes, name: str, definition: Mapping[str, str]
    ) -> None:
        self.digest, self.name, self.definition = digest, name, dict(definition)
        self.on_durable: Callable[[list[StoredRow]], object] = _ignore
        self.on_failure: Callable[[BaseException], object] = _ignore
        self.on_refused: Callable[[StoredRow, BaseException], object] = _ignore
        self.current_figures: Callable[[], JobFigures] | None = None
        self._store = store
        self._figures: JobFigures | None = None
        self.reset()

    def reset(self) -> None:
        """Start without an index; the old one is not closed."""
        self._job_lock = JobLock(self._store.path, self.digest)
        self._lock = threading.RLock()  # the writer's thread adds rows while others read
        self._index: RowIndex | None = None
        self._oldest: float | None = None

    @property
    def connection(self) -> sqlite3.Connection | None:
        """The connection of the index."""
        return self._index.connection if self._index is not None else None

    def try_drive(self) -> bool:
        """Become the process that runs the job; return whether this object runs it.

        The job is released by `close`, and by the death of the process.

        Raises:
            ConfigError: If the lock or the file cannot be written.
        """
        with errors_as_config_error(self._store.path, "written"):
            if not self._job_lock.acquire():
                return False
            try:
                while not self._store.set_driver(self):  # it was forgotten, with its lock file
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
        """Whether this thread drives the job, perhaps with another object."""
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
        """Whether another process, or another thread, has asked this one to stop the job."""
        return self._job_lock.is_stop_requested

    def driver(self) -> str:
        """Return the process that runs or last ran the job, such as ``"process 123 on host"``."""
        record = next((each for each in self._store.jobs() if each.digest == self.digest), None)
        return record.driver if record else ""

    def load(
        self, max_age: float | None = None, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Read which rows are finished; return the number of their distinct keys.

        If a key has several rows, the last one that was stored counts. A second call adds the rows
        that this or another process has stored since.

        Args:
            max_age: Maximum age of a row in seconds, by the system's clock.
            on_progress: Called every 50,000 stored rows with the number of this job's rows so far.

        Raises:
            ConfigError: If the file cannot be read, or git tracks it.
        """
        self._store.refuse_tracked_file()
        if max_age is not None:
            self._oldest = time.time() - max_age
        seen = 0
        # The lock is free between two chunks, because the writer's thread needs it.
        while (added := self._load_chunk()) is not None:
            seen += added
            if on_progress is not None:
                on_progress(seen)
        with self._lock, errors_as_config_error(self._store.path):
            if self._index is None:
                return 0
            if self._oldest is not None and seen:
                self._index.remove_older(self._oldest)
            return self._index.count()

    def _load_chunk(self) -> int | None:
        with self._lock, errors_as_config_error(self._store.path):
            index = self._open_index()
            return index.load() if index is not None else None

    def _open_index(self) -> RowIndex | None:
        """Return the index, an empty one if the file was replaced; ``None`` without a file."""
        if self._index is None or not self._index.is_current:
            self._close_index()
            self._index = RowIndex.open(self._store.path, self.digest)
        return self._index

    def _close_index(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            index.connection.close()

    def get(self, key: int) -> StoredRow | None:
        """Return the last row of a key, if it is in the index; ``None`` otherwise.

        The index contains the rows that `load` has found, and those of this object that are
        durable.

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
        """Yield the last row of each key, in the order in which they were stored.

        `load` is called first. Rows that are stored meanwhile may be missing.

        Raises:
            ConfigError: If the file cannot be read.
        """
        self.load()
        last, rows = self._next_rows(0)
        while rows:
            yield from rows
            last, rows = self._next_rows(last)

    def _next_rows(self, after: int) -> tuple[int, list[StoredRow]]:
        with self._lock, errors_as_config_error(self._store.path):
            return self._index.next_rows(after) if self._index is not None else (after, [])

    def put(self, row: StoredRow) -> None:
        """Store a row; `on_durable` is called once it is durable. This does not block."""
        self._store.writer.add(self, row)

    def add_to_index(self, rows: Iterable[tuple[int, int]]) -> None:
        """Add rows of this process that are durable, as keys and numbers."""
        # The rows are durable even if the index cannot be changed; `load` then finds them.
        with self._lock, contextlib.suppress(sqlite3.Error, OSError, UnusableFileError):
            index = self._open_index()
            if index is not None:
                index.add(rows)

    @property
    def unsaved(self) -> int:
        """Number of rows that are not durable yet."""
        return self._store.writer.count_unsaved(self)

    def set_figures(self, figures: JobFigures) -> None:
        """Store the figures of the job with the next commit."""
        self._figures = figures
        self._store.writer.has_figures = True
        self._store.writer.wake()

    def take_figures(self, *, has_rows: bool) -> JobFigures | None:
        """Return the figures that are not stored yet; call it once for each commit.

        Args:
            has_rows: Whether rows of the job are committed, with which its figures change.
        """
        figures, self._figures = self._figures, None
        return self.current_figures() if has_rows and self.current_figures else figures

    def restore_figures(self, figures: JobFigures) -> None:
        """Keep figures whose commit failed, unless there are newer ones."""
        self._figures = self._figures or figures

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until the rows that were put are durable; return whether they are.

        Args:
            timeout: Maximum number of seconds to wait; by default, 10.
        """
        return self._store.writer.flush(_FLUSH_TIMEOUT if timeout is None else timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush, and let another process run the job; return whether all rows are durable."""
        is_durable = self.flush(timeout)
        if is_durable:
            self._store.remove(self)
        self._job_lock.release()
        with self._lock:
            self._close_index()
        return is_durable


def _ignore(*_: object) -> None:
    """Do nothing."""
