"""Runs a map: takes over the job, displays the progress, and stores the figures."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from gatewayx_nb.batch.columns import FrameBuilder
from gatewayx_nb.batch.dask_rows import DaskRows, PartitionedBuilder
from gatewayx_nb.batch.map_preview import preview_map
from gatewayx_nb.batch.map_run import MapRun
from gatewayx_nb.batch.mapped_replies import MappedReplies
from gatewayx_nb.errors import UsageError, with_short_traceback
from gatewayx_nb.storage import JobFigures

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterator,
    )

    from gatewayx_nb.batch.columns import Columns
    from gatewayx_nb.batch.figures import MapFigures
    from gatewayx_nb.batch.map_options import Output
    from gatewayx_nb.batch.map_plan import MapPlan, Outcomes
    from gatewayx_nb.batch.map_preview import MapPreview
    from gatewayx_nb.batch.progress_views import ProgressView
    from gatewayx_nb.batch.row_prompt import RequestSource
    from gatewayx_nb.batch.rows import Rows
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.replies import Reply

    Outcome = Reply | GatewayError

_FLUSH_TIMEOUT = 3.0
"""Seconds to wait for the answers of an earlier run to be stored."""

_FOLLOW_INTERVAL = 0.5
"""Seconds between attempts to take over a job that another process is running."""

_STOP_EXCEPTIONS = (KeyboardInterrupt, asyncio.CancelledError, GeneratorExit)

_FIGURES_INTERVAL = 1.0
"""Seconds between updates of the figures that other processes read."""

_UNSENT_MESSAGE = "not sent, because the map was stopped"
"""The text in ``gx_error`` for rows that were not sent."""


@dataclass(slots=True)
class MapSession:
    """A map that is ready to run.

    Attributes:
        rows: The rows.
        prompt: Creates the request for each row.
        plan: What the map needs besides its rows.
        columns: The new columns.
        replaced_columns: The columns of an earlier run, which this run replaces.
        figures: The progress and the totals of this run.
        view: Displays the figures.
        earlier_figures: The figures of the job's earlier runs.
        read_earlier_figures: Reads the figures of the earlier runs again.
        check_not_in_open_batch: Raises an error if some rows are in an open batch.
        fresh: Whether to ignore the results of earlier runs.
        max_age: Maximum age of a result in seconds; ``None`` for no maximum.
    """

    rows: Rows
    prompt: RequestSource
    plan: MapPlan
    columns: Columns
    replaced_columns: tuple[Any, ...]
    figures: MapFigures
    view: ProgressView
    earlier_figures: JobFigures
    read_earlier_figures: Callable[[], JobFigures]
    check_not_in_open_batch: Callable[[], object]
    fresh: bool = False
    max_age: float | None = None
    _run: MapRun | None = field(default=None)
    _figures_stored_at: float = 0.0
    _is_running_job: bool = False

    def outcomes(self) -> Generator[Outcomes]:
        """Yield the outcomes in groups as they arrive."""
        self.rows.check_blocking_allowed()
        try:
            for _ in self._take_over():
                self._check_not_own_job()
                time.sleep(_FOLLOW_INTERVAL)
            self._load()
            run = self._start()
            with contextlib.closing(run.outcomes()) as groups:
                yield from groups
        finally:
            self._end()

    async def aoutcomes(self) -> AsyncGenerator[Outcomes]:
        """Yield the outcomes in groups; see `outcomes`."""
        try:
            for _ in self._take_over():
                await asyncio.sleep(_FOLLOW_INTERVAL)
            await asyncio.to_thread(self._load)
            run = self._start()
            async with contextlib.aclosing(run.aoutcomes()) as groups:
                async for group in groups:
                    yield group
        finally:
            self._end()

    def collect(
        self, output: Output, on_outcomes: Callable[[Outcomes], object] = lambda _: None
    ) -> Any:  # noqa: ANN401 - the rows' type
        """Run the map until it ends or is stopped, and return the rows with their answers.

        Args:
            output: The form of the result.
            on_outcomes: Called with the positions and outcomes of rows as they arrive.
        """
        sink = OutcomeSink(self, output)
        try:
            with _sigterm_as_stop(), contextlib.closing(self.outcomes()) as groups:
                for group in groups:
                    sink.add(group)
                    on_outcomes(group)
        except KeyboardInterrupt:
            self._check_is_stored()
        if self._run is not None:
            sink.add(self._run.take_remaining())
        return sink.result()

    async def acollect(
        self,
        output: Output,
        on_outcomes: Callable[[Outcomes], Awaitable[object]] | None = None,
        *,
        stops_on_cancel: bool = False,
    ) -> Any:  # noqa: ANN401
        """Run the map and return the rows with their answers; see `collect`.

        Args:
            output: The form of the result.
            on_outcomes: Awaited with the positions and outcomes of rows as they arrive.
            stops_on_cancel: Whether a cancellation stops the map as Ctrl-C does. If a cell that
                awaits is interrupted, the kernel cancels its task.
        """
        sink = OutcomeSink(self, output)
        try:
            async with contextlib.aclosing(self.aoutcomes()) as groups:
                async for group in groups:
                    sink.add(group)
                    if on_outcomes is not None:
                        await on_outcomes(group)
        except KeyboardInterrupt:
            self._check_is_stored()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not stops_on_cancel or task is None:
                raise
            task.uncancel()
            self._check_is_stored()
        if self._run is not None:
            sink.add(self._run.take_remaining())
        return sink.result()

    def _check_is_stored(self) -> None:
        """Check that the finished rows of a stopped map are stored.

        Raises:
            KeyboardInterrupt: If the map had not begun, or if a second Ctrl-C arrived while its
                answers were being stored.
        """
        if self._run is None or not self._run.is_flushed:
            raise with_short_traceback(KeyboardInterrupt()) from None

    def in_order(self) -> Iterator[Outcome]:
        """Yield the outcomes in the order of the rows."""
        waiting_outcomes: dict[int, Outcome] = {}
        position = 0
        with contextlib.closing(self.outcomes()) as groups:
            for group in groups:
                waiting_outcomes.update(group)
                while position in waiting_outcomes:
                    outcome = waiting_outcomes.pop(position)
                    position += 1
                    if self._run is not None:
                        self._run.first_missing_position = position
                    yield outcome

    async def ain_order(self) -> AsyncIterator[Outcome]:
        """Yield the outcomes in the order of the rows."""
        waiting_outcomes: dict[int, Outcome] = {}
        position = 0
        async with contextlib.aclosing(self.aoutcomes()) as groups:
            async for group in groups:
                waiting_outcomes.update(group)
                while position in waiting_outcomes:
                    outcome = waiting_outcomes.pop(position)
                    position += 1
                    if self._run is not None:
                        self._run.first_missing_position = position
                    yield outcome

    def preview(self) -> MapPreview:
        """Return a preview of the map; nothing is sent."""
        plan = self.plan
        try:
            return preview_map(self.rows, self.prompt, plan)
        finally:
            if plan.results is not None:
                plan.results.close()

    def _take_over(self) -> Iterator[None]:
        """Take over the job; yield before each new attempt while another process runs it."""
        results = self.plan.results
        while results is not None and not results.try_drive():
            driver = results.driver()
            driver = driver[:1].upper() + driver[1:]
            self.figures.problem = f"{driver} is running this job; its answers will be used here."
            self.view.show(self.figures)
            yield
        self.figures.problem = ""
        self._is_running_job = results is not None
        # Since this map was created, another map may have sent rows of this job.
        self.check_not_in_open_batch()
        self.earlier_figures = self.read_earlier_figures()
        self.plan.engines.usage.set_earlier_cost(self.earlier_figures.cost)

    def _check_not_own_job(self) -> None:
        """Check that this thread does not wait for a map that it is running itself.

        Raises:
            UsageError: If this thread is already running the job.
        """
        if self.plan.results is not None and self.plan.results.is_driven_by_this_thread:
            raise UsageError(
                f"this thread is already running job {self.figures.name!r}, so it would wait for"
                " itself.",
                hint="Exhaust its iterator first, or `.close()` it.",
            )

    def _load(self) -> None:
        """Load the answers of earlier runs from the store."""
        results = self.plan.results
        if results is None:
            return
        # An earlier run's answers may still be waiting for disk space.
        results.flush(_FLUSH_TIMEOUT)
        if not self.fresh:
            results.load(self.max_age, self._show_loading)
        results.set_figures(self._job_figures("running"))

    def _show_loading(self, count: int) -> None:
        self.figures.problem = f"Reading {count:,} earlier answers."
        self.view.show(self.figures)
        self.figures.problem = ""

    def _start(self) -> MapRun:
        rows = self.rows.read(self.prompt.columns)
        self._run = MapRun(iter(rows), self.prompt, self.plan, self.figures, self._show)
        if self.plan.results is not None:
            self.plan.results.current_figures = partial(self._job_figures, "running")
        return self._run

    def _show(self, figures: MapFigures) -> None:
        """Show the figures, and store them about once a second for other processes."""
        # A replay is shown once, at its end, so that notebook tests see no updates.
        if self.plan.engines.cassette_mode != "replay":
            self.view.show(figures)
        now = time.monotonic()
        if now - self._figures_stored_at >= _FIGURES_INTERVAL:
            self._figures_stored_at = now
            if self.plan.results is not None:
                self.plan.results.set_figures(self._job_figures("running"))

    def _end(self) -> None:
        figures, results = self.figures, self.plan.results
        if figures.state == "running":  # the map ended before the first row
            is_stop = isinstance(sys.exception(), _STOP_EXCEPTIONS)
            figures.state = "stopped" if is_stop else "failed"
            figures.ended = time.monotonic()
        self.rows.close()
        self.plan.engines.usage.write_sums(figures.name)
        if results is not None:
            results.current_figures = None
            if self._is_running_job:  # otherwise, another process stores its figures
                state: Any = figures.state
                results.set_figures(self._job_figures(state))
            results.close()
        self.view.close(figures)

    def _job_figures(self, state: Any) -> JobFigures:  # noqa: ANN401 - a literal
        figures, usage, earlier_figures = (
            self.figures,
            self.plan.engines.usage,
            self.earlier_figures,
        )
        return JobFigures(
            state=state,
            total=figures.total,
            done=figures.answered,
            failed=figures.failed,
            asked=earlier_figures.asked + figures.asked,
            cost=earlier_figures.cost + usage.cost,
            unpriced=earlier_figures.unpriced + usage.unpriced,
            input_tokens=earlier_figures.input_tokens + usage.input_tokens,
            output_tokens=earlier_figures.output_tokens + usage.output_tokens,
            seconds=earlier_figures.seconds + figures.seconds,
            problem=figures.problem,
        )


class OutcomeSink:
    """Collects the outcomes of a map in the requested form.

    Args:
        session: The map.
        output: The requested form.
    """

    def __init__(self, session: MapSession, output: Output) -> None:
        self._session, self._output = session, output
        is_frame = session.rows.kind in ("frame", "series")
        self._builder: FrameBuilder | PartitionedBuilder | None = None
        if is_frame and output != "replies":
            rows, columns, replaced_columns = (
                session.rows,
                session.columns,
                session.replaced_columns,
            )
            if isinstance(rows, DaskRows):
                self._builder = PartitionedBuilder(rows, columns, replaced_columns, output)
            else:
                self._builder = FrameBuilder(rows, columns, replaced_columns)
        self._outcomes: dict[int, Outcome] = {}

    def add(self, group: Outcomes) -> None:
        """Add outcomes to the result."""
        if self._builder is None:
            self._outcomes.update(group)
            return
        for position, outcome in group:
            self._builder.set(position, outcome)

    def result(self) -> Any:  # noqa: ANN401 - the rows' type
        """Return the rows with their answers."""
        session = self._session
        if self._builder is not None:
            return self._builder.build(self._output, _UNSENT_MESSAGE)
        count = session.rows.count
        if count is None:
            count = max(self._outcomes, default=-1) + 1
        outcomes = [self._outcomes.get(position) for position in range(count)]
        replies = MappedReplies(outcomes, session.columns, session.figures.name)
        return replies.to_frame() if self._output == "columns" else replies


class _Terminated(KeyboardInterrupt):
    """Raised on SIGTERM: the map ends as if it had been stopped, and then the process ends."""


@contextlib.contextmanager
def _sigterm_as_stop() -> Iterator[None]:
    """Stop the map on SIGTERM, and raise the signal again at the end of the ``with`` block.

    The program's own handlers are left in place. Only the main thread can handle signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    is_terminated = False

    def stop(*_: object) -> None:
        nonlocal is_terminated
        if is_terminated:
            return
        is_terminated = True
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if is_terminated:
            signal.raise_signal(signal.SIGTERM)
