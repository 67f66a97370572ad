"""The results of the runs of a view: metrics, files, code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb.html import code_block, escape
from gatewayx_nb.widgets import tables
from gatewayx_nb.widgets.controls import button, show_if
from gatewayx_nb.widgets.saving import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.comparisons import ComparisonSession


class Results:
    """The tables below the replies and the export controls; hidden before the first run.

    Args:
        save: Writes all results to a file.
        code: Shows the cell that repeats the run.
    """

    def __init__(self, save: Callable[[], object], code: Callable[[], object]) -> None:
        self._figures, self._code = ipywidgets.HTML(), ipywidgets.HTML()
        self._kind = ipywidgets.Dropdown(
            options=[(kind, ending) for ending, kind in KINDS.items()],
            description="Results",
            layout={"width": "auto"},
        )
        keep = button("Save", save, "Write all results into a new file")
        show = button("As code", code, "Show the cell that asks this again")
        self.box = ipywidgets.VBox(
            [self._figures, ipywidgets.HBox([self._kind, keep, show]), self._code]
        )
        show_if(self.box, shown=False)

    @property
    def ending(self) -> str:
        """The suffix of the files to write."""
        return str(self._kind.value)

    def show(self, contest: ComparisonSession, *, hidden: bool) -> None:
        """Show the current metrics after a run or a vote.

        Args:
            contest: The runs.
            hidden: Whether names, and the metrics of the last run that reveal them, are hidden.
        """
        spreads = "" if hidden else tables.spreads(contest.comparisons)
        self._figures.value = spreads + tables.standings(contest.history.rankings())
        show_if(self.box, shown=True)

    def show_code(self, code: str) -> None:
        """Show a cell."""
        self._code.value = code_block(escape(code)) if code else ""
