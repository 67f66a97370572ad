"""Runs a parsed cell: one call, a comparison, a map, a background job or a dry run."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb import display
from gatewayx_nb.comparisons import check_comparison_options
from gatewayx_nb.engine_pool import DryRun
from gatewayx_nb.errors import EngineNotFoundError, GatewayError, UsageError
from gatewayx_nb.hints import Hint, as_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatewayx_nb.background import Job, JobList
    from gatewayx_nb.batch import ProgressView
    from gatewayx_nb.calls import AsyncReplyStream, CallOptions, ReplyStream
    from gatewayx_nb.comparisons import Comparison, ComparisonRun
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.magics.cell import Cell
    from gatewayx_nb.magics.map_cell import MapCell
    from gatewayx_nb.replies import Reply

_display_tasks: set[asyncio.Task[None]] = set()
"""The tasks that show jobs; an event loop itself keeps only weak references to its tasks."""


class CellRun(ABC):
    """A cell that is ready to run; nothing has been sent."""

    @abstractmethod
    def run(self) -> object:
        """Run the cell, show its answer and bind it; block until it has ended."""

    @abstractmethod
    async def arun(self) -> object:
        """Run the cell on the kernel's event loop, which keeps handling widgets."""


class AnswerRun(CellRun):
    """The call of one model.

    If the call is stopped, its partial answer is bound, even if empty. If the call fails, its
    partial answer is bound only if some text has arrived.

    Args:
        pool: The pool.
        cell: The cell.
        view: Shows the answer.
        bind: Binds the reply.
    """

    def __init__(
        self, pool: EnginePool, cell: Cell, view: display.View, bind: Callable[[Reply], None]
    ) -> None:
        self._pool, self._cell, self._view, self._bind = pool, cell, view, bind

    @override
    def run(self) -> Reply:
        stream = self._pool.stream(self._cell.prompt, **self._cell.options)
        with self._binding(stream):
            return display.show_stream(stream, self._view)

    @override
    async def arun(self) -> Reply:
        stream = self._pool.astream(self._cell.prompt, **self._cell.options)
        with self._binding(stream):
            return await display.ashow_stream(stream, self._view)

    @contextlib.contextmanager
    def _binding(self, stream: ReplyStream | AsyncReplyStream) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, GatewayError) as error:
            # After a stop, `_reply` must not be an earlier cell's answer.
            if stream.partial.has_begun or isinstance(error, KeyboardInterrupt):
                self._bind(stream.partial.reply(interrupted=not stream.partial.has_ended))
            raise
        self._bind(stream.reply)


