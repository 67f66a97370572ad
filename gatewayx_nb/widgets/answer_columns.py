"""Shows the answers to one prompt in columns, with voting controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb.html import escape, heading_html
from gatewayx_nb.replies import Reply
from gatewayx_nb.widgets.controls import button, set_children, set_html, set_visible
from gatewayx_nb.widgets.pages import AnswerRenderer, differences_html

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from gatewayx_nb.comparisons import Column, ComparisonSession, Vote
    from gatewayx_nb.widgets.pages import Mode

    class RowActions(Protocol):
        """The actions of the buttons in a row."""

        def stop_column(self, row: int, column: int) -> None:
            """Stop one column."""

        def retry(self, row: int, column: int) -> None:
            """Call the model in one column again."""

        def vote(self, row: int, vote: Vote, column: int | None = None) -> None:
            """Vote on the answers in a row."""

        def set_note(self, row: int, note: str) -> None:
            """Store the reason for a vote."""


# The grid has as many equal columns of at least 16em as fit, or one column on a narrow page.
_GRID_LAYOUT = {
    "display": "grid",
    "grid_template_columns": "repeat(auto-fit, minmax(min(16em, 100%), 1fr))",
    "grid_gap": "1em",
    "width": "100%",
}


class AnswerColumn:
    """One column: a name, an answer and its buttons."""

    def __init__(
        self,
        on_stop: Callable[[], None],
        on_retry: Callable[[], None],
        on_better: Callable[[], None],
    ) -> None:
        self._renderer: AnswerRenderer | None = None
        self._label = ""
        # With `HTMLMath`, the page typesets formulas as in a cell's output.
        self._head, self._body = ipywidgets.HTML(), ipywidgets.HTMLMath()
        self._stop_button = button("Stop", on_stop, "Stop this model and keep the partial answer")
        self._retry_button = button("Retry", on_retry, "Call this model again")
        self._better_button = button("Better", on_better, "This answer is better than the others")
        buttons = ipywidgets.HBox([self._stop_button, self._retry_button, self._better_button])
        self.box = ipywidgets.VBox([self._head, self._body, buttons])
        self.box.layout.overflow = "auto"
        self.box.layout.border_top = "2px solid rgba(128,128,128,.5)"
        self.html_length = 0

    def show(self, column: Column, label: str, marks: Sequence[str], *, can_vote: bool) -> None:
        """Show a column's name and the buttons that currently apply."""
        set_html(self._head, heading_html(label, marks))
        outcome = column.outcome
        is_complete = isinstance(outcome, Reply) and not outcome.interrupted
        set_visible(self._stop_button, visible=outcome is None)
        set_visible(self._retry_button, visible=outcome is not None and not is_complete)
        set_visible(self._better_button, visible=can_vote)
        self._better_button.button_style = "success" if "better" in marks else ""
        if label != self._label:
            self._label = label
            # A screen reader announces the tooltip, which distinguishes the otherwise identical
            # buttons of the columns.
            for control in (self._stop_button, self._retry_button, self._better_button):
                control.tooltip = f"{control.description}: {label}"

    def show_answer(self, column: Column, mode: Mode, *, hide_names: bool) -> None:
        """Show the answer if it has changed."""
        # A retry replaces the column, and its answer may be shorter than the previous one.
        if self._renderer is None or self._renderer.column is not column:
            self._renderer = AnswerRenderer(column)
        html = self._renderer.render_if_changed(mode, hide_names=hide_names)
        if html is not None:
            self.set_html(html)

    def set_html(self, html: str) -> None:
        """Show HTML instead of the rendered answer."""
        self.html_length = len(html)
        set_html(self._body, html)

    def invalidate(self) -> None:
        """Discard the rendered answer, so that the next answer to show is rendered again."""
        self._renderer = None


class ComparisonRow:
    """The row for one prompt: the value of `{{input}}`, the columns and the voting controls.

    Args:
        row: The row's index in the run, from 0.
        actions: The actions of the buttons.
    """

    def __init__(self, row: int, actions: RowActions) -> None:
        self._row, self._actions = row, actions
        self._input = ipywidgets.HTML()
        self._columns: list[AnswerColumn] = []
        self._grid = ipywidgets.Box(layout=dict(_GRID_LAYOUT))
        self._tie_button = button(
            "Tie", lambda: actions.vote(row, "tie"), "The answers are equally good"
        )
        self._bad_button = button("All bad", lambda: actions.vote(row, "bad"), "No answer is good")
        self._note = ipywidgets.Text(
            description="Note",
            placeholder="Why? (optional)",
            continuous_update=False,
            layout={"flex": "1 1 auto"},
            style={"description_width": "auto"},
        )
        self._note.observe(lambda change: actions.set_note(row, change["new"]), "value")
        self._votes = ipywidgets.HBox([self._tie_button, self._bad_button, self._note])
        self.box = ipywidgets.VBox([self._input, self._grid, self._votes])

    @property
    def html_length(self) -> int:
        """Number of characters of HTML in the columns."""
        return sum(column.html_length for column in self._columns)

    @property
    def widgets(self) -> list[ipywidgets.Widget]:
        """The row's widgets, including columns that are no longer shown."""
        return [self.box, *(column.box for column in self._columns)]

    def show(self, session: ComparisonSession, mode: Mode) -> None:
        """Show the current state of the row."""
        live = session.comparisons[self._row]
        count = len(live.columns)
        # Columns are reused, because ipywidgets never frees the columns of earlier runs by itself.
        while len(self._columns) < count:
            self._columns.append(self._create_column(len(self._columns)))
        columns = self._columns[:count]
        set_children(self._grid, tuple(column.box for column in columns))
        set_html(self._input, f"<strong>{escape(live.input)}</strong>" if live.input else "")
        self._show_answers(session, columns, mode)
        marks, can_vote = self._marks(session, count), live.ended and count > 1
        for index, column in enumerate(columns):
            label = session.label(self._row, index)
            column.show(live.columns[index], label, marks[index], can_vote=can_vote)
        record = session.record(self._row)
        set_visible(self._votes, visible=can_vote)
        verdict = record.verdict if record else None
        self._note.disabled = verdict is None
        self._note.value = verdict.note if verdict else ""
        for vote_button, vote in ((self._tie_button, "tie"), (self._bad_button, "bad")):
            vote_button.button_style = "success" if verdict and verdict.vote == vote else ""

    def _show_answers(
        self, session: ComparisonSession, columns: Sequence[AnswerColumn], mode: Mode
    ) -> None:
        live, hide_names = session.comparisons[self._row], session.is_hidden(self._row)
        if mode == "differences" and live.ended and len(columns) > 1:
            html_by_column = differences_html(live.comparison.outcomes, hide_names=hide_names)
            for column, html in zip(columns, html_by_column, strict=True):
                column.invalidate()
                column.set_html(html)
            return
        for column, answer in zip(columns, live.columns, strict=True):
            column.show_answer(answer, mode, hide_names=hide_names)

    def _marks(self, session: ComparisonSession, count: int) -> list[list[str]]:
        """Return each column's marks; empty until all columns have ended and names are visible."""
        live, record = session.comparisons[self._row], session.record(self._row)
        if not live.ended or session.is_hidden(self._row):
            return [[] for _ in range(count)]
        return record.marks() if record else live.comparison.marks()

    def _create_column(self, index: int) -> AnswerColumn:
        row, actions = self._row, self._actions
        return AnswerColumn(
            lambda: actions.stop_column(row, index),
            lambda: actions.retry(row, index),
            lambda: actions.vote(row, "better", index),
        )
