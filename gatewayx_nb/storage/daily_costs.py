"""Stores the cost of each day in a SQLite file that the processes of a project or user share."""

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

_LOCK_TIMEOUT = 5.0
"""Seconds to wait for other processes that are writing to the file."""

_MAX_AGE_SECONDS = 1.0
"""Seconds after which the costs of other processes are read again."""

_EXIT_TIMEOUT = 10.0
"""Seconds to wait for the last write when the interpreter exits; it takes a few milliseconds."""

_MIGRATIONS = (("CREATE TABLE days (day, cost)",),)


class DailyCosts(BatchWriter[tuple[str, Decimal]]):
    """The total cost of each day's calls; days are in the local time zone.

    A cost counts immediately in this process. It is committed as soon as the previous commit has
    ended, and other processes see it at most a second later. The file is never set aside or
    replaced: until it can be read and written, `refresh` fails.

    Get an instance from `daily_costs`, which returns one instance per file.

    Args:
        path: The file; the first `refresh` creates it and its folder.
    """

    batch_delay = 0.0

    def __init__(self, path: Path) -> None:
        super().__init__(f"the costs per day {str(path)!r}")
        self.path = path

    @override
    def _reset(self) -> None:
        super()._reset()
        # The written and the unwritten sum change together, so that no cost is counted twice.
        self._file_lock, self._sums_lock = threading.Lock(), threading.Lock()
        self._written_sums: dict[str, Decimal] = {}
        self._pending_costs: dict[str, Decimal] = {}
        self._reservations: set[object] = set()
        # Kept up to date, because adding up many running calls is slow.
        self._reserved_cost = Decimal(0)
        self._read_at = -math.inf

    @property
    def spent(self) -> Decimal:
        """Today's cost in US dollars, including the maximum cost of this process's running calls.

        Raises:
            OSError: If a new day has begun since the last `refresh` and the file cannot be read.
        """
        today = local_day(time.time())
        if today not in self._written_sums:
            self.refresh()
        with self._sums_lock:
            finished_cost = self._written_sums.get(today, Decimal(0)) + self._pending_costs.get(
                today, Decimal(0)
            )
            return finished_cost + self._reserved_cost

    @contextlib.contextmanager
    def reserve(self, cost: Decimal) -> Iterator[None]:
        """Reserve the maximum cost of a call while it is running."""
        call = object()
        with self._sums_lock:
            self._reservations.add(call)
            self._reserved_cost += cost
        try:
            yield
        finally:
            with self._sums_lock:
                if call in self._reservations:  # a fork clears the reservations
                    self._reservations.remove(call)
                    self._reserved_cost -= cost

    def add_cost(self, cost: Decimal) -> None:
        """Add the cost of a finished call to today's cost."""
        today = local_day(time.time())
        with self._sums_lock:
            self._pending_costs[today] = self._pending_costs.get(today, Decimal(0)) + cost
        self.add((today, cost))

    @property
    def is_current(self) -> bool:
        """Whether the file was read or written today and within the last second."""
        age = time.monotonic() - self._read_at
        return (
            age < _MAX_AGE_SECONDS
            and not self.problem
            and local_day(time.time()) in self._written_sums
        )

    def refresh(self) -> None:
        """Read the costs of other processes, unless they are current; see `is_current`. May block.

        Raises:
            OSError: If the file cannot be read or written.
        """
        if self.problem:
            self.flush(_LOCK_TIMEOUT)  # retries a failed write
        with self._file_lock:
            if self.is_current:
                return
            if self.problem:
                raise OSError(self.problem)
            today = local_day(time.time())
            # Taking the write lock proves that costs can be stored.
            with self._transaction() as connection:
                spent_today = _read(connection, today)
            self._set_sums({today: spent_today}, ())

    @override
    def write(self, items: list[tuple[str, Decimal]]) -> None:
        sums: dict[str, Decimal] = {}
        with self._file_lock:
            with self._transaction() as connection:
                for day in dict.fromkeys(day for day, _ in items):
                    costs = (cost for item_day, cost in items if item_day == day)
                    sums[day] = sum(costs, _read(connection, day))
                    connection.execute("DELETE FROM days WHERE day = ?", (day,))
                    connection.execute("INSERT INTO days VALUES (?, ?)", (day, str(sums[day])))
            self._set_sums(sums, items)

    def _set_sums(
        self, sums: dict[str, Decimal], written_items: list[tuple[str, Decimal]] | tuple[()]
    ) -> None:
        with self._sums_lock:
            self._written_sums = sums
            for day, cost in written_items:
                self._pending_costs[day] -= cost
            self._pending_costs = {day: cost for day, cost in self._pending_costs.items() if cost}
        self._read_at = time.monotonic()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with database.transaction(self.path, _MIGRATIONS, _LOCK_TIMEOUT) as connection:
                yield connection
        except (sqlite3.Error, database.UnusableFileError) as error:
            raise OSError(str(error)) from None


def _read(connection: sqlite3.Connection, day: str) -> Decimal:
    """Return the cost of a day.

    Raises:
        UnusableFileError: If the file contains anything but one valid cost.
    """
    rows = connection.execute("SELECT cost FROM days WHERE day = ? LIMIT 2", (day,)).fetchall()
    if not rows:
        return Decimal(0)
    with contextlib.suppress(ArithmeticError):
        ((text,),) = rows if len(rows) == 1 else ((None,),)
        cost = Decimal(text) if isinstance(text, str) else Decimal("NaN")
        if cost.is_finite() and 0 <= cost < HIGHEST_COST:
            return cost
    raise database.UnusableFileError(f"the sum of {day} is invalid")


_open_files: dict[Path, DailyCosts] = {}


def daily_costs(path: Path) -> DailyCosts:
    """Return the daily costs in a file, which all pools of the process share."""
    # `setdefault` is atomic, so that two threads get the same object.
    return _open_files.get(path) or _open_files.setdefault(path, DailyCosts(path))


@atexit.register
def _flush_all() -> None:
    for costs in list(_open_files.values()):
        costs.flush(_EXIT_TIMEOUT)
