"""Indexes a job's finished rows in memory, and reads their contents."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING

from gatewayx_nb.storage.database import closed_on_error
from gatewayx_nb.storage.job_record import StoredRow, parse_time
from gatewayx_nb.storage.results_file import file_identity, open_to_read
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

_CHUNK_ROWS = 50_000
"""Number of rows to read at a time, so that progress is shown and other threads can write."""

# A table in memory takes 20 to 30 bytes per row; a Python dict takes about 150.
_CREATE_TABLE = "CREATE TEMP TABLE last_rows (key INTEGER PRIMARY KEY, id INTEGER)"
# The rows of a chunk are sorted by key, because inserting keys in order is faster.
_LOAD_CHUNK = (
    "INSERT OR REPLACE INTO temp.last_rows (key, id) SELECT key, id FROM main.rows"
    " WHERE id > ? AND id <= ? AND job = ? AND typeof(key) = 'integer' ORDER BY key, id"
)
_ADD_ROW = "INSERT OR REPLACE INTO temp.last_rows (key, id) VALUES (?, ?)"
_REMOVE_OLD_ROWS = (
    "DELETE FROM temp.last_rows WHERE (SELECT at FROM main.rows WHERE rows.id = last_rows.id) < ?"
)
_FIND_ROW = "SELECT id FROM temp.last_rows WHERE key = ?"
# One statement for many keys, because each statement releases the GIL, which is slow to reacquire.
_FIND_KEYS = "SELECT key FROM temp.last_rows WHERE key IN (SELECT value FROM json_each(?))"
# A row that has been deleted in the meantime is not found.
_READ_ROW = (
    "SELECT rows.key, rows.at, answers.outcome, answers.retry, answers.content"
    " FROM main.rows CROSS JOIN main.answers ON answers.id = rows.id"
    " WHERE rows.id = ? AND rows.job = ? AND rows.key = ?"
)
_SELECT_ROWS = (
    "SELECT rows.id, rows.key, rows.at, answers.outcome, answers.retry, answers.content"
    " FROM main.rows"
    " CROSS JOIN temp.last_rows ON last_rows.key = rows.key AND last_rows.id = rows.id"
    " CROSS JOIN main.answers ON answers.id = rows.id"
    " WHERE rows.id > ? AND rows.job = ? ORDER BY rows.id"
)
_MAX_READ_ROWS = 1_000
_MAX_READ_BYTES = 4_000_000


class RowIndex:
    """The most recently stored row for each row key (see `StoredRow`) of a job.

    One thread at a time may use it.

    Args:
        path: The file, which must exist.
        digest: The digest of the job.

    Raises:
        OSError: If the file is a symlink.
        UnusableFileError: If another program, or a later version of this package, wrote the file.
        sqlite3.Error: If it cannot be read.
    """

    def __init__(self, path: Path, digest: bytes) -> None:
        self._identity, self._path, self._digest = file_identity(path), path, digest
        self._last_row = self._job_id = 0
        self.connection: sqlite3.Connection = open_to_read(path)
        with closed_on_error(self.connection):
            self.connection.execute("PRAGMA temp.journal_mode = OFF")
            self.connection.execute(_CREATE_TABLE)

    @property
    def is_current(self) -> bool:
        """Whether the file is still the one that was opened."""
        return file_identity(self._path) == self._identity

    def load(self) -> int | None:
        """Add the next chunk of stored rows; return the number added, or ``None`` at the end."""
        if not self._find_job():
            return None
        (end,) = self._query("SELECT coalesce(max(id), 0) FROM main.rows")
        if self._last_row >= end:
            return None
        last_chunk_row = min(self._last_row + _CHUNK_ROWS, end)
        added_count = self.connection.execute(
            _LOAD_CHUNK, (self._last_row, last_chunk_row, self._job_id)
        ).rowcount
        self._last_row = last_chunk_row
        return added_count

    def _find_job(self) -> bool:
        if not self._job_id:
            row = self._query("SELECT id, first_row FROM main.jobs WHERE digest = ?", self._digest)
            self._job_id, self._last_row = row or (0, 0)
        return bool(self._job_id)

    def _query(self, sql: str, *values: object) -> tuple[int, ...]:
        return self.connection.execute(sql, values).fetchone() or ()

    def remove_older(self, oldest: float) -> None:
        """Remove the keys whose last row was stored before ``oldest``."""
        self.connection.execute(_REMOVE_OLD_ROWS, (oldest,))

    def add(self, rows: Iterable[tuple[int, int]]) -> None:
        """Add the keys and numbers of rows that this process has stored."""
        if self._find_job():
            self.connection.executemany(_ADD_ROW, rows)

    def count(self) -> int:
        """Return the number of keys."""
        return self._query("SELECT count(*) FROM temp.last_rows")[0]

    def get(self, key: int) -> StoredRow | None:
        """Return the last row of a key; ``None`` if the key is not in the index."""
        row = self.connection.execute(_FIND_ROW, (key,)).fetchone()
        if row is None:
            return None
        values = self.connection.execute(_READ_ROW, (*row, self._job_id, key)).fetchone()
        return _stored_row(*values) if values else None

    def get_many(self, keys: Iterable[int]) -> dict[int, StoredRow]:
        """Return the last row of each key in ``keys`` that the index contains."""
        indexed_rows = self.connection.execute(_FIND_KEYS, (json.dumps(list(keys)),)).fetchall()
        if not indexed_rows:
            return {}
        self.connection.execute("BEGIN")  # one transaction for all keys is faster
        try:
            rows = ((key, self.get(key)) for (key,) in indexed_rows)
            return {key: row for key, row in rows if row is not None}
        finally:
            self.connection.execute("COMMIT")

    def next_rows(self, after: int) -> tuple[int, list[StoredRow]]:
        """Return the number of the last row read, and the rows after row number ``after``.

        At most a thousand rows are returned, and fewer if they are large.
        """
        rows: list[StoredRow] = []
        last_row, size = after, 0
        cursor = self.connection.execute(_SELECT_ROWS, (after, self._job_id))
        with contextlib.closing(cursor):
            for row_number, *values in cursor:
                last_row = row_number
                rows.append(_stored_row(*values))
                size += len(rows[-1].content)
                if len(rows) >= _MAX_READ_ROWS or size >= _MAX_READ_BYTES:
                    break
        return last_row, rows

    @classmethod
    def open(cls, path: Path, digest: bytes) -> RowIndex | None:
        """Return an empty index; ``None`` if the file does not exist."""
        return cls(path, digest) if os.path.exists(path) else None


def _stored_row(key: int, at: object, outcome: object, retry: object, content: object) -> StoredRow:
    return StoredRow(
        key,
        content if isinstance(content, bytes) else b"",
        well_formed(outcome) if isinstance(outcome, str) else "",
        retry == 1,
        parse_time(at),
    )
