"""A view of an evaluation: its summary, and the answers to each row side by side."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import ipywidgets
from typing_extensions import override

from gatewayx_nb.errors import GatewayError, ProviderError
from gatewayx_nb.evaluation import cells_by_row, matching_rows, row_title, value_text
from gatewayx_nb.html import details, escape, heading_html, preformatted_html, reply_html
from gatewayx_nb.replies import Reply, Usage
from gatewayx_nb.text import counted
from gatewayx_nb.widgets.controls import (
    ROW_LAYOUT,
    button,
    close_all,
    marimo_note,
    set_children,
    set_html,
    set_visible,
)
from gatewayx_nb.widgets.keyboard import Keyboard
from gatewayx_nb.widgets.pages import differences_html, reply_footer

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.evaluation import Evaluation, GridCell, RowKind
    from gatewayx_nb.replies import FinishReason
    from gatewayx_nb.widgets.pages import Mode

_ROW_FILTERS = (
    ("All rows", "all"),
    ("Failed", "failed"),
    ("Variants differ", "differing"),
    ("Errors", "errors"),
)
_MAX_LISTED_ROWS = 500
"""Maximum number of rows in the list; a search finds further rows."""

_RERUN_NOTE = "Run this cell again for the controls."
_GRID_LAYOUT = {
    "display": "grid",
    "grid_template_columns": "repeat(auto-fit, minmax(min(16em, 100%), 1fr))",
    "grid_gap": "1em",
    "width": "100%",
}


class EvaluationView(ipywidgets.VBox):  # type: ignore[misc]
    """A view in which to filter the rows of an evaluation, compare the answers, and vote.

    A vote labels an answer as good or bad, and becomes the evaluation's score ``vote``.

    Args:
        evaluation: The evaluation.

    Attributes:
        evaluation: The evaluation, to which votes are added.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation
        self._cells = cells_by_row(evaluation)
        self._columns: list[_ScoredAnswer] = []
        super().__init__(self._create_widgets())
        self.add_class("gatewayx-view")
        self._show_summary()
        self._filter()

    @property
    def position(self) -> int | None:
        """Position of the row that is shown; ``None`` if no row matches."""
        return cast("int | None", self._rows.value)

    @override
    def close(self) -> None:
        close_all(*self.children, *(column.box for column in self._columns), self.layout)
        super().close()

    @override
    def __repr__(self) -> str:
        return f"EvaluationView({self.evaluation.size_text})"

    def _ipython_display_(self, **_: object) -> None:
        """Display the controls, and the output that the notebook saves below them."""
        from IPython.display import display

        if hasattr(self, "_repr_mimebundle_"):  # ipywidgets 8
            display(self._repr_mimebundle_(), raw=True)
        else:  # pragma: no cover - ipywidgets 7
            super()._ipython_display_()
        display(self.static_output(), raw=True)

    def _mime_(self) -> tuple[str, str]:
        """Return the output for marimo, which does not support ipywidgets."""
        return marimo_note()

    def static_output(self) -> dict[str, str]:
        """Return what a saved notebook shows: the summary and the first failures."""
        failures = self.evaluation.failures(limit=10)
        text = f"{self.evaluation!r}\n\n{_RERUN_NOTE}"
        html = self.evaluation._repr_html_()
        if failures:
            html += details("First failures", failures._repr_html_())
        note = f'<div style="opacity:.7">{_RERUN_NOTE}</div>'
        return {"text/plain": text, "text/html": f'<div class="gatewayx-twin">{html}{note}</div>'}

    def _create_widgets(self) -> list[ipywidgets.Widget]:
        self._summary, self._problem = ipywidgets.HTML(), ipywidgets.HTML()
        scores = [("Any score", ""), *((name, name) for name in self.evaluation.scores)]
        self._row_kind = ipywidgets.Dropdown(
            options=_ROW_FILTERS, description="Show", layout=_auto_width()
        )
        self._score = ipywidgets.Dropdown(options=scores, description="Score", layout=_auto_width())
        self._search = ipywidgets.Text(
            description="Search", placeholder="a word in the row or an answer", layout=_auto_width()
        )
        self._count = ipywidgets.HTML()
        self._rows = ipywidgets.Dropdown(
            options=[], description="Row", layout={"flex": "1 1 20em", "width": "auto"}
        )
        previous_button = button("Previous", lambda: self._move(-1), "Show the previous row")
        next_button = button("Next", lambda: self._move(1), "Show the next row")
        self._mode = ipywidgets.ToggleButtons(
            options=[("Rendered", "rendered"), ("Raw", "raw"), ("Differences", "differences")],
            tooltips=["formatted", "as written by the model", "only the differences, word by word"],
            style={"button_width": "auto"},
        )
        self._inputs, self._grid = ipywidgets.HTML(), ipywidgets.Box(layout=dict(_GRID_LAYOUT))
        for control in (self._row_kind, self._score, self._search):
            control.observe(lambda _: self._filter(), "value")
        for control in (self._rows, self._mode):
            control.observe(lambda _: self._show_row(), "value")
        filters = [self._row_kind, self._score, self._search, self._count]
        return [
            Keyboard("gatewayx-view"),
            self._summary,
            ipywidgets.HBox(filters, layout=dict(ROW_LAYOUT)),
            ipywidgets.HBox([self._rows, previous_button, next_button], layout=dict(ROW_LAYOUT)),
            self._mode,
            self._inputs,
            self._problem,
            self._grid,
        ]

    def _show_summary(self) -> None:
        set_html(self._summary, self.evaluation._repr_html_())

    def _filter(self) -> None:
        """List the rows that match the filters, and show the first of them."""
        row_kind = cast("RowKind", self._row_kind.value)
        positions = matching_rows(
            self.evaluation, row_kind, self._score.value or None, self._search.value
        )
        listed_rows = positions[:_MAX_LISTED_ROWS]
        is_truncated = len(positions) > len(listed_rows)
        note = f"; the first {_MAX_LISTED_ROWS:,} are listed" if is_truncated else ""
        set_html(self._count, f'<span role="status">{counted(len(positions), "row")}{note}</span>')
        options = [(row_title(self.evaluation, position), position) for position in listed_rows]
        if self._rows.options != tuple(options):
            self._rows.options = options  # this deselects the current row
        if self.position is None and listed_rows:
            self._rows.value = listed_rows[0]
        self._show_row()

    def _move(self, offset: int) -> None:
        positions = [position for _, position in self._rows.options]
        if self.position in positions:
            index = positions.index(self.position) + offset
            self._rows.value = positions[min(max(index, 0), len(positions) - 1)]

    def _show_row(self) -> None:
        """Show the answers to the selected row."""
        position = self.position
        cells = [] if position is None else self._cells[position]
        set_html(self._inputs, "" if position is None else self._inputs_html(position))
        while len(self._columns) < len(cells):
            self._columns.append(_ScoredAnswer(self._vote))
        html_by_column = _answers_html(cells, cast("Mode", self._mode.value))
        for column, cell, html in zip(self._columns, cells, html_by_column, strict=False):
            column.show(cell, html)
        set_children(self._grid, tuple(column.box for column in self._columns[: len(cells)]))

    def _inputs_html(self, position: int) -> str:
        rows = self.evaluation.rows
        parts = [
            f"<div><strong>{escape(str(name))}</strong>{preformatted_html(str(value))}</div>"
            for name, value in rows.inputs[position].items()
        ]
        return details(f"Row {rows.ids[position]}", "".join(parts), is_open=True)

    def _vote(self, cell: GridCell, label: bool | None) -> None:  # noqa: FBT001 - a person's label
        problem = ""
        try:
            self.evaluation.vote(cell.id, cell.variant.name, label, cell.sample)
        except GatewayError as error:  # the file of votes cannot be written
            problem = f'<div class="gatewayx-error" role="alert">{escape(error.describe())}</div>'
        set_html(self._problem, problem)
        if "vote" not in dict(self._score.options):
            self._score.options = (*self._score.options, ("vote", "vote"))
        self._show_summary()
        self._show_row()


