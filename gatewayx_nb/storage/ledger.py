"""The ledger, a SQLite file: usage and cost of calls, never prompts or replies."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.storage import database
from gatewayx_nb.storage.writer import BatchWriter

if TYPE_CHECKING:
    from pathlib import Path

_WRITE_TIMEOUT = 30.0
"""Seconds to wait for other kernels that are writing to the same file."""

_SHORT_TIMEOUT = 2.0
"""Seconds to wait when reading, because a user is waiting, and when writing after a failure."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One call.

    Attributes:
        at: End time in seconds since the epoch.
        engine: Name of the engine.
        model: Name of the model.
        outcome: ``"ok"``, ``"interrupted"``, or the name of the error's class.
        input_tokens: Input tokens; this and the following are ``None`` if unknown.
        output_tokens: Output tokens.
        cost: US dollars.
        latency: Seconds from the start of the call to its end.
        time_to_first: Seconds to the first chunk.
        attempts: Number of times that the request was sent.
        fallback_from: The original reference, if a fallback replied.
        cached_tokens: Input tokens that were read from the provider's cache.
    """

    at: float
    engine: str
    model: str
    outcome: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    fallback_from: str | None = None
    cached_tokens: int | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the fields, with the end time as a `datetime` in UTC named ``ended``."""
        values = asdict(self)
        return {"ended": datetime.fromtimestamp(values.pop("at"), UTC), **values}


_COLUMNS = tuple(field.name for field in fields(LedgerEntry))
_values = attrgetter(*_COLUMNS)  # `dataclasses.astuple` copies each value deeply, for every call
_INSERT = f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - constants
# By `rowid` too, because concurrent calls may end at the same moment.
_SELECT = "SELECT * FROM calls ORDER BY at DESC, rowid DESC LIMIT ?"

_CREATE_CALLS = (
    "CREATE TABLE IF NOT EXISTS calls (at, engine, model, outcome, input_tokens, output_tokens,"
    " cost, latency, time_to_first, attempts, fallback_from)"
)
MIGRATIONS = ((_CREATE_CALLS,), ("ALTER TABLE calls ADD COLUMN cached_tokens",))
"""The SQL statements that create each schema version."""


class Ledger(BatchWriter[LedgerEntry]):
    """The calls of a project, or of a user outside any project.

    Entries are written in batches, so the last ones are lost if the process is killed.

    Several kernels may write to one file. A file that is not a SQLite database is renamed; a file
    written by a later version is not changed.

    Args:
        path: The file; the first entry creates it and its folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"the ledger {str(path)!r}")
        self.path = path

    def last(self, count: int) -> list[LedgerEntry]:
        """Return the last calls, latest first; empty if the file does not exist.

        Raises:
            OSError: If the file exists and cannot be read.
        """
        # A caller expects to find the call that it has just made.
        self.flush()
        if not self.path.exists():
            return []
        try:
            with contextlib.closing(database.connect(self.path, _SHORT_TIMEOUT)) as connection:
                connection.row_factory = sqlite3.Row
                rows = connection.execute(_SELECT, (count,)).fetchall()
        except sqlite3.Error as error:
            raise OSError(str(error)) from None
        return list(map(_parse_row, rows))

    @override
    def write(self, items: list[LedgerEntry]) -> None:
        try:
            self._insert(items)
        except sqlite3.Error as error:
            if not database.is_damaged(error):
                raise
            database.set_aside(self.path)
            self._insert(items)

    def _insert(self, entries: list[LedgerEntry]) -> None:
        timeout = _SHORT_TIMEOUT if self.problem else _WRITE_TIMEOUT
        with database.transaction(self.path, MIGRATIONS, timeout) as connection:
            rows = (tuple(map(_storable, _values(entry))) for entry in entries)
            connection.executemany(_INSERT, rows)


def _storable(value: object) -> object:
    """Convert decimals and lone surrogates, which SQLite cannot store."""
    value = str(value) if isinstance(value, Decimal) else value
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _parse_row(row: sqlite3.Row) -> LedgerEntry:
    # A file of an earlier version has fewer columns, one of a later version may have more.
    values = {name: row[name] for name in _COLUMNS if name in row.keys()}  # noqa: SIM118
    cost = values["cost"]
    return LedgerEntry(**values | {"cost": None if cost is None else Decimal(str(cost))})
