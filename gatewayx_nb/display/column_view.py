"""Displays several answers as columns in a notebook, or one after another in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gatewayx_nb.calls import reply_summary
from gatewayx_nb.comparisons import (
    answer_calls_html,
    answer_details_html,
    answer_text,
    error_text,
)
from gatewayx_nb.display.answer import (
    AnswerState,
    UpdatableDisplay,
    answer_state,
    clear_cancellation,
    ignore_interrupts,
)
from gatewayx_nb.display.throttle import INTERVAL
from gatewayx_nb.errors import with_short_traceback
from gatewayx_nb.html import IncrementalRenderer, column_html, columns_html, reply_html
from gatewayx_nb.output_formats import Rendered, render
from gatewayx_nb.replies import Reply, details_text
from gatewayx_nb.text import plain
from gatewayx_nb.tool_steps import calls_html, calls_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatewayx_nb.comparisons import Column, Comparison, ComparisonRun, Outcome
    from gatewayx_nb.schema import ResponseSchema

_PAUSE_FACTOR = 5
"""Pause after an update, as a multiple of the update's duration: at most 1/6 of a core is used."""


class ColumnsView(Protocol):
    """A view of several answers."""

    def update(self, run: ComparisonRun) -> None:
        """Show the partial answers, if an update is due."""

    def finish(self, run: ComparisonRun) -> None:
        """Show the final answers with their metrics; mark the fastest and the cheapest answer."""


class QuietColumns:
    """A view that shows nothing."""

    def update(self, run: ComparisonRun) -> None:
        """Show nothing."""

    def finish(self, run: ComparisonRun) -> None:
        """Show nothing."""


class FinalColumns(QuietColumns):
    """A view that shows the answers only when all are complete.

    Args:
        view: The view that shows the complete answers.
    """

    def __init__(self, view: ColumnsView) -> None:
        self._view = view

    @override
    def finish(self, run: ComparisonRun) -> None:
        self._view.finish(run)


