"""``%%gatewayx --bg``: the cell ends at once, and its output continues to update."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gatewayx_nb import display
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from gatewayx_nb.background import Job, JobList
    from gatewayx_nb.comparisons import ComparisonRun
    from gatewayx_nb.display import ColumnsView
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.magics.cell import Cell

_shown: set[asyncio.Task[None]] = set()
"""The display tasks: an event loop keeps only weak references to tasks."""


def start(pool: EnginePool, jobs: JobList, cell: Cell, view: ColumnsView) -> Job:
    """Start a job and show its progress, in a task with the cell's own context.

    Without a running event loop, as in a terminal, nothing is shown; use ``job.result()``.

    Raises:
        UsageError: If a job with the name is running, or ``--chat`` or ``--fallback`` is set.
    """
    if cell.chat is not None or cell.options.get("fallback"):
        raise UsageError(
            "a job in the background takes no `--chat` and no `--fallback`.",
            hint="Leave them out, or leave `--bg` out.",
        )
    references = cell.references or (cell.options.get("model") or pool.default_model(),)
    options = {name: value for name, value in cell.options.items() if name != "model"}
    races: list[ComparisonRun] = []

    def race() -> ComparisonRun:
        races.append(pool.plan_comparison(cell.prompt, models=references, **options))  # type: ignore[arg-type]
        return races[0]

    job = jobs.start(cell.output, race)
    with contextlib.suppress(RuntimeError):  # no loop is running
        loop = asyncio.get_running_loop()
        view.update(races[0])  # now: ipykernel 6 would put a later first update below another cell
        task = loop.create_task(_show(races[0], view))
        _shown.add(task)
        task.add_done_callback(_shown.discard)
    return job


async def _show(race: ComparisonRun, view: ColumnsView) -> None:
    """Show a race until it has ended; a cancelled race counts as ended."""
    while not await race.ajoin(display.INTERVAL):
        view.update(race)
    view.finish(race)
