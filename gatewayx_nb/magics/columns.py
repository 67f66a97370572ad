"""``%%gatewayx`` with several references: asks them all, and shows their answers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb import display
from gatewayx_nb.errors import EngineNotFoundError, GatewayError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.comparisons import Comparison, Race
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.magics.cell import Cell


def compare(
    pool: EnginePool,
    cell: Cell,
    view: display.ColumnsView,
    bind: Callable[[Comparison], None],
) -> None:
    """Ask and wait; the comparison, or what came of it, is bound.

    Raises:
        GatewayError: Every column failed, after all were shown: the first one's error.
    """
    race = _race(pool, cell)
    try:
        display.watch(race, view)
    except KeyboardInterrupt:
        bind(race.comparison)
        raise
    _finish(race, bind)


async def acompare(
    pool: EnginePool,
    cell: Cell,
    view: display.ColumnsView,
    bind: Callable[[Comparison], None],
) -> None:
    """Ask on the kernel's loop, which goes on serving widgets; see `compare`."""
    race = _race(pool, cell)
    try:
        await display.awatch(race, view)
    except KeyboardInterrupt:
        bind(race.comparison)
        raise
    _finish(race, bind)


def _race(pool: EnginePool, cell: Cell) -> Race:
    """Plan the calls; where most names are no engine's, the line holds a prompt."""
    race = pool.race(cell.prompt, models=cell.references, **cell.options)
    unknown = [one for one in race.columns if isinstance(one.outcome, EngineNotFoundError)]
    known = [one for one in race.columns if one not in unknown]
    if len(unknown) > len(known):
        example = known[0].reference if known else "mock"
        names = ", ".join(repr(column.reference) for column in unknown)
        raise UsageError(
            f"no engines {names}.",
            mend=f"`%%gatewayx {example}`, and the prompt on the lines below it; "
            "`%gatewayx status` lists the engines.",
        )
    return race


def _finish(race: Race, bind: Callable[[Comparison], None]) -> None:
    compared = race.comparison
    bind(compared)
    failures = [outcome for outcome in compared if isinstance(outcome, GatewayError)]
    if len(failures) == len(compared):
        raise failures[0]
