"""Deletes jobs and their rows, and returns the space to the file system."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from gatewayx_nb.storage.job_lock import JobLock
from gatewayx_nb.storage.job_record import parse_time
from gatewayx_nb.storage.results_file import write_transaction

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECONDS_PER_DAY = 86_400.0
"""Seconds in a day."""

LAST_ROW_SQL = "(SELECT coalesce(max(id), 0) FROM rows)"
"""SQL expression for the number of the last row."""

_DELETE_PARTS = "DELETE FROM parts WHERE job NOT IN (SELECT id FROM jobs)"
_COUNT_OPEN_PARTS = "SELECT count(*) FROM parts WHERE job = ? AND state != 'collected' AND at > ?"

_PROVIDER_RETENTION = 30 * SECONDS_PER_DAY
"""Maximum number of seconds for which a provider keeps the results of a batch."""

_CHUNK_ROWS = 20_000
"""Maximum number of rows that a transaction deletes; other processes can write in between."""

_CHUNK_PAUSE = 0.01
"""Seconds between these transactions, because SQLite has no queue of waiting processes."""

_VACUUM_TIMEOUT = 5.0
"""Maximum number of seconds to spend on returning pages to the file system."""

_VACUUM_PAGES = 2_000
"""Number of pages that a transaction returns to the file system."""

_SELECT_ORPHANS = (
    "SELECT id FROM rows WHERE id > ? AND id <= ? AND job NOT IN (SELECT id FROM jobs)"
)
_DELETE_ANSWERS = "DELETE FROM answers WHERE id IN (" + _SELECT_ORPHANS + ")"  # noqa: S608 - constants
_DELETE_ROWS = "DELETE FROM rows WHERE id IN (" + _SELECT_ORPHANS + ") AND id < " + LAST_ROW_SQL  # noqa: S608 - constants


def forget_unused(path: Path, connection: sqlite3.Connection, days: float) -> int:
    """Delete jobs that were last used more than ``days`` days ago; return their number.

    If no job has been used since then, the clock may be wrong, so no job is deleted. After one job
    has been used, the next call deletes the other jobs.
    """
    oldest = time.time() - days * SECONDS_PER_DAY
    rows = connection.execute("SELECT id, digest, last_used FROM jobs").fetchall()
    last_used_by_job = {job_id: parse_time(last_used) for job_id, _, last_used in rows}
    if not last_used_by_job or max(last_used_by_job.values()) < oldest:
        return 0
    return forget_jobs(
        path,
        connection,
        {job_id: digest for job_id, digest, _ in rows if last_used_by_job[job_id] < oldest},
    )


def forget_jobs(path: Path, connection: sqlite3.Connection, digests: Mapping[int, bytes]) -> int:
    """Delete jobs and their rows; return the number of deleted jobs.

    Running jobs are kept, and so are jobs whose answers a provider still has. ``digests`` contains
    the digest of each job by number.
    """
    forgotten_count = 0
    for job_id, digest in digests.items():
        since = time.time() - _PROVIDER_RETENTION
        if connection.execute(_COUNT_OPEN_PARTS, (job_id, since)).fetchone() != (0,):
            continue
        lock = JobLock(path, digest)
        if lock.acquire():
            try:
                with write_transaction(connection):
                    deletion = connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
                    connection.execute(_DELETE_PARTS)
                forgotten_count += deletion.rowcount
            finally:
                lock.release(is_forgotten=True)
    if forgotten_count:
        _delete_orphans(connection)
    return forgotten_count


def _delete_orphans(connection: sqlite3.Connection) -> None:
    """Delete the rows whose jobs do not exist, and return their space to the file system.

    The last row is kept, without its answer, because its number must not be used again: other
    processes have already read the rows up to this number.
    """
    (end,) = connection.execute(f"SELECT {LAST_ROW_SQL}").fetchone()
    for start in range(0, end, _CHUNK_ROWS):
        chunk = (start, start + _CHUNK_ROWS)
        with write_transaction(connection):
            connection.execute(_DELETE_ANSWERS, chunk)
            connection.execute(_DELETE_ROWS, chunk)
        time.sleep(_CHUNK_PAUSE)
    _vacuum(connection)


def _vacuum(connection: sqlite3.Connection) -> None:
    """Return free space to the file system; later rows use the remaining free space.

    A file that is mostly empty is copied, which is faster and needs little space.
    """
    deadline = time.monotonic() + _VACUUM_TIMEOUT
    free_pages, pages = (
        _count_free(connection),
        connection.execute("PRAGMA page_count").fetchone()[0],
    )
    with contextlib.suppress(sqlite3.OperationalError):  # the file is busy, or the disk is full
        if 2 * free_pages > pages:
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 1)  # VACUUM attaches the copy
            connection.execute("VACUUM")
        while _count_free(connection) and time.monotonic() < deadline:
            # `execute` would stop after the first page, because the rows have no columns.
            connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _count_free(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
