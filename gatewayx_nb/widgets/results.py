"""What comes out of the runs of a view: figures, files, code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb import rendering
from gatewayx_nb.widgets import tables
from gatewayx_nb.widgets.controls import button, show_if
from gatewayx_nb.widgets.saving import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.widgets.contest import Contest


class Results:
    """The tables below the answers, and what takes them along; hidden before the first run.

    Args:
        save: Writes all results into a file.
        code: Shows the cell that asks the same again.
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
        """The ending of the files that are written."""
        return str(self._kind.value)

    def show(self, contest: Contest, *, hidden: bool) -> None:
        """Show the figures as they are after a run or a vote.

        Args:
            contest: The runs.
            hidden: Whether names are hidden, and with them what tells of the last run.
        """
        spreads = "" if hidden else tables.spreads(contest.rounds)
        self._figures.value = spreads + tables.standings(contest.journal.standings())
        show_if(self.box, shown=True)

    def show_code(self, code: str) -> None:
        """Show a cell."""
        self._code.value = rendering.code_block(rendering.escape(code)) if code else ""
