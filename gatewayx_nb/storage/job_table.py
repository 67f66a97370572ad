"""The table of jobs: their definitions, the processes that run them, and the order of use."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from gatewayx_nb.storage.job_lock import JobLock, this_process
from gatewayx_nb.storage.job_record import JobFigures, JobRecord, number, parse_object
from gatewayx_nb.storage.retention import LAST_ROW
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from gatewayx_nb.storage.job_results import JobResults

# The order in which jobs were used is counted, because the clock may be turned back.
_NEXT_TURN = "(SELECT coalesce(max(turn), 0) + 1 FROM jobs)"
_SELECT = (
    "SELECT id, digest, name, definition, created, last_used, figures, driver FROM jobs"
    " ORDER BY turn DESC, id DESC"
)
_INSERT = (
    "INSERT INTO jobs (digest, name, definition, created, last_used, turn, first_row, driver,"  # noqa: S608 - constants
    " figures) VALUES (?, ?, ?, ?, ?, " + _NEXT_TURN + ", " + LAST_ROW + ", '', '{}')"
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


def save_job(opened: sqlite3.Connection, job: JobResults) -> int:
    """Insert a job, or mark it as used now, in a transaction; return its number."""
    name, definition = well_formed(job.name), json.dumps(job.definition)
    now = time.time()
    found = opened.execute("SELECT id FROM jobs WHERE digest = ?", (job.digest,)).fetchone()
    if found is None:
        values = (job.digest, name, definition, now, now)
        return int(opened.execute(_INSERT, values).lastrowid or 0)
    opened.execute(_UPDATE, (name, definition, now, *found))
    return int(found[0])


def mark_driven(opened: sqlite3.Connection, job: int | None) -> bool:
    """Store that this process runs a job, in a transaction; return whether the job exists."""
    changed = opened.execute(_UPDATE_DRIVER, (this_process(), time.time(), job))
    return changed.rowcount == 1


def read_jobs(opened: sqlite3.Connection, path: Path) -> list[JobRecord]:
    """Return the jobs in a file, the last used one first; invalid values get their defaults."""
    # Another thread or process may just have created the file, without a table so far.
    (version,) = opened.execute("PRAGMA user_version").fetchone()
    rows = opened.execute(_SELECT).fetchall() if version else []
    return [
        JobRecord(
            id=job,
            digest=digest,
            name=_text(name),
            definition={key: _text(value) for key, value in parse_object(definition).items()},
            created=number(created),
            last_used=number(last_used),
            figures=JobFigures.from_json(figures),
            driver=_text(driver),
            is_running=not JobLock(path, digest).is_free(),
        )
        for job, digest, name, definition, created, last_used, figures, driver in rows
        if isinstance(digest, bytes)
    ]


def _text(value: object) -> str:
    return well_formed(value) if isinstance(value, str) else ""
