"""``%%gatewayx --bg``: the cell ends at once, and its own output goes on growing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gatewayx_nb import display
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from gatewayx_nb.comparisons import Race
    from gatewayx_nb.display import ColumnsView
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.jobs import Job, Jobs
    from gatewayx_nb.magics.cell import Cell

_shown: set[asyncio.Task[None]] = set()
"""What shows jobs: a loop itself holds no task."""


def start(pool: EnginePool, jobs: Jobs, cell: Cell, view: ColumnsView) -> Job:
    """Start a job and show it as it comes, as a task in the cell's own context.

    Where no event loop runs, in a terminal, nothing is shown: ``job.result()`` gives the answer.

    Raises:
        UsageError: A job of its name still runs, or it would join a conversation.
    """
    if cell.chat is not None or cell.options.get("fallback"):
        raise UsageError(
            "a job in the background takes no `--chat` and no `--fallback`.",
            mend="Leave them out, or leave `--bg` out.",
        )
    references = cell.references or (cell.options.get("model") or pool.default_model(),)
    options = {name: value for name, value in cell.options.items() if name != "model"}
    races: list[Race] = []

    def race() -> Race:
        races.append(pool.race(cell.prompt, models=references, **options))  # type: ignore[arg-type]
        return races[0]

    job = jobs.start(cell.output, race)
    with contextlib.suppress(RuntimeError):  # no loop runs here
        loop = asyncio.get_running_loop()
        view.update(races[0])  # now: what is first shown later, ipykernel 6 puts below another cell
        task = loop.create_task(_show(races[0], view))
        _shown.add(task)
        task.add_done_callback(_shown.discard)
    return job


async def _show(race: Race, view: ColumnsView) -> None:
    """Show a race to its end; ended is one that was cancelled, too."""
    while not await race.ajoin(display.INTERVAL):
        view.update(race)
    view.finish(race)
