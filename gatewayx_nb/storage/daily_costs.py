"""The costs of each day in a SQLite file, which the processes of a project or a user share."""

from __future__ import annotations

import atexit
import contextlib
import math
import sqlite3
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.storage import database
from gatewayx_nb.storage.ledger_totals import HIGHEST_COST, local_day
from gatewayx_nb.storage.writer import BatchWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TIMEOUT = 5.0
"""Seconds to wait for other processes that are writing to the file."""

_MAX_AGE = 1.0
"""Seconds after which the costs of other processes are read again."""

_EXIT_TIMEOUT = 10.0
"""Seconds to wait for the last costs when the interpreter ends; they take some milliseconds."""

_MIGRATIONS = (("CREATE TABLE days (day, cost)",),)


class DailyCosts(BatchWriter[tuple[str, Decimal]]):
    """What the calls of each day have cost, in the local time zone.

    A cost counts at once in this process. It is committed as soon as the previous commit has ended,
    and other processes see it at most a second after that. The file is never set aside or
    replaced: until it can be read and written, `refresh` fails.

    Get it from `daily_costs`, so that a process has one for each file.

    Args:
        path: The file; created by the first `refresh`, as is its folder.
    """

    batch_delay = 0.0

    def __init__(self, path: Path) -> None:
        super().__init__(f"the costs per day {str(path)!r}")
        self.path = path

    @override
    def _reset(self) -> None:
        super()._reset()
        # The two sums of a cost, written or not, change together, so that it never counts twice.
        self._file_lock, self._sums_lock = threading.Lock(), threading.Lock()
        self._written: dict[str, Decimal] = {}
        self._pending: dict[str, Decimal] = {}
        self._reservations: set[object] = set()
        self._reserved = Decimal(0)  # kept, because a sum over many running calls is slow
        self._read_at = -math.inf

    @property
    def spent(self) -> Decimal:
        """US dollars of today, including the maximum costs of this process's running calls.

        Raises:
            OSError: If a new day has begun since the last `refresh`, and the file cannot be read.
        """
        today = local_day(time.time())
        if today not in self._written:
            self.refresh()
        with self._sums_lock:
            finished = self._written.get(today, Decimal(0)) + self._pending.get(today, Decimal(0))
            return finished + self._reserved

    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        """Reserve the maximum cost of a call while it is running."""
        call = object()
        with self._sums_lock:
            self._reservations.add(call)
            self._reserved += cost
        try:
            yield
        finally:
            with self._sums_lock:
                if call in self._reservations:  # a fork has emptied it
                    self._reservations.remove(call)
                    self._reserved -= cost

    def add_cost(self, cost: Decimal) -> None:
        """Add the cost of a call that has ended to today's costs."""
        today = local_day(time.time())
        with self._sums_lock:
            self._pending[today] = self._pending.get(today, Decimal(0)) + cost
        self.add((today, cost))

    @property
    def is_current(self) -> bool:
        """Whether the file has been read or written in the last second, and today."""
        age = time.monotonic() - self._read_at
        return age < _MAX_AGE and not self.problem and local_day(time.time()) in self._written

    def refresh(self) -> None:
        """Read what other processes have written, unless it `is_current`; this may block.

        Raises:
            OSError: If the file cannot be read or written.
        """
        if self.problem:
            self.flush(_TIMEOUT)  # this makes another attempt to write
        with self._file_lock:
            if self.is_current:
                return
            if self.problem:
                raise OSError(self.problem)
            today = local_day(time.time())
            # The lock for writing shows that costs can be stored.
            with self._transaction() as opened:
                spent = _read(opened, today)
            self._note({today: spent}, ())

    @override
    def write(self, items: list[tuple[str, Decimal]]) -> None:
        sums: dict[str, Decimal] = {}
        with self._file_lock:
            with self._transaction() as opened:
                for day in dict.fromkeys(day for day, _ in items):
                    costs = (cost for other, cost in items if other == day)
                    sums[day] = sum(costs, _read(opened, day))
                    opened.execute("DELETE FROM days WHERE day = ?", (day,))
                    opened.execute("INSERT INTO days VALUES (?, ?)", (day, str(sums[day])))
            self._note(sums, items)

    def _note(
        self, sums: dict[str, Decimal], written: list[tuple[str, Decimal]] | tuple[()]
    ) -> None:
        with self._sums_lock:
            self._written = sums
            for day, cost in written:
                self._pending[day] -= cost
            self._pending = {day: cost for day, cost in self._pending.items() if cost}
        self._read_at = time.monotonic()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with database.transaction(self.path, _MIGRATIONS, _TIMEOUT) as opened:
                yield opened
        except (sqlite3.Error, database.UnusableFileError) as error:
            raise OSError(str(error)) from None


def _read(opened: sqlite3.Connection, day: str) -> Decimal:
    """Return the sum of a day.

    Raises:
        UnusableFileError: If the file contains anything else.
    """
    rows = opened.execute("SELECT cost FROM days WHERE day = ? LIMIT 2", (day,)).fetchall()
    if not rows:
        return Decimal(0)
    with contextlib.suppress(ArithmeticError):
        ((text,),) = rows if len(rows) == 1 else ((None,),)
        cost = Decimal(text) if isinstance(text, str) else Decimal("NaN")
        if cost.is_finite() and 0 <= cost < HIGHEST_COST:
            return cost
    raise database.UnusableFileError(f"the sum of {day} is invalid")


_opened: dict[Path, DailyCosts] = {}


def daily_costs(path: Path) -> DailyCosts:
    """Return the costs in a file; all pools of the process share them."""
    # `setdefault` is atomic, so that two threads get the same object.
    return _opened.get(path) or _opened.setdefault(path, DailyCosts(path))


@atexit.register
def _flush_all() -> None:
    for costs in list(_opened.values()):
        costs.flush(_EXIT_TIMEOUT)
