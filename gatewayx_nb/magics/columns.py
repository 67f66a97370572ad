"""``%%gatewayx`` with several references: calls all of them and shows the answers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb import display
from gatewayx_nb.errors import EngineNotFoundError, GatewayError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.comparisons import Comparison, ComparisonRun
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.magics.cell import Cell


def compare(
    pool: EnginePool,
    cell: Cell,
    view: display.ColumnsView,
    bind: Callable[[Comparison], None],
) -> None:
    """Call the models and wait; bind the comparison, even if it is incomplete.

    Raises:
        GatewayError: If every column failed, after all are shown; the first column's error.
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
    """Call the models on the kernel's loop, which keeps handling widgets; see `compare`."""
    race = _race(pool, cell)
    try:
        await display.awatch(race, view)
    except KeyboardInterrupt:
        bind(race.comparison)
        raise
    _finish(race, bind)


def _race(pool: EnginePool, cell: Cell) -> ComparisonRun:
    """Plan the calls; if most names are not engines, assume that the line holds a prompt."""
    race = pool.plan_comparison(cell.prompt, models=cell.references, **cell.options)
    unknown = [one for one in race.columns if isinstance(one.outcome, EngineNotFoundError)]
    known = [one for one in race.columns if one not in unknown]
    if len(unknown) > len(known):
        example = known[0].reference if known else "mock"
        names = ", ".join(repr(column.reference) for column in unknown)
        raise UsageError(
            f"no engines {names}.",
            hint=f"`%%gatewayx {example}`, and the prompt on the lines below it; "
            "`%gatewayx status` lists the engines.",
        )
    return race


def _finish(race: ComparisonRun, bind: Callable[[Comparison], None]) -> None:
    compared = race.comparison
    bind(compared)
    failures = [outcome for outcome in compared if isinstance(outcome, GatewayError)]
    if len(failures) == len(compared):
        raise failures[0]
