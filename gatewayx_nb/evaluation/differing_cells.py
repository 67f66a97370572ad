"""Finds the cells of an evaluation that failed, and the cells whose scores have changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.calls import TableColumn
from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation.grid_cell import Score
from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, ScoreValue
    from gatewayx_nb.evaluation.score_values import ScoreValues


_MAX_WORST_CELLS = 10
"""Maximum number of cells that count as failures of a score that is a number: the worst cells."""

_MAX_ANSWER_LENGTH = 60
"""Maximum number of characters of an answer in a table."""


@dataclass(frozen=True, slots=True)
class FailedAnswer:
    """A cell that failed.

    Attributes:
        id: The ID of its row.
        variant: Name of the variant.
        sample: Number of the sample, from 0.
        score: Name of the score; empty if there is no answer.
        value: The score; ``None`` if there is none.
        prompt: The prompt.
        answer: The answer.
        expected: The expected answer as text; empty if there is none.
        reason: The scorer's reason; empty if there is none.
        error: Why there is no answer or score; empty if there is.
    """

    id: str | int
    variant: str
    sample: int
    score: str
    value: ScoreValue
    prompt: str
    answer: str
    expected: str
    reason: str
    error: str


def failed_cells(
    cells: Sequence[GridCell], rows: EvaluatedRows, scores: Iterable[ScoreValues]
) -> list[FailedAnswer]:
    """Return the cells without an answer, and those that failed a score.

    A cell fails a score that is False or an error. If the score is a number, the ten worst cells
    fail it, too.

    Args:
        cells: The cells.
        rows: The rows.
        scores: The scores.
    """
    failures = [_failed_answer(cell, rows, "") for cell in cells if cell.error]
    for score in scores:
        name = score.name
        cells_with_failure = [cell for cell in cells if _has_failed(cell.scores.get(name))]
        if score.kind == "number":
            cells_with_failure += _worst_cells(cells, name, lower_is_better=score.lower_is_better)
        failures += [_failed_answer(cell, rows, name) for cell in cells_with_failure]
    return failures


def _has_failed(score: Score | None) -> bool:
    return score is not None and (bool(score.error) or score.value is False)


def _worst_cells(cells: Iterable[GridCell], name: str, *, lower_is_better: bool) -> list[GridCell]:
    ranked_cells = [
        (float(score.value), index, cell)
        for index, cell in enumerate(cells)
        if (score := cell.scores.get(name)) is not None
        and score.value is not False
        and isinstance(score.value, int | float)
    ]
    ranked_cells.sort(key=lambda item: (-item[0] if lower_is_better else item[0], item[1]))
    return [cell for _, _, cell in ranked_cells[:_MAX_WORST_CELLS]]


def _failed_answer(cell: GridCell, rows: EvaluatedRows, name: str) -> FailedAnswer:
    score = cell.scores.get(name, Score())
    expected = rows.expected_at(cell.position)
    return FailedAnswer(
        id=cell.id,
        variant=cell.variant.name,
        sample=cell.sample,
        score=name,
        value=score.value,
        prompt=cell.prompt,
        answer=cell.answer,
        expected="" if expected is None else str(expected),
        reason=score.reason,
        error=score.error if name else cell.error,
    )


def _short_line(text: str) -> str:
    return shorten(" ".join(text.split()), _MAX_ANSWER_LENGTH)


def value_text(value: ScoreValue) -> str:
    """Return a score as text."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number_text(float(value))


FAILURE_COLUMNS: tuple[TableColumn[FailedAnswer], ...] = (
    TableColumn("row", lambda cell: _short_line(str(cell.id))),
    TableColumn("variant", lambda cell: cell.variant),
    TableColumn("score", lambda cell: cell.score, optional=True),
    TableColumn(
        "value",
        lambda cell: "" if cell.value is False else value_text(cell.value),
        "right",
        optional=True,
    ),
    TableColumn("answer", lambda cell: _short_line(cell.answer), optional=True),
    TableColumn("expected", lambda cell: _short_line(cell.expected), optional=True),
    TableColumn("why", lambda cell: _short_line(cell.error or cell.reason), optional=True),
)


@dataclass(frozen=True, slots=True)
class ChangedScore:
    """A cell whose score differs from that of another evaluation.

    Attributes:
        id: The ID of its row.
        variant: Name of the variant.
        sample: Number of the sample, from 0.
        score: Name of the score.
        before: The other evaluation's score.
        after: This evaluation's score.
        answer_before: The other evaluation's answer.
        answer_after: This evaluation's answer.
    """

    id: str | int
    variant: str
    sample: int
    score: str
    before: ScoreValue
    after: ScoreValue
    answer_before: str
    answer_after: str


def changed_cells(
    cells: Sequence[GridCell], other_cells: Sequence[GridCell], scores: Sequence[str]
) -> list[ChangedScore]:
    """Return the cells whose scores differ between two evaluations.

    Raises:
        UsageError: If the evaluations have no cell in common.
    """
    other_cell_by_key = {_cell_key(cell): cell for cell in other_cells}
    pairs = [
        (cell, other_cell_by_key[_cell_key(cell)])
        for cell in cells
        if _cell_key(cell) in other_cell_by_key
    ]
    if not pairs:
        raise UsageError(
            "the two evaluations have no cell in common: IDs, variants or samples differ.",
            hint="Name a column of IDs with `id=`, and keep the names of prompts and options.",
        )
    changed_scores = []
    for cell, other_cell in pairs:
        for name in scores:
            before, after = other_cell.scores.get(name, Score()), cell.scores.get(name, Score())
            if (before.value, bool(before.error)) != (after.value, bool(after.error)):
                changed_scores.append(
                    ChangedScore(
                        cell.id,
                        *(cell.variant.name, cell.sample, name, before.value, after.value),
                        *(other_cell.answer or other_cell.error, cell.answer or cell.error),
                    )
                )
    return changed_scores


def _cell_key(cell: GridCell) -> tuple[str, str, int]:
    return str(cell.id), cell.variant.name, cell.sample


CHANGE_COLUMNS: tuple[TableColumn[ChangedScore], ...] = (
    TableColumn("row", lambda cell: _short_line(str(cell.id))),
    TableColumn("variant", lambda cell: cell.variant),
    TableColumn("score", lambda cell: cell.score),
    TableColumn("before", lambda cell: value_text(cell.before)),
    TableColumn("after", lambda cell: value_text(cell.after)),
    TableColumn("answer before", lambda cell: _short_line(cell.answer_before), optional=True),
    TableColumn("answer after", lambda cell: _short_line(cell.answer_after), optional=True),
)
