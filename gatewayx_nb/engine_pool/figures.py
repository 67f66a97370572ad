"""What the calls to each engine came to: how many, what they cost, and how the last one failed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.engine_pool.tally import Tally
    from gatewayx_nb.model_registry import EngineStatus


@dataclass(frozen=True, slots=True)
class _Sum:
    calls: int = 0
    spend: Decimal = Decimal(0)
    unpriced: int = 0
    last_error: str = ""


class Figures:
    """The sums of a pool, by engine.

    No lock: an engine's calls end on its own loop, one after another, and each sum is set whole.
    """

    def __init__(self) -> None:
        self._sums: dict[str, _Sum] = {}

    def add(self, tally: Tally, error: str = "") -> None:
        """Add a call that has ended, well or with an error."""
        before = self._sums.get(tally.engine, _Sum())
        cost, used = tally.cost, tally.total is not None
        self._sums[tally.engine] = _Sum(
            calls=before.calls + 1,
            spend=before.spend + (cost or 0),
            unpriced=before.unpriced + (used and cost is None),
            last_error=error,
        )

    def on(self, row: EngineStatus) -> EngineStatus:
        """Give a row with the sums of its engine; one that is not called has none."""
        known = self._sums.get(row.name)
        if known is None or row.state == "shadowed":
            return row
        return replace(
            row,
            calls=known.calls,
            spend=known.spend,
            unpriced=known.unpriced,
            last_error=known.last_error,
        )
