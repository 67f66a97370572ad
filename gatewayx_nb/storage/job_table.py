"""Reads and writes the table of jobs: their definitions, running processes and order of use."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from gatewayx_nb.storage.job_lock import JobLock, this_process
from gatewayx_nb.storage.job_record import JobFigures, JobRecord, parse_object, parse_time
from gatewayx_nb.storage.retention import LAST_ROW_SQL
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from gatewayx_nb.storage.job_results import JobResults

# A counter records the order in which jobs are used, because the clock may be set back.
_NEXT_TURN = "(SELECT coalesce(max(turn), 0) + 1 FROM jobs)"
_SELECT = (
    "SELECT id, digest, name, definition, created, last_used, figures, driver FROM jobs"
    " ORDER BY turn DESC, id DESC"
)
_INSERT = (
    "INSERT INTO jobs (digest, name, definition, created, last_used, turn, first_row, driver,"  # noqa: S608 - constants
    " figures) VALUES (?, ?, ?, ?, ?, " + _NEXT_TURN + ", " + LAST_ROW_SQL + ", '', '{}')"
)
_UPDATE = (
    "UPDATE jobs SET name = ?, definition = ?, last_used = ?, turn = "  # noqa: S608 - constants
    + _NEXT_TURN
    + " WHERE id = ?"
)
_UPDATE_DRIVER = (
    "UPDATE jobs SET driver = ?, last_used = ?, turn = "  # noqa: S608 - constants
    + _NEXT_TURN
    + " WHERE id = ?"
)


def save_job(connection: sqlite3.Connection, job: JobResults) -> int:
    """Insert a job or mark it as used now; return its number. Call this in a transaction."""
    name, definition = well_formed(job.name), json.dumps(job.definition)
    now = time.time()
    job_row = connection.execute("SELECT id FROM jobs WHERE digest = ?", (job.digest,)).fetchone()
    if job_row is None:
        values = (job.digest, name, definition, now, now)
        return int(connection.execute(_INSERT, values).lastrowid or 0)
    connection.execute(_UPDATE, (name, definition, now, *job_row))
    return int(job_row[0])


def mark_running(connection: sqlite3.Connection, job_id: int | None) -> bool:
    """Record that this process is running a job; return whether the job exists.

    Call this in a transaction.
    """
    update = connection.execute(_UPDATE_DRIVER, (this_process(), time.time(), job_id))
    return update.rowcount == 1


def read_jobs(connection: sqlite3.Connection, path: Path) -> list[JobRecord]:
    """Return the jobs in a file, most recently used first; defaults replace invalid values."""
    # Another thread or process may have created the file a moment ago, still without a table.
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    rows = connection.execute(_SELECT).fetchall() if version else []
    return [
        JobRecord(
            id=job_id,
            digest=digest,
            name=_text(name),
            definition={key: _text(value) for key, value in parse_object(definition).items()},
            created=parse_time(created),
            last_used=parse_time(last_used),
            figures=JobFigures.from_json(figures),
            driver=_text(driver),
            is_running=not JobLock(path, digest).is_free(),
        )
        for job_id, digest, name, definition, created, last_used, figures, driver in rows
        if isinstance(digest, bytes)
    ]


def _text(value: object) -> str:
    return well_formed(value) if isinstance(value, str) else ""
