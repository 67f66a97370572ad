"""The columns of one question and their voting controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb.html import escape, heading_html
from gatewayx_nb.replies import Reply
from gatewayx_nb.widgets.controls import button, put, show_if
from gatewayx_nb.widgets.pages import Page, compared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from gatewayx_nb.comparisons import Column, ComparisonSession, Vote
    from gatewayx_nb.widgets.pages import Mode

    class Hands(Protocol):
        """The actions of the buttons in a lane."""

        def stop_one(self, row: int, place: int) -> None:
            """Stop one column."""

        def retry(self, row: int, place: int) -> None:
            """Call one model again."""

        def judge(self, row: int, vote: Vote, place: int | None = None) -> None:
            """Vote."""

        def remark(self, row: int, note: str) -> None:
            """Store the reason for a vote."""


_NARROWEST = "16em"
_GRID = {
    "display": "grid",
    "grid_template_columns": f"repeat(auto-fit, minmax(min({_NARROWEST}, 100%), 1fr))",
    "grid_gap": "1em",
    "width": "100%",
}


class AnswerColumn:
    """One column: a name, a reply and its buttons."""

    def __init__(
        self, stop: Callable[[], None], retry: Callable[[], None], better: Callable[[], None]
    ) -> None:
        self._page: Page | None = None
        self._label = ""
        self._head, self._body = ipywidgets.HTML(), ipywidgets.HTML()
        self._stop = button("Stop", stop, "Stop this one, and keep what has come")
        self._retry = button("Retry", retry, "Ask this model again")
        self._better = button("Better", better, "This answer is better than the others")
        buttons = ipywidgets.HBox([self._stop, self._retry, self._better])
        self.box = ipywidgets.VBox([self._head, self._body, buttons])
        self.box.layout.overflow = "auto"
        self.box.layout.border_top = "2px solid rgba(128,128,128,.5)"
        self.length = 0

    def show(self, column: Column, label: str, marks: Sequence[str], *, votes: bool) -> None:
        """Show a column's name and the buttons that apply now."""
        put(self._head, heading_html(label, marks))
        outcome = column.outcome
        whole = isinstance(outcome, Reply) and not outcome.interrupted
        show_if(self._stop, shown=outcome is None)
        show_if(self._retry, shown=outcome is not None and not whole)
        show_if(self._better, shown=votes)
        self._better.button_style = "success" if "better" in marks else ""
        if label != self._label:
            self._label = label
            for one in (self._stop, self._retry, self._better):
                one.tooltip = f"{one.description}: {label}"

    def answer(self, column: Column, mode: Mode, *, hidden: bool) -> None:
        """Show the reply if it has changed."""
        if self._page is None or self._page.column is not column:
            self._page = Page(column)
        page = self._page.news(mode, hidden=hidden)
        if page is not None:
            self.put(page)

    def put(self, page: str) -> None:
        """Show this page instead of the reply."""
        self.length = len(page)
        put(self._body, page)

    def forget(self) -> None:
        """Discard the shown reply, so that the next one is rendered again."""
        self._page = None


class ComparisonRow:
    """One question: the value of `{{input}}`, the columns, the votes.

    Args:
        row: Its index in the run, from 0.
        hands: The actions of its buttons.
    """

    def __init__(self, row: int, hands: Hands) -> None:
        self._row, self._hands = row, hands
        self._input = ipywidgets.HTML()
        self._panes: list[AnswerColumn] = []
        self._columns = ipywidgets.Box(layout=dict(_GRID))
        self._tie = button("Tie", lambda: hands.judge(row, "tie"), "The answers are as good")
        self._bad = button("All bad", lambda: hands.judge(row, "bad"), "No answer is good")
        self._note = ipywidgets.Text(
            description="Note",
            placeholder="why",
            continuous_update=False,
            layout={"flex": "1 1 auto"},
        )
        self._note.observe(lambda change: hands.remark(row, change["new"]), "value")
        self._votes = ipywidgets.HBox([self._tie, self._bad, self._note])
        self.box = ipywidgets.VBox([self._input, self._columns, self._votes])

    @property
    def length(self) -> int:
        """Characters of HTML in its columns."""
        return sum(pane.length for pane in self._panes)

    @property
    def parts(self) -> list[ipywidgets.Widget]:
        """Its widgets, including columns shown earlier."""
        return [self.box, *(pane.box for pane in self._panes)]

    def show(self, contest: ComparisonSession, mode: Mode) -> None:
        """Show the current state of the question."""
        asked = contest.comparisons[self._row]
        count = len(asked.columns)
        while len(self._panes) < count:
            self._panes.append(self._pane(len(self._panes)))
        panes = self._panes[:count]
        boxes = tuple(pane.box for pane in panes)
        if self._columns.children != boxes:
            self._columns.children = boxes
        put(self._input, f"<strong>{escape(asked.input)}</strong>" if asked.input else "")
        self._answers(contest, panes, mode)
        marks, votes = self._marks(contest, count), asked.ended and count > 1
        for place, pane in enumerate(panes):
            label = contest.label(self._row, place)
            pane.show(asked.columns[place], label, marks[place], votes=votes)
        record = contest.record(self._row)
        show_if(self._votes, shown=votes)
        verdict = record.verdict if record else None
        self._note.disabled = verdict is None
        self._note.value = verdict.note if verdict else ""
        for voter, vote in ((self._tie, "tie"), (self._bad, "bad")):
            voter.button_style = "success" if verdict and verdict.vote == vote else ""

    def _answers(
        self, contest: ComparisonSession, panes: Sequence[AnswerColumn], mode: Mode
    ) -> None:
        asked, hidden = contest.comparisons[self._row], contest.is_hidden(self._row)
        if mode == "differences" and asked.ended and len(panes) > 1:
            pages = compared(asked.comparison.outcomes, hidden=hidden)
            for pane, page in zip(panes, pages, strict=True):
                pane.forget()
                pane.put(page)
            return
        for pane, column in zip(panes, asked.columns, strict=True):
            pane.answer(column, mode, hidden=hidden)

    def _marks(self, contest: ComparisonSession, count: int) -> list[list[str]]:
        """Return what each column is best in, once all have finished and names are visible."""
        asked, record = contest.comparisons[self._row], contest.record(self._row)
        if not asked.ended or contest.is_hidden(self._row):
            return [[] for _ in range(count)]
        marks = asked.comparison.marks()
        if record and record.verdict and record.verdict.winner is not None:
            marks[record.verdict.winner].append("better")
        return marks

    def _pane(self, place: int) -> AnswerColumn:
        row, hands = self._row, self._hands
        return AnswerColumn(
            lambda: hands.stop_one(row, place),
            lambda: hands.retry(row, place),
            lambda: hands.judge(row, "better", place),
        )
