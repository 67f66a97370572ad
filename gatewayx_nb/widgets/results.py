"""Shows the statistics and rankings of a view's runs, and exports the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb.comparisons import FILE_FORMATS, dispersion
from gatewayx_nb.html import escape, highlight, table_html
from gatewayx_nb.text import shorten
from gatewayx_nb.widgets.controls import LABEL_STYLE, ROW_LAYOUT, button, set_visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gatewayx_nb.comparisons import ComparisonSession, Dispersion, LiveComparison, ModelScore
    from gatewayx_nb.text import Align

_MAX_INPUT_LENGTH = 40
_RANKING_ALIGNS: Sequence[Align] = ("left", "right", "right", "right", "right", "right")


class ResultsPanel:
    """The tables below the replies and the export controls; hidden before the first run.

    Args:
        on_save: Writes all results to a file.
        on_code: Shows the code of a cell that repeats the run.
    """

    def __init__(self, on_save: Callable[[], object], on_code: Callable[[], object]) -> None:
        self._tables, self._code = ipywidgets.HTML(), ipywidgets.HTML()
        self._saved_note = ipywidgets.HTML()
        self._format = ipywidgets.Dropdown(
            options=[(name, suffix) for suffix, name in FILE_FORMATS.items()],
            description="Results",
            layout={"width": "auto"},
            style=dict(LABEL_STYLE),
        )
        save_button = button("Save", on_save, "Write all results to a new file")
        code_button = button("As code", on_code, "Show the code of a cell that repeats this run")
        # The page copies the code, because a kernel cannot access the clipboard. `keyboard.js`
        # finds the button and the code by their classes.
        self._copy_button = button("Copy", lambda: None, "Copy the code to the clipboard")
        self._copy_button.add_class("gatewayx-copy")
        self._code.add_class("gatewayx-code")
        self._copy_button.layout.align_self = "flex-end"
        set_visible(self._copy_button, visible=False)
        controls = [self._format, save_button, self._saved_note, code_button]
        self.box = ipywidgets.VBox(
            [
                self._tables,
                ipywidgets.HBox(controls, layout=dict(ROW_LAYOUT)),
                self._copy_button,
                self._code,
            ]
        )
        set_visible(self.box, visible=False)

    @property
    def suffix(self) -> str:
        """The suffix of the selected file format."""
        return str(self._format.value)

    def show(self, session: ComparisonSession, *, hide_names: bool) -> None:
        """Show the current metrics after a run or a vote.

        Args:
            session: The session with the runs.
            hide_names: Whether to omit the dispersion of the last run, which would reveal the
                names of the models.
        """
        dispersion_html = "" if hide_names else dispersion_table(session.comparisons)
        self._tables.value = dispersion_html + ranking_table(session.history.rankings())
        set_visible(self.box, visible=True)

    def show_code(self, code: str) -> None:
        """Show the code of a cell."""
        self._code.value = highlight(code, "python") if code else ""
        set_visible(self._copy_button, visible=bool(code))

    def show_saved(self, path: Path) -> None:
        """Show the path of the saved results next to the button."""
        self._saved_note.value = f'<span role="status">Saved {escape(str(path))}</span>'


def dispersion_table(comparisons: Sequence[LiveComparison]) -> str:
    """Return a table of the dispersion of models with several samples; empty if there are none."""
    rows = [
        [shorten(live.input, _MAX_INPUT_LENGTH), *_dispersion_cells(model)]
        for live in comparisons
        for model in dispersion(live.comparison)
    ]
    columns = ["input", "model", "answers", "different", "seconds", "tokens out"]
    if len(comparisons) == 1:  # there is at most one input
        rows, columns = [row[1:] for row in rows], columns[1:]
    return table_html(columns, rows) if rows else ""


def ranking_table(rankings: Sequence[ModelScore]) -> str:
    """Return a table of wins, ties and losses; empty before the first vote."""
    columns = ["model", "wins", "ties", "losses", "bad", "win rate"]
    rows = []
    for row in rankings:
        win_rate = "" if row.win_rate is None else f"{row.win_rate:.0%}"
        counts = map(str, (row.wins, row.ties, row.losses, row.bad))
        rows.append([row.reference, *counts, win_rate])
    return table_html(columns, rows, _RANKING_ALIGNS) if rows else ""


def _dispersion_cells(row: Dispersion) -> list[str]:
    ranges = _range_text(row.latency, "{:.1f}"), _range_text(row.output_tokens, "{:.0f}")
    return [row.reference, str(row.answers), str(row.different), *ranges]


def _range_text(values: tuple[float, float, float] | None, template: str) -> str:
    """Return the median, with the minimum and the maximum in parentheses."""
    if values is None:
        return "?"
    minimum, median, maximum = map(template.format, values)
    return f"{median} ({minimum} to {maximum})"