class ColumnsRun(CellRun):
    """The calls of several models, shown side by side.

    The comparison is bound even if it was stopped. If every column failed, the first column's error
    is raised after all columns are shown.

    Args:
        pool: The pool.
        cell: The cell.
        view: Shows the answers.
        bind: Binds the comparison.

    Raises:
        UsageError: If an option is invalid, or the first line seems to contain the prompt.
        EngineNotFoundError: If a reference names an unknown engine.
    """

    def __init__(
        self,
        pool: EnginePool,
        cell: Cell,
        view: display.ColumnsView,
        bind: Callable[[Comparison], None],
    ) -> None:
        try:
            self._comparison_run = pool.plan_comparison(
                cell.prompt, models=cell.references, **cell.options
            )
        except EngineNotFoundError as error:
            raise _unknown_references_error(pool, cell, error) from None
        self._view, self._bind = view, bind

    @override
    def run(self) -> None:
        with self._binding():
            display.show_comparison(self._comparison_run, self._view)

    @override
    async def arun(self) -> None:
        with self._binding():
            await display.ashow_comparison(self._comparison_run, self._view)

    @contextlib.contextmanager
    def _binding(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._bind(self._comparison_run.comparison)
            raise
        comparison = self._comparison_run.comparison
        # The comparison is bound before an error is raised, because some columns have answered.
        self._bind(comparison)
        errors = [outcome for outcome in comparison if isinstance(outcome, GatewayError)]
        if len(errors) == len(comparison):
            raise errors[0]


def _unknown_references_error(
    pool: EnginePool, cell: Cell, error: EngineNotFoundError
) -> EngineNotFoundError | UsageError:
    """Return the error for unknown references; if there are several, they are probably a prompt."""
    if error.engine:  # only one reference is unknown
        return error
    if cell.advice:
        return UsageError("text with spaces must be quoted.", hint=cell.advice)
    engine_names = {row.name for row in pool.status(probe=False)}
    known_references = (
        reference for reference in cell.references if reference.partition(":")[0] in engine_names
    )
    return UsageError(
        error.message,
        hint=as_hint(
            f"Write `%%gatewayx {next(known_references, 'mock')}`, and the prompt on the lines"
            " below it."
        )
        | Hint("list_engines"),
    )


class MapCellRun(CellRun):
    """The map of a cell; finished rows are kept if the map is stopped.

    Args:
        pool: The pool.
        cell: The cell.
        view: Displays the progress; ``None`` for no display.
        bind: Binds the result if the cell names a variable, and shows the notes.

    Raises:
        GatewayError: If the map cannot be run; nothing has been sent.
    """

    def __init__(
        self,
        pool: EnginePool,
        cell: MapCell,
        view: ProgressView | None,
        bind: Callable[[object], object],
    ) -> None:
        self._map = pool.plan_map(**cell.arguments, view=view)
        self._bind = bind

    @override
    def run(self) -> object:
        """Run the map; return its result unless it is bound to a variable."""
        return self._bind(self._map.collect("same"))

    @override
    async def arun(self) -> object:
        return self._bind(await self._map.acollect("same", stops_on_cancel=True))


def dry_run(pool: EnginePool, cell: Cell) -> DryRun:
    """Return a preview of the requests that a cell would send.

    Raises:
        GatewayError: If a call would be refused before anything is sent.
    """
    # A comparison is not planned, because it would use up the recordings of its calls.
    if cell.references:
        check_comparison_options(cell.options)
    models = cell.references or (cell.options.get("model"),)
    call_options: list[CallOptions] = [{**cell.options, "model": model} for model in models]
    return DryRun.of([pool.preview(cell.prompt, **options) for options in call_options])


def start_job(pool: EnginePool, jobs: JobList, cell: Cell, view: display.ColumnsView) -> Job:
    """Start a job, and show its progress in a task with the context of the cell.

    Without a running event loop, as in a terminal, no progress is shown.

    Raises:
        UsageError: If a job with the name is running, or ``--chat`` or ``--fallback`` is set.
    """
    if cell.chat is not None or cell.options.get("fallback"):
        raise UsageError(
            "`--bg` cannot be combined with `--chat` or `--fallback`.", hint="Omit one of them."
        )
    references = cell.references or (cell.options.get("model") or pool.default_model(to_call=True),)
    options = {name: value for name, value in cell.options.items() if name != "model"}
    comparisons: list[ComparisonRun] = []

    def plan() -> ComparisonRun:
        comparisons.append(pool.plan_comparison(cell.prompt, models=references, **options))  # type: ignore[arg-type]
        return comparisons[0]

    job = jobs.start(cell.target.variable if cell.target else None, plan)
    with contextlib.suppress(RuntimeError):  # no loop is running
        loop = asyncio.get_running_loop()
        # Show the first update here, because ipykernel 6 would show the task's output below another
        # cell.
        view.update(comparisons[0])
        task = loop.create_task(_show_until_ended(comparisons[0], view))
        _display_tasks.add(task)
        task.add_done_callback(_display_tasks.discard)
    return job


async def _show_until_ended(comparison: ComparisonRun, view: display.ColumnsView) -> None:
    """Show a job's answers until it has ended or is cancelled."""
    while not await comparison.ajoin(display.INTERVAL):
        view.update(comparison)
    view.finish(comparison)