class _ScoredAnswer:
    """One answer with its scores and the buttons for voting."""

    def __init__(self, on_vote: Callable[[GridCell, bool | None], None]) -> None:
        self._cell: GridCell | None = None
        self._on_vote = on_vote
        self._head, self._body = ipywidgets.HTML(), ipywidgets.HTMLMath()
        self._scores = ipywidgets.HTML()
        self._good_button = button(
            "Good", lambda: self._toggle_vote(label=True), "Label this answer as good"
        )
        self._bad_button = button(
            "Bad", lambda: self._toggle_vote(label=False), "Label this answer as bad"
        )
        votes = ipywidgets.HBox([self._good_button, self._bad_button])
        self.box = ipywidgets.VBox([self._head, self._body, self._scores, votes])
        self.box.layout.overflow = "auto"
        self.box.layout.border_top = "2px solid rgba(128,128,128,.5)"

    def show(self, cell: GridCell, html: str) -> None:
        """Show the answer and the scores of a cell."""
        self._cell = cell
        name = cell.variant.name + (f" ({cell.sample + 1})" if cell.sample else "")
        set_html(self._head, heading_html(name))
        set_html(self._body, html)
        set_html(self._scores, _scores_html(cell))
        vote = cell.scores["vote"].value if "vote" in cell.scores else None
        for control, label, style in (
            (self._good_button, True, "success"),
            (self._bad_button, False, "danger"),
        ):
            control.button_style = style if vote is label else ""
            control.tooltip = f"{control.description}: {name}"
            set_visible(control, visible=cell.has_answer)

    def _toggle_vote(self, *, label: bool) -> None:
        """Vote with a label, or remove the vote if it already has this label."""
        cell = self._cell
        if cell is not None:
            vote = cell.scores["vote"].value if "vote" in cell.scores else None
            self._on_vote(cell, None if vote is label else label)