class NotebookColumns:
    """A view that updates one display for all columns, so that a notebook saves one output.

    Args:
        clock: Returns monotonic seconds.
        schema: The schema that parses the answers, if any; they are then shown as JSON.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        schema: ResponseSchema | None = None,
    ) -> None:
        self._display = UpdatableDisplay(clock, _PAUSE_FACTOR)
        self._schema = schema
        self._state: list[AnswerState] = []
        self._renderers: dict[Column, IncrementalRenderer] = {}
        # The state and HTML of each column: rendering a long answer again would take seconds.
        self._answers: dict[Column, tuple[AnswerState, str]] = {}

    def update(self, run: ComparisonRun) -> None:
        """Show the partial answers, if they have changed and an update is due.

        An immediate replay is shown only once, at the end.
        """
        # A column that could not be planned has no partial answer.
        partials = [column.partial for column in run.columns if column.partial is not None]
        if not self._display.throttle.is_due or all(partial.instant for partial in partials):
            return
        with self._display.throttle.measure():
            state = [_state(column) for column in run.columns]
            if state != self._state:
                names = ", ".join(column.label for column in run.columns)
                self._display.show(f"{names} …", self._html(run, state))
                self._state = state

    def finish(self, run: ComparisonRun) -> None:
        """Show the final answers with their metrics, and mark the fastest and the cheapest."""
        state = [_state(column) for column in run.columns]
        comparison, badges_by_column = run.comparison, run.comparison.marks()
        columns = zip(comparison.labels, comparison, badges_by_column, strict=True)
        text = "\n\n".join(
            _column_text(label, outcome, badges, self._schema) for label, outcome, badges in columns
        )
        self._display.show(text, self._html(run, state, badges_by_column))

    def _html(
        self,
        run: ComparisonRun,
        state: list[AnswerState],
        badges_by_column: Sequence[Sequence[str]] = (),
    ) -> str:
        columns, badges_by_column = [], badges_by_column or [()] * len(state)
        for column, column_state, badges in zip(run.columns, state, badges_by_column, strict=True):
            error = "" if column.outcome is None else error_text(column.outcome)
            columns.append(
                column_html(column.label, self._answer_html(column, column_state), badges, error)
            )
        return columns_html(columns)

    def _answer_html(self, column: Column, state: AnswerState) -> str:
        """Return an answer as HTML; reuse earlier HTML if the answer is unchanged."""
        known_state, html = self._answers.get(column, (None, ""))
        if known_state != state:
            if column.outcome is not None:
                reasoning = getattr(column.outcome, "reasoning", "")
                json_answer = _render_json(column.outcome, self._schema)
                html = reply_html(
                    answer_text(column.outcome),
                    footer=state.status,
                    reasoning=reasoning,
                    body=json_answer.html if json_answer else None,
                    above=answer_calls_html(column.outcome),
                    below=answer_details_html(column.outcome),
                )
            elif column.partial is not None:
                text = "".join(column.partial.text)
                renderer = self._renderers.setdefault(column, IncrementalRenderer())
                body = renderer(text) if text else ""
                reasoning = "".join(column.partial.reasoning)
                html = reply_html(
                    text,
                    status=state.status,
                    reasoning=reasoning,
                    body=body,
                    above=calls_html(column.partial.steps),
                )
            self._answers[column] = state, html
        return html


class TerminalColumns:
    """A view that writes each answer, below its model's name, as soon as it is complete.

    Args:
        schema: The schema that parses the answers, if any; they are then shown as JSON.
    """

    def __init__(self, schema: ResponseSchema | None = None) -> None:
        self._written_columns: set[Column] = set()
        self._schema = schema

    def update(self, run: ComparisonRun) -> None:
        """Write the answers that were completed since the last update."""
        for column in run.columns:
            if column.outcome is not None and column not in self._written_columns:
                self._written_columns.add(column)
                block = _column_text(column.label, column.outcome, schema=self._schema)
                sys.stdout.write(f"{block}\n\n")
        sys.stdout.flush()

    def finish(self, run: ComparisonRun) -> None:
        """Write the remaining answers, then the names of the fastest and the cheapest model."""
        self.update(run)
        labelled_badges = zip(run.comparison.labels, run.comparison.marks(), strict=True)
        line = " · ".join(
            f"{label}: {', '.join(badges)}" for label, badges in labelled_badges if badges
        )
        sys.stdout.write(f"[{plain(line)}]\n" if line else "")
        sys.stdout.flush()


def show_comparison(run: ComparisonRun, view: ColumnsView) -> Comparison:
    """Run a comparison and show it; Ctrl-C stops all columns and keeps their partial answers.

    Raises:
        KeyboardInterrupt: If the user stops the run; the partial answers have then been shown.
    """
    with _finish_on_exit(run, view):
        return run.run(lambda: view.update(run), INTERVAL)


async def ashow_comparison(run: ComparisonRun, view: ColumnsView) -> Comparison:
    """Run a comparison and show it, on an event loop; see `show_comparison`."""
    with _finish_on_exit(run, view):
        return await run.arun(lambda: view.update(run), INTERVAL)


@contextlib.contextmanager
def _finish_on_exit(run: ComparisonRun, view: ColumnsView) -> Iterator[None]:
    """Show the answers of a run when it ends, including partial answers if it is stopped."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        with ignore_interrupts():
            # The run is stopped first, so that no answer changes while the answers are shown.
            run.stop()
            view.finish(run)
            raise with_short_traceback(interrupt) from None
    except asyncio.CancelledError:
        clear_cancellation()
        view.finish(run)
        raise with_short_traceback(KeyboardInterrupt()) from None
    view.finish(run)


def _state(column: Column) -> AnswerState:
    """Return the values that determine how an answer is rendered."""
    outcome = column.outcome
    if isinstance(outcome, Reply):
        # -1 differs from every length, so the complete answer is always rendered once.
        return AnswerState(-1, 0, _summary(outcome))
    if outcome is not None or column.partial is None:
        return AnswerState(-1, 0, "")
    return answer_state(column.partial)


def _summary(reply: Reply) -> str:
    return reply_summary(reply, "interrupted" if reply.interrupted else "")


def _render_json(outcome: Outcome, schema: ResponseSchema | None) -> Rendered | None:
    """Return an answer as JSON; ``None`` if there is no schema or no answer."""
    if schema is None or not isinstance(outcome, Reply):
        return None
    return render("json", outcome, schema)


def _column_text(
    label: str,
    outcome: Outcome,
    badges: Sequence[str] = (),
    schema: ResponseSchema | None = None,
) -> str:
    name = plain(" · ".join([label, *badges]))
    summary_line, text_above, text_below = "", "", error_text(outcome)
    if isinstance(outcome, Reply):
        summary_line, text_below = f"[{_summary(outcome)}]", details_text(outcome)
        text_above = calls_text(outcome.steps)
    json_answer = _render_json(outcome, schema)
    answer = json_answer.text if json_answer else answer_text(outcome)
    parts = (name, "-" * len(name), text_above, answer, text_below, summary_line)
    return "\n".join(plain(part) for part in parts if part)
