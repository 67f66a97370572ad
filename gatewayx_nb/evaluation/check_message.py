"""Formats the message of a failed check: what failed, the summary and the first failing rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.evaluation.differing_cells import FAILURE_COLUMNS
from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.text import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.evaluation.checks import Failure
    from gatewayx_nb.evaluation.evaluation import Evaluation

_MAX_SHOWN_ROWS = 5
"""Maximum number of worse rows, and of failed rows, in the message."""

_MAX_ANSWER_LENGTH = 60
"""Maximum number of characters of an answer."""


@dataclass(frozen=True, slots=True)
class _WorseCell:
    id: str
    variant: str
    score: str
    before: str
    now: str
    answer: str


_WORSE_COLUMNS: tuple[TableColumn[_WorseCell], ...] = (
    TableColumn("row", lambda cell: cell.id),
    TableColumn("variant", lambda cell: cell.variant),
    TableColumn("score", lambda cell: cell.score),
    TableColumn("before", lambda cell: cell.before, "right"),
    TableColumn("now", lambda cell: cell.now, "right"),
    TableColumn("answer", lambda cell: cell.answer),
)


def failure_text(evaluation: Evaluation, failures: Sequence[Failure]) -> str:
    """Return the message of a failed check.

    For a regression, it shows the rows that became worse; for a bound that is not met, the cells
    that failed the score.

    Args:
        evaluation: The evaluation.
        failures: The checks that failed.
    """
    failure_lines = []
    for failure in failures:
        has_prefix = bool(failure.variant) and len(evaluation.variants) > 1
        line = f"{failure.variant}: {failure.text}" if has_prefix else failure.text
        failure_lines.append(one_line(line))
    parts = ["\n".join(failure_lines), repr(evaluation.summary())]
    worse_cells = list(_worse_cells(evaluation, failures))
    if worse_cells:
        parts.append(_first_rows_text(worse_cells, _WORSE_COLUMNS))
    unmet_bounds = {
        (failure.variant, failure.score) for failure in failures if not failure.worse_rows
    }
    failed_cells = [
        cell
        for cell in evaluation.failures()
        if (cell.variant, cell.score) in unmet_bounds or not cell.score
    ]
    if failed_cells:
        parts.append(_first_rows_text(failed_cells, FAILURE_COLUMNS))
    return "\n\n".join(parts)


def _worse_cells(evaluation: Evaluation, failures: Iterable[Failure]) -> Iterable[_WorseCell]:
    answers: dict[tuple[str, str], str] = {}
    for cell in evaluation.cells:
        answers.setdefault((str(cell.id), cell.variant.name), cell.answer or cell.error)
    kinds = {row.score: row.kind for row in evaluation.summary()}
    for failure in failures:
        kind = kinds.get(failure.score, "number")
        for row in failure.worse_rows:
            yield _WorseCell(
                id=row.id,
                variant=failure.variant,
                score=failure.score,
                before=number_text(row.before, kind),
                now=number_text(row.now, kind),
                answer=shorten(answers.get((row.id, failure.variant), ""), _MAX_ANSWER_LENGTH),
            )


def _first_rows_text(cells: Sequence[object], columns: Sequence[TableColumn]) -> str:
    """Return a table of the first cells as text, followed by the number of remaining cells."""
    table = Table(cells[:_MAX_SHOWN_ROWS], columns)
    hidden_count = len(cells) - len(table)
    return f"{table!r}\n… {hidden_count:,} more" if hidden_count else repr(table)