def _auto_width() -> dict[str, Any]:
    return {"width": "auto"}


def _answers_html(cells: list[GridCell], mode: Mode) -> list[str]:
    """Return the answer of each cell as safe HTML."""
    outcomes = [_outcome(cell) for cell in cells]
    if mode == "differences" and len(cells) > 1:
        return differences_html(outcomes)
    return [_answer_html(cell, mode) for cell in cells]


def _answer_html(cell: GridCell, mode: Mode) -> str:
    if cell.error:
        return f'<div class="gatewayx-error">{escape(cell.error)}</div>'
    if not cell.has_answer:
        return "<em>not asked</em>"
    body = preformatted_html(cell.answer) if mode == "raw" and cell.answer else None
    return reply_html(cell.answer, reply_footer(cast("Reply[Any]", _outcome(cell))), body=body)


def _outcome(cell: GridCell) -> Reply[Any] | GatewayError:
    if cell.error:
        return ProviderError(cell.error)
    return Reply(
        text=cell.answer,
        engine=cell.variant.model.partition(":")[0],
        model=cell.model,
        finish_reason=cast("FinishReason", cell.finish_reason or "stop"),
        usage=Usage(cell.input_tokens, cell.output_tokens),
        cost=None if cell.cost is None else Decimal(str(cell.cost)),
        latency=cell.seconds or 0.0,
    )


def _scores_html(cell: GridCell) -> str:
    """Return the scores of a cell with their reasons, one per line."""
    parts = []
    for name, score in cell.scores.items():
        value = f"error: {score.error}" if score.error else value_text(score.value)
        reason = f" · {score.reason}" if score.reason else ""
        parts.append(f"<div><strong>{escape(name)}</strong> {escape(value + reason)}</div>")
    return "".join(parts)
