"""Display of several answers: columns in a notebook, one after another in a terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gatewayx_nb.comparisons import answer_text, error_text
from gatewayx_nb.display.answer import Output, figures, uncancel, undisturbed, waiting
from gatewayx_nb.display.throttle import INTERVAL
from gatewayx_nb.errors import with_short_traceback
from gatewayx_nb.html import IncrementalRenderer, column_html, columns_html, reply_html
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayx_nb.comparisons import Column, Comparison, ComparisonRun, Outcome


_SHARE = 5
"""Rendering several answers may take a fifth of a core, where one answer may take a tenth."""


class ColumnsView(Protocol):
    """A place where several answers are shown."""

    def update(self, race: ComparisonRun) -> None:
        """Show the partial answer, if an update is due."""

    def finish(self, race: ComparisonRun) -> None:
        """Show all complete answers with their figures, marking the fastest and the cheapest."""


class QuietColumns:
    """View that shows nothing."""

    def update(self, race: ComparisonRun) -> None:
        """Show nothing."""

    def finish(self, race: ComparisonRun) -> None:
        """Show nothing."""


class WholeColumns(QuietColumns):
    """View that shows the answers once all are complete.

    Args:
        view: The underlying view.
    """

    def __init__(self, view: ColumnsView) -> None:
        self._view = view

    @override
    def finish(self, race: ComparisonRun) -> None:
        self._view.finish(race)


class NotebookColumns:
    """A single display for all columns, updated in place, so that a notebook saves them once.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = Output(clock, _SHARE)
        self._state: list[tuple[int, str]] = []
        self._growing: dict[Column, IncrementalRenderer] = {}
        self._answers: dict[Column, tuple[tuple[int, str], str]] = {}

    def update(self, race: ComparisonRun) -> None:
        """Show the partial answers, if they have changed and an update is due.

        An immediate replay is shown once, at its end.
        """
        live = [column.partial for column in race.columns if column.partial is not None]
        if not self._output.throttle.is_due or all(partial.instant for partial in live):
            return
        with self._output.throttle.timed():
            state = [_state(column) for column in race.columns]
            if state != self._state:
                names = ", ".join(column.label for column in race.columns)
                self._output.show(f"{names} …", self._html(race, state))
                self._state = state

    def finish(self, race: ComparisonRun) -> None:
        """Show all complete answers with their figures and marks."""
        state = [_state(column) for column in race.columns]
        self._output.show(_text(race.comparison), self._html(race, state, race.comparison.marks()))

    def _html(
        self, race: ComparisonRun, state: list[tuple[int, str]], marks: Sequence[Sequence[str]] = ()
    ) -> str:
        given = marks or [()] * len(state)
        return columns_html(
            [
                column_html(column.label, self._answer(column, line), best, _fault(column))
                for column, line, best in zip(race.columns, state, given, strict=True)
            ]
        )

    def _answer(self, column: Column, state: tuple[int, str]) -> str:
        """Render an answer, or return the previous rendering if it is unchanged."""
        known, html = self._answers.get(column, (None, ""))
        if known != state:
            if column.outcome is not None:
                thoughts = getattr(column.outcome, "reasoning", "")
                html = reply_html(answer_text(column.outcome), footer=state[1], reasoning=thoughts)
            elif column.partial is not None:
                text = "".join(column.partial.text)
                body = self._growing.setdefault(column, IncrementalRenderer())(text) if text else ""
                thoughts = "".join(column.partial.reasoning)
                html = reply_html(text, status=state[1], reasoning=thoughts, body=body)
            self._answers[column] = state, html
        return html


class TerminalColumns:
    """Plain text: each answer below its name, as soon as it is complete."""

    def __init__(self) -> None:
        self._written: set[Column] = set()

    def update(self, race: ComparisonRun) -> None:
        """Write the answers completed since the last update."""
        for column in race.columns:
            if column.outcome is not None and column not in self._written:
                self._written.add(column)
                sys.stdout.write(f"{_block(column.label, column.outcome)}\n\n")
        sys.stdout.flush()

    def finish(self, race: ComparisonRun) -> None:
        """Write the rest, and which answers were the fastest and the cheapest."""
        self.update(race)
        marks = zip(race.comparison.labels, race.comparison.marks(), strict=True)
        line = " · ".join(f"{label}: {', '.join(best)}" for label, best in marks if best)
        sys.stdout.write(f"[{plain(line)}]\n" if line else "")
        sys.stdout.flush()


def watch(race: ComparisonRun, view: ColumnsView) -> Comparison:
    """Run a race and show it; Ctrl-C stops all columns and keeps their partial answers.

    Raises:
        KeyboardInterrupt: If stopped; the partial answers have been shown.
    """
    try:
        race.run(lambda: view.update(race), INTERVAL)
    except KeyboardInterrupt as stop:
        with undisturbed():
            race.stop()
            view.finish(race)
            raise with_short_traceback(stop) from None
    view.finish(race)
    return race.comparison


async def awatch(race: ComparisonRun, view: ColumnsView) -> Comparison:
    """Run a race and show it, on an event loop; see `watch`."""
    try:
        await race.arun(lambda: view.update(race), INTERVAL)
    except asyncio.CancelledError:
        uncancel()
        view.finish(race)
        raise with_short_traceback(KeyboardInterrupt()) from None
    view.finish(race)
    return race.comparison


def _state(column: Column) -> tuple[int, str]:
    """Return the state that determines an answer's rendering: its length and its status line."""
    outcome = column.outcome
    if isinstance(outcome, Reply):
        return -1, _figures(outcome)
    if outcome is not None or column.partial is None:
        return -1, ""
    partial = column.partial
    return len(partial.text) + len(partial.reasoning), waiting(partial)


def _figures(reply: Reply) -> str:
    return figures(reply, "interrupted" if reply.interrupted else "")


def _fault(column: Column) -> str:
    return "" if column.outcome is None else error_text(column.outcome)


def _text(comparison: Comparison) -> str:
    """Return the whole comparison as text."""
    columns = zip(comparison.labels, comparison.outcomes, comparison.marks(), strict=True)
    return "\n\n".join(_block(label, outcome, best) for label, outcome, best in columns)


def _block(label: str, outcome: Outcome, best: Sequence[str] = ()) -> str:
    name = plain(" · ".join([label, *best]))
    line = f"[{_figures(outcome)}]" if isinstance(outcome, Reply) else ""
    parts = (name, "-" * len(name), answer_text(outcome), error_text(outcome), line)
    return "\n".join(plain(part) for part in parts if part)
