"""Several answers shown while they come: columns in a notebook, one after another in a terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gatewayx_nb.comparisons import fault, said
from gatewayx_nb.display.answer import Output, figures, uncancel, undisturbed, waiting
from gatewayx_nb.display.throttle import INTERVAL
from gatewayx_nb.errors import in_one_line
from gatewayx_nb.growing import Growing
from gatewayx_nb.messages import Reply
from gatewayx_nb.rendering import column_html, columns_html, plain, reply_html

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayx_nb.comparisons import Column, Comparison, Outcome, Race


_SHARE = 5
"""Several answers may take a fifth of a core to render, where one may take a tenth."""


class ColumnsView(Protocol):
    """Where several answers are shown."""

    def update(self, race: Race) -> None:
        """Show what has arrived, if the last update is long enough ago."""

    def finish(self, race: Race) -> None:
        """Show all answers whole, with their figures, the fastest and the cheapest marked."""


class QuietColumns:
    """Shows nothing."""

    def update(self, race: Race) -> None:
        """Show nothing."""

    def finish(self, race: Race) -> None:
        """Show nothing."""


class WholeColumns(QuietColumns):
    """Shows answers when all are whole.

    Args:
        view: Where they are shown.
    """

    def __init__(self, view: ColumnsView) -> None:
        self._view = view

    @override
    def finish(self, race: Race) -> None:
        self._view.finish(race)


class NotebookColumns:
    """One display for all, updated in place, so that a notebook saves them once.

    Args:
        clock: Gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = Output(clock, _SHARE)
        self._state: list[tuple[int, str]] = []
        self._growing: dict[Column, Growing] = {}
        self._answers: dict[Column, tuple[tuple[int, str], str]] = {}

    def update(self, race: Race) -> None:
        """Show what has arrived, if there is news and the last update is long enough ago.

        What is played back at once is shown once, at its end.
        """
        live = [column.tally for column in race.columns if column.tally is not None]
        if not self._output.throttle.is_due or all(tally.at_once for tally in live):
            return
        with self._output.throttle.timed():
            state = [_state(column) for column in race.columns]
            if state != self._state:
                names = ", ".join(column.label for column in race.columns)
                self._output.show(f"{names} …", self._html(race, state))
                self._state = state

    def finish(self, race: Race) -> None:
        """Show all answers whole, with their figures and marks."""
        state = [_state(column) for column in race.columns]
        self._output.show(_text(race.comparison), self._html(race, state, race.comparison.marks()))

    def _html(
        self, race: Race, state: list[tuple[int, str]], marks: Sequence[Sequence[str]] = ()
    ) -> str:
        given = marks or [()] * len(state)
        return columns_html(
            [
                column_html(column.label, self._answer(column, line), best, _fault(column))
                for column, line, best in zip(race.columns, state, given, strict=True)
            ]
        )

    def _answer(self, column: Column, state: tuple[int, str]) -> str:
        """Render an answer, unless it stands there as it was."""
        known, html = self._answers.get(column, (None, ""))
        if known != state:
            if column.outcome is not None:
                thoughts = getattr(column.outcome, "reasoning", "")
                html = reply_html(said(column.outcome), footer=state[1], reasoning=thoughts)
            elif column.tally is not None:
                text = "".join(column.tally.text)
                body = self._growing.setdefault(column, Growing())(text) if text else ""
                thoughts = "".join(column.tally.reasoning)
                html = reply_html(text, status=state[1], reasoning=thoughts, body=body)
            self._answers[column] = state, html
        return html


class TerminalColumns:
    """Plain text: each answer below its name, when it is there."""

    def __init__(self) -> None:
        self._written: set[Column] = set()

    def update(self, race: Race) -> None:
        """Write what has ended since the last time."""
        for column in race.columns:
            if column.outcome is not None and column not in self._written:
                self._written.add(column)
                sys.stdout.write(f"{_block(column.label, column.outcome)}\n\n")
        sys.stdout.flush()

    def finish(self, race: Race) -> None:
        """Write the rest, and who was the fastest and the cheapest."""
        self.update(race)
        marks = zip(race.comparison.labels, race.comparison.marks(), strict=True)
        line = " · ".join(f"{label}: {', '.join(best)}" for label, best in marks if best)
        sys.stdout.write(f"[{plain(line)}]\n" if line else "")
        sys.stdout.flush()


def watch(race: Race, view: ColumnsView) -> Comparison:
    """Run a race and show it; Ctrl-C stops all columns and keeps what came.

    Raises:
        KeyboardInterrupt: It was stopped, after what had come was shown.
    """
    try:
        race.run(lambda: view.update(race), INTERVAL)
    except KeyboardInterrupt as stop:
        with undisturbed():
            race.stop()
            view.finish(race)
            raise in_one_line(stop) from None
    view.finish(race)
    return race.comparison


async def awatch(race: Race, view: ColumnsView) -> Comparison:
    """Run a race and show it, on an event loop; see `watch`."""
    try:
        await race.arun(lambda: view.update(race), INTERVAL)
    except asyncio.CancelledError:
        uncancel()
        view.finish(race)
        raise in_one_line(KeyboardInterrupt()) from None
    view.finish(race)
    return race.comparison


def _state(column: Column) -> tuple[int, str]:
    """Give what an answer's look depends on: how much there is, and the line below it."""
    outcome = column.outcome
    if isinstance(outcome, Reply):
        return -1, _figures(outcome)
    if outcome is not None or column.tally is None:
        return -1, ""
    tally = column.tally
    return len(tally.text) + len(tally.reasoning), waiting(tally)


def _figures(reply: Reply) -> str:
    return figures(reply, "interrupted" if reply.interrupted else "")


def _fault(column: Column) -> str:
    return "" if column.outcome is None else fault(column.outcome)


def _text(comparison: Comparison) -> str:
    """Give all of it as text."""
    columns = zip(comparison.labels, comparison.outcomes, comparison.marks(), strict=True)
    return "\n\n".join(_block(label, outcome, best) for label, outcome, best in columns)


def _block(label: str, outcome: Outcome, best: Sequence[str] = ()) -> str:
    name = plain(" · ".join([label, *best]))
    line = f"[{_figures(outcome)}]" if isinstance(outcome, Reply) else ""
    parts = (name, "-" * len(name), said(outcome), fault(outcome), line)
    return "\n".join(plain(part) for part in parts if part)
