"""What the calls of a pool came to: how many, what they took and cost, how the last one failed."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb.store import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.engine_pool.tally import Tally
    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.store import Ledger


@dataclass(frozen=True, slots=True)
class Spending:
    """What the calls of a pool to one model came to.

    Attributes:
        engine: Name of the engine.
        model: Name of the model.
        calls: How many have ended, well or not.
        failed: How many of them failed.
        input_tokens: Tokens read, by the calls that told.
        output_tokens: Tokens written, by the calls that told.
        cost: US dollars, of the calls whose price is known.
        unpriced: How many used tokens at a price that is not known.
    """

    engine: str
    model: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0

    def plus(self, entry: Entry) -> Spending:
        """Give the sum with one more call."""
        used = (entry.input_tokens, entry.output_tokens) != (None, None)
        return replace(
            self,
            calls=self.calls + 1,
            failed=self.failed + (entry.outcome not in ("ok", "interrupted")),
            input_tokens=self.input_tokens + (entry.input_tokens or 0),
            output_tokens=self.output_tokens + (entry.output_tokens or 0),
            cost=self.cost + (entry.cost or 0),
            unpriced=self.unpriced + (used and entry.cost is None),
        )


class Figures:
    """The sums of a pool, by engine and model, and the ledger that outlives it.

    Args:
        ledger: Where each call is written.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._sums: dict[tuple[str, str], Spending] = {}
        self._last_error: dict[str, str] = {}
        self._held = Decimal(0)
        self._lock = threading.Lock()  # calls end on the loops of several engines

    @property
    def spent(self) -> Decimal:
        """US dollars that are spent, and those that running calls may yet take."""
        with self._lock:
            return self._held + sum((known.cost for known in self._sums.values()), Decimal(0))

    @contextlib.contextmanager
    def hold(self, cost: Decimal) -> Iterator[None]:
        """Count what a call may cost while it runs."""
        with self._lock:
            self._held += cost
        try:
            yield
        finally:
            with self._lock:
                self._held -= cost

    def add(self, tally: Tally, outcome: str = "ok", error: str = "") -> None:
        """Add a call that has ended.

        Args:
            tally: What came of it.
            outcome: ``"ok"``, ``"interrupted"``, or the name of the error's class.
            error: What went wrong, in one line.
        """
        entry = _entry(tally, outcome)
        key = (entry.engine, entry.model)
        with self._lock:
            self._sums[key] = self._sums.get(key, Spending(*key)).plus(entry)
            self._last_error[entry.engine] = error
        self.ledger.add(entry)

    def spending(self) -> list[Spending]:
        """Give the sums, by engine and model."""
        with self._lock:
            return sorted(self._sums.values(), key=lambda known: (known.engine, known.model))

    def on(self, row: EngineStatus) -> EngineStatus:
        """Give a row with the sums of its engine; one that is not called has none."""
        known = [one for one in self.spending() if one.engine == row.name]
        if not known or row.state == "shadowed":
            return row
        return replace(
            row,
            calls=sum(one.calls for one in known),
            spend=sum((one.cost for one in known), Decimal(0)),
            unpriced=sum(one.unpriced for one in known),
            last_error=self._last_error.get(row.name, ""),
        )


def _entry(tally: Tally, outcome: str) -> Entry:
    usage, now = tally.total, time.monotonic()
    return Entry(
        at=time.time(),
        engine=tally.engine,
        model=tally.model,
        outcome=outcome,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        cost=tally.cost,
        latency=now - tally.started,
        time_to_first=None if tally.first is None else tally.first - tally.started,
        attempts=tally.attempts,
        fallback_from=tally.fallback_from,
    )
