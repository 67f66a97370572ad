"""Stores the usage and cost of calls, but no prompts or replies, in a SQLite file, the ledger."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from gatewayx_nb.storage import database
from gatewayx_nb.storage.ledger_totals import HIGHEST_COST, select_totals
from gatewayx_nb.storage.writer import BatchWriter
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gatewayx_nb.storage.ledger_totals import UsageKey, UsageTotals

_WRITE_TIMEOUT = 5.0
"""Seconds to wait for other kernels that are writing to the same file, before the next attempt."""

_READ_TIMEOUT = 0.2
"""Seconds to wait for the file when reading, because a user is waiting."""

_SUM_TIMEOUT = 5.0
"""Seconds to wait for the file when computing totals; the queries may take the same time again."""

_FLUSH_TIMEOUT = 0.55
"""Seconds to wait for the latest entries when reading."""

_LATEST_TIME = 253_402_300_799.0
"""The last second of the year 9999, the latest that `datetime` can represent."""

_MAX_INTEGER = 2**63 - 1
"""The largest integer in SQLite."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One call.

    Attributes:
        at: End time in seconds since the epoch.
        engine: Name of the engine.
        model: Name of the model.
        outcome: ``"ok"``, ``"interrupted"``, or the name of the error's class.
        input_tokens: Input tokens; ``None`` if unknown.
        output_tokens: Output tokens; ``None`` if unknown.
        cost: Cost in US dollars; ``None`` if unknown.
        latency: Seconds from the start of the call to its end.
        time_to_first: Seconds from the start to the first chunk.
        attempts: Number of times that the request was sent.
        fallback_from: The original reference, if a fallback replied.
        cached_tokens: Input tokens that were read from the provider's cache.
        rows: Number of calls that the entry represents; more than 1 only for a map.
        job: Name of the map; ``None`` for a single call.
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
    rows: int = 1
    job: str | None = None

    @property
    def is_unpriced(self) -> bool:
        """Whether tokens were used whose number or price is unknown."""
        # A call that failed before its answer began was not billed, so its cost is not missing. Any
        # other call used tokens, even if the engine or a stopped stream did not report any.
        has_usage = (self.input_tokens, self.output_tokens) != (None, None)
        has_answer = self.outcome == "ok" or self.time_to_first is not None
        return (has_usage or has_answer) and self.cost is None

    def plus(self, other: LedgerEntry) -> LedgerEntry:
        """Return the sum of two entries of the same engine, model and outcome."""
        return LedgerEntry(
            at=max(self.at, other.at),
            engine=self.engine,
            model=self.model,
            outcome=self.outcome,
            input_tokens=_sum(self.input_tokens, other.input_tokens),
            output_tokens=_sum(self.output_tokens, other.output_tokens),
            cost=_sum(self.cost, other.cost),
            latency=self.latency + other.latency,
            attempts=self.attempts + other.attempts,
            cached_tokens=_sum(self.cached_tokens, other.cached_tokens),
            rows=self.rows + other.rows,
            job=self.job,
        )

    def to_dict(self) -> dict[str, object]:
        """Return the fields, with the end time as a `datetime` in UTC named ``ended``."""
        values = asdict(self)
        return {"ended": datetime.fromtimestamp(values.pop("at"), UTC), **values}


_COLUMNS = tuple(field.name for field in fields(LedgerEntry))
_column_values = attrgetter(*_COLUMNS)  # faster than `dataclasses.astuple`, which makes deep copies
_INSERT = f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - constants
# `rowid` decides the order of concurrent calls that end at the same moment.
_SELECT = "SELECT * FROM calls ORDER BY at DESC, rowid DESC LIMIT ?"

_CREATE_CALLS = (
    "CREATE TABLE calls (at, engine, model, outcome, input_tokens, output_tokens,"
    " cost, latency, time_to_first, attempts, fallback_from)"
)
MIGRATIONS = (
    (_CREATE_CALLS,),
    ("ALTER TABLE calls ADD COLUMN cached_tokens",),
    ("ALTER TABLE calls ADD COLUMN rows", "ALTER TABLE calls ADD COLUMN job"),
)
"""The SQL statements that create each schema version."""


