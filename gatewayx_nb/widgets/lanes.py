"""The columns of one question, and the votes below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ipywidgets

from gatewayx_nb import rendering
from gatewayx_nb.messages import Reply
from gatewayx_nb.widgets.controls import button, put, show_if
from gatewayx_nb.widgets.pages import Page, compared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from gatewayx_nb.comparisons import Column, Vote
    from gatewayx_nb.widgets.contest import Contest
    from gatewayx_nb.widgets.pages import Mode

    class Hands(Protocol):
        """What pressing a button in a lane does."""

        def stop_one(self, row: int, place: int) -> None:
            """Stop one column."""

        def retry(self, row: int, place: int) -> None:
            """Ask one model again."""

        def judge(self, row: int, vote: Vote, place: int | None = None) -> None:
            """Vote."""

        def remark(self, row: int, note: str) -> None:
            """Note why."""


_NARROWEST = "16em"
_GRID = {
    "display": "grid",
    "grid_template_columns": f"repeat(auto-fit, minmax(min({_NARROWEST}, 100%), 1fr))",
    "grid_gap": "1em",
    "width": "100%",
}


class Pane:
    """One column: a name, an answer, and what can be done with it."""

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
        """Show a column's name, and the buttons that do something now."""
        put(self._head, rendering.heading_html(label, marks))
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
        """Show what has come of an answer, where that is news."""
        if self._page is None or self._page.column is not column:
            self._page = Page(column)
        page = self._page.news(mode, hidden=hidden)
        if page is not None:
            self.put(page)

    def put(self, page: str) -> None:
        """Show this in the answer's place."""
        self.length = len(page)
        put(self._body, page)

    def forget(self) -> None:
        """Let go of the answer that was shown; the next one is shown anew."""
        self._page = None


class Lane:
    """One question: what `{{input}}` stands for, the columns, the votes.

    Args:
        row: Which of the run, from 0.
        hands: What its buttons do.
    """

    def __init__(self, row: int, hands: Hands) -> None:
        self._row, self._hands = row, hands
        self._input = ipywidgets.HTML()
        self._panes: list[Pane] = []
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
        """Characters of HTML that its columns hold."""
        return sum(pane.length for pane in self._panes)

    @property
    def parts(self) -> list[ipywidgets.Widget]:
        """What it shows, and the columns that it showed before."""
        return [self.box, *(pane.box for pane in self._panes)]

    def show(self, contest: Contest, mode: Mode) -> None:
        """Show how the question stands."""
        asked = contest.rounds[self._row]
        count = len(asked.columns)
        while len(self._panes) < count:
            self._panes.append(self._pane(len(self._panes)))
        panes = self._panes[:count]
        boxes = tuple(pane.box for pane in panes)
        if self._columns.children != boxes:
            self._columns.children = boxes
        put(self._input, f"<strong>{rendering.escape(asked.input)}</strong>" if asked.input else "")
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

    def _answers(self, contest: Contest, panes: Sequence[Pane], mode: Mode) -> None:
        asked, hidden = contest.rounds[self._row], contest.is_hidden(self._row)
        if mode == "differences" and asked.ended and len(panes) > 1:
            pages = compared(asked.comparison.outcomes, hidden=hidden)
            for pane, page in zip(panes, pages, strict=True):
                pane.forget()
                pane.put(page)
            return
        for pane, column in zip(panes, asked.columns, strict=True):
            pane.answer(column, mode, hidden=hidden)

    def _marks(self, contest: Contest, count: int) -> list[list[str]]:
        """Give what each column is best in, once all have ended and names are told."""
        asked, record = contest.rounds[self._row], contest.record(self._row)
        if not asked.ended or contest.is_hidden(self._row):
            return [[] for _ in range(count)]
        marks = asked.comparison.marks()
        if record and record.verdict and record.verdict.winner is not None:
            marks[record.verdict.winner].append("better")
        return marks

    def _pane(self, place: int) -> Pane:
        row, hands = self._row, self._hands
        return Pane(
            lambda: hands.stop_one(row, place),
            lambda: hands.retry(row, place),
            lambda: hands.judge(row, "better", place),
        )
