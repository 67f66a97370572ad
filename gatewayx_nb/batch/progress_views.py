"""Displays progress in terminals and logs; a notebook can register its own display."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb.text import one_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.batch.figures import MapFigures

_LOG_INTERVAL = 60.0
"""Seconds between lines in a log."""

_BAR_FORMAT = "{bar:16} {desc}"


class ProgressView(Protocol):
    """Displays the progress of one map."""

    def show(self, figures: MapFigures) -> None:
        """Show the figures; called about ten times a second."""

    def close(self, figures: MapFigures) -> None:
        """Show the final figures."""


class SilentView:
    """Displays nothing."""

    def show(self, figures: MapFigures) -> None:
        """Do nothing."""

    def close(self, figures: MapFigures) -> None:
        """Do nothing."""


class TerminalBar:
    """A progress bar in a terminal; at the end, a summary replaces the bar."""

    def __init__(self) -> None:
        from tqdm import tqdm  # imported on first use, because most calls need no bar

        self._bar = tqdm(bar_format=_BAR_FORMAT, file=sys.stderr, leave=False, dynamic_ncols=True)

    def show(self, figures: MapFigures) -> None:
        """Redraw the bar."""
        self._bar.total = figures.total
        self._bar.n = figures.done
        self._bar.set_description_str(_progress_line(figures), refresh=False)
        self._bar.refresh()

    def close(self, figures: MapFigures) -> None:
        """Replace the bar with the summary."""
        self._bar.close()
        _print(_summary(figures))


class LogView:
    """Prints a line per minute if there is no terminal, and a summary at the end.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._printed_at = clock()

    def show(self, figures: MapFigures) -> None:
        """Print a line if a minute has passed."""
        now = self._clock()
        if now - self._printed_at >= _LOG_INTERVAL:
            self._printed_at = now
            _print([_progress_line(figures)])

    def close(self, figures: MapFigures) -> None:
        """Print the summary."""
        _print(_summary(figures))


def _progress_line(figures: MapFigures) -> str:
    details = "".join(f". {text}" for text in (figures.problem, figures.note) if text)
    return f"{_job_name(figures)}: {figures.progress_line()}{plain(details)}"


def _job_name(figures: MapFigures) -> str:
    return one_line(figures.name)


def _summary(figures: MapFigures) -> list[str]:
    first, *other_lines = figures.summary_lines()
    return [f"{_job_name(figures)}: {first}", *other_lines]


def _print(lines: list[str]) -> None:
    with contextlib.suppress(OSError):  # a full disk must not end a map
        for line in lines:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - the requested output


def default_view() -> ProgressView:
    """Return a `TerminalBar` if stderr is a terminal, and `LogView` otherwise."""
    return TerminalBar() if sys.stderr is not None and sys.stderr.isatty() else LogView()


class _ViewFactory:
    """Holds the function that creates a map's display."""

    def __init__(self) -> None:
        self.create: Callable[[], ProgressView] = default_view


view_factory = _ViewFactory()


def use_view(create: Callable[[], ProgressView]) -> None:
    """Set the function that creates the display of each map; a notebook registers its own."""
    view_factory.create = create
