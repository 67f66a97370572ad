"""Shows the progress of a map in a notebook; at the end, a summary replaces the progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatewayx_nb.batch import duration
from gatewayx_nb.display.answer import UpdatableDisplay
from gatewayx_nb.html import progress_html, summary_html
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.batch import MapFigures

_MAX_ANSWER_LENGTH = 160
"""Maximum number of characters to show of each answer."""

_LINE_COUNT = 3
"""Number of lines for the latest answers; it is constant, so that the display keeps its height."""

_UNKNOWN_TEXT = "?"


class NotebookMapView:
    """Shows a progress bar, figures and the latest answers, and a summary at the end.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._display = UpdatableDisplay(clock)
        self._html = ""

    def show(self, figures: MapFigures) -> None:
        """Show the figures, if an update is due."""
        if not self._display.throttle.is_due:
            return
        with self._display.throttle.measure():
            labelled_values, lines = _labelled_values(figures), _lines(figures)
            html = progress_html(_title(figures), _shares(figures), labelled_values, lines)
            html += figures.detail_html() if figures.detail_html else ""
            if html != self._html:
                self._display.show(f"{figures.name}: {figures.progress_line()}", html)
            self._html = html

    def close(self, figures: MapFigures) -> None:
        """Show the summary, which the notebook saves."""
        first, *other_lines = figures.summary_lines()
        errors = figures.error_lines()
        lines = [first, *other_lines[len(errors) :]]
        html = summary_html(_title(figures), _shares(figures), lines, errors)
        self._display.show("\n".join([first, *other_lines]), html)


def _title(figures: MapFigures) -> tuple[str, str, str]:
    return figures.name, figures.state, figures.rows_text()


def _shares(figures: MapFigures) -> tuple[float, float]:
    """Return the shares of answered and failed rows; 0 if the number of rows is unknown."""
    total = figures.total or 0
    if not total:
        return float(figures.state == "done"), 0.0
    return figures.answered / total, figures.failed / total


def _labelled_values(figures: MapFigures) -> list[tuple[str, str]]:
    seconds_left = figures.seconds_left()
    return [
        (f"{figures.unit}s/s", f"{figures.rate():,.1f}"),
        ("in flight", f"{figures.in_flight:,}"),
        ("429s", f"{figures.rate_limited:,}"),
        ("errors", f"{figures.failed:,}"),
        ("cost", figures.cost_text()),
        ("time left", _UNKNOWN_TEXT if seconds_left is None else duration(seconds_left)),
        ("bound by", figures.bound_by or _UNKNOWN_TEXT),
    ]


def _lines(figures: MapFigures) -> list[str]:
    """Return `_LINE_COUNT` lines: the problem and the note, if any, and the latest answers."""
    note = "" if figures.detail_html else figures.note
    lines = [line for line in (figures.problem, note) if line]
    lines += [
        f"{figures.row_name(position)}: {shorten(text, _MAX_ANSWER_LENGTH)}"
        for position, text in reversed(figures.latest)
    ]
    return [*lines, *[""] * _LINE_COUNT][:_LINE_COUNT]
