"""The results of a view's runs: dispersion of samples, ranking by votes, files, code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb.comparisons import FILE_FORMATS, dispersion
from gatewayx_nb.html import code_block, escape, table_html
from gatewayx_nb.text import shorten
from gatewayx_nb.widgets.controls import button, show_if

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatewayx_nb.comparisons import ComparisonSession, Dispersion, LiveComparison, Ranking

_LONGEST_INPUT = 40


class Results:
    """The tables below the replies and the export controls; hidden before the first run.

    Args:
        save: Writes all results to a file.
        code: Shows the cell that repeats the run.
    """

    def __init__(self, save: Callable[[], object], code: Callable[[], object]) -> None:
        self._metrics, self._code = ipywidgets.HTML(), ipywidgets.HTML()
        self._format = ipywidgets.Dropdown(
            options=[(name, suffix) for suffix, name in FILE_FORMATS.items()],
            description="Results",
            layout={"width": "auto"},
        )
        save_button = button("Save", save, "Write all results to a new file")
        code_button = button("As code", code, "Show the code of a cell that repeats this run")
        self.box = ipywidgets.VBox(
            [self._metrics, ipywidgets.HBox([self._format, save_button, code_button]), self._code]
        )
        show_if(self.box, shown=False)

    @property
    def suffix(self) -> str:
        """The suffix of the files to write."""
        return str(self._format.value)

    def show(self, session: ComparisonSession, *, hidden: bool) -> None:
        """Show the current metrics after a run or a vote.

        Args:
            session: The runs.
            hidden: Whether names, and the metrics of the last run that reveal them, are hidden.
        """
        dispersions = "" if hidden else dispersion_table(session.comparisons)
        self._metrics.value = dispersions + ranking_table(session.history.rankings())
        show_if(self.box, shown=True)

    def show_code(self, code: str) -> None:
        """Show a cell."""
        self._code.value = code_block(escape(code)) if code else ""


def dispersion_table(comparisons: Sequence[LiveComparison]) -> str:
    """Return the dispersion of each model with several samples; empty if there is none."""
    rows = [
        [shorten(one.input, _LONGEST_INPUT), *_dispersion_cells(measured)]
        for one in comparisons
        for measured in dispersion(one.comparison)
    ]
    columns = ["input", "model", "answers", "different", "seconds", "tokens out"]
    if len(comparisons) == 1:  # no input, or only one
        rows, columns = [row[1:] for row in rows], columns[1:]
    return table_html(columns, rows) if rows else ""


def ranking_table(rankings: Sequence[Ranking]) -> str:
    """Return wins, ties and losses; empty before the first vote."""
    rows = [
        [one.reference, *map(str, (one.wins, one.ties, one.losses, one.bad)), _share(one.win_rate)]
        for one in rankings
    ]
    columns = ["model", "wins", "ties", "losses", "bad", "win rate"]
    return table_html(columns, rows) if rows else ""


def _dispersion_cells(one: Dispersion) -> list[str]:
    ranges = _range(one.latency, "{:.1f}"), _range(one.output_tokens, "{:.0f}")
    return [one.reference, str(one.answers), str(one.different), *ranges]


def _range(values: tuple[float, float, float] | None, template: str) -> str:
    """Return the median and the range of the values."""
    if values is None:
        return "?"
    least, middle, most = map(template.format, values)
    return f"{middle} ({least} to {most})"


def _share(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"