class Ledger(BatchWriter[LedgerEntry]):
    """The calls of a project, or a user's calls outside any project.

    Entries are written in batches, so the latest entries are lost if the process is killed.

    Several kernels may write to one file. A file that is not a ledger, or that a later version has
    written, is renamed.

    Args:
        path: The file; the first entry creates it and its folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"the ledger {str(path)!r}")
        self.path = path

    def last(self, count: int) -> list[LedgerEntry]:
        """Return the last calls, latest first; empty if the file does not exist.

        This takes less than a second. The latest calls may be missing if the file is busy.

        Raises:
            OSError: If the file exists and cannot be read.
        """
        with self._read(_READ_TIMEOUT) as connection:
            if connection is None:
                return []
            connection.row_factory = sqlite3.Row
            rows = connection.execute(_SELECT, (count,)).fetchall()
        return list(map(_parse_row, rows))

    def totals(self, by: UsageKey, since: float = 0.0) -> list[UsageTotals]:
        """Return the totals of all calls since a time; see `select_totals`.

        Raises:
            OSError: If the file exists and cannot be read.
        """
        with self._read(_SUM_TIMEOUT) as connection:
            return [] if connection is None else select_totals(connection, by, since)

    @contextlib.contextmanager
    def _read(self, timeout: float) -> Iterator[sqlite3.Connection | None]:
        """Write the latest calls and open the file in a transaction; yield ``None`` without a file.

        Raises:
            OSError: If the file exists and cannot be read.
        """
        # A caller expects to find the call that it has just made.
        self.flush(_FLUSH_TIMEOUT)
        if not os.path.exists(self.path):
            yield None
            return
        try:
            with database.connection(self.path, timeout) as connection:
                # In a transaction, the check and the queries see the same state of the file.
                connection.execute("BEGIN")
                database.check_schema(connection, MIGRATIONS)
                yield connection
        except (sqlite3.Error, database.UnusableFileError) as error:
            raise OSError(str(error)) from None

    @override
    def write(self, items: list[LedgerEntry]) -> None:
        try:
            self._insert(items)
        except (sqlite3.Error, database.UnusableFileError) as error:
            if not database.is_unusable(error):
                raise
            database.set_aside(self.path, error)
            self._insert(items)

    def _insert(self, entries: list[LedgerEntry]) -> None:
        rows = list(map(_row_values, entries))
        with database.transaction(self.path, MIGRATIONS, _WRITE_TIMEOUT) as connection:
            connection.executemany(_INSERT, rows)


N = TypeVar("N", int, Decimal)


def _sum(first: N | None, second: N | None) -> N | None:
    """Return the sum; a value of ``None`` counts as 0."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _clean_text(value: object) -> str:
    return well_formed(value) if isinstance(value, str) else ""


def _clean_optional_text(value: object) -> str | None:
    return _clean_text(value) if isinstance(value, str) else None


def _clean_count(value: object) -> int | None:
    """Return a number of tokens; ``None`` if it is not a number or is too large for SQLite."""
    is_count = isinstance(value, int) and 0 <= value <= _MAX_INTEGER
    return int(value) if is_count else None  # type: ignore[call-overload]


def _clean_seconds(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and abs(value) <= _LATEST_TIME
    return float(value) if is_number else None  # type: ignore[arg-type]


def _clean_cost(value: object) -> Decimal | None:
    """Return an amount in dollars; ``None`` if the value is not an amount, for example NaN."""
    if not isinstance(value, (Decimal, str, int, float)):
        return None
    try:
        cost = Decimal(str(value))
    except ArithmeticError:
        return None
    return cost if cost.is_finite() and 0 <= cost < HIGHEST_COST else None


_CLEANERS: dict[str, Callable[[object], object]] = {
    "at": lambda value: max(0.0, _clean_seconds(value) or 0.0),
    "engine": _clean_text,
    "model": _clean_text,
    "outcome": _clean_text,
    "input_tokens": _clean_count,
    "output_tokens": _clean_count,
    "cost": _clean_cost,
    "latency": lambda value: _clean_seconds(value) or 0.0,
    "time_to_first": _clean_seconds,
    "attempts": lambda value: _clean_count(value) or 0,
    "fallback_from": _clean_optional_text,
    "cached_tokens": _clean_count,
    "rows": lambda value: _clean_count(value) or 1,
    "job": _clean_optional_text,
}
"""Functions by column; each converts any value from an engine or a file to a valid value."""


def _row_values(entry: LedgerEntry) -> tuple[object, ...]:
    # A list takes half the time of a generator.
    values = [
        clean(value) for clean, value in zip(_CLEANERS.values(), _column_values(entry), strict=True)
    ]
    return tuple([str(value) if type(value) is Decimal else value for value in values])


def _parse_row(row: sqlite3.Row) -> LedgerEntry:
    # A file written by an earlier version has fewer columns.
    column_values = {name: row[name] for name in _COLUMNS if name in row.keys()}  # noqa: SIM118
    values: dict[str, Any] = {name: _CLEANERS[name](value) for name, value in column_values.items()}
    return LedgerEntry(**values)
