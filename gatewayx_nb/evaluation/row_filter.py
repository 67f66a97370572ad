"""Finds the rows of an evaluation by score, error and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gatewayx_nb.text import one_line, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.evaluation.evaluation import Evaluation
    from gatewayx_nb.evaluation.grid_cell import GridCell, ScoreValue

RowKind = Literal["all", "failed", "differing", "errors"]

_MAX_TITLE_LENGTH = 60


def matching_rows(
    evaluation: Evaluation, kind: RowKind = "all", score_name: str | None = None, text: str = ""
) -> list[int]:
    """Return the positions of the rows that are of a kind and contain the text.

    Args:
        evaluation: The evaluation.
        kind: ``"failed"`` for rows with an error or a false score; ``"differing"`` for rows whose
            cells have different scores, or of which only some have an error; numeric scores are
            compared only if selected by ``score_name``; ``"errors"`` for rows with an error in a
            call or a scorer.
        score_name: Name of the only score to consider; all if omitted.
        text: Text to find in the row, its prompts, answers and errors, ignoring case.
    """
    folded_text = text.casefold()
    return [
        position
        for position, cells in cells_by_row(evaluation).items()
        if _matches_kind(cells, kind, score_name)
        and _contains_text(evaluation, position, cells, folded_text)
    ]


def cells_by_row(evaluation: Evaluation) -> dict[int, list[GridCell]]:
    """Return the cells of each row, by position of the row."""
    cells_by_position: dict[int, list[GridCell]] = {}
    for cell in evaluation.cells:
        cells_by_position.setdefault(cell.position, []).append(cell)
    return cells_by_position


def row_title(evaluation: Evaluation, position: int) -> str:
    """Return the ID of a row, and the beginning of its first string value."""
    strings = [
        value for value in evaluation.rows.inputs[position].values() if isinstance(value, str)
    ]
    title = shorten(" ".join(strings[0].split()), _MAX_TITLE_LENGTH) if strings else ""
    return " · ".join(filter(None, [one_line(str(evaluation.rows.ids[position])), title]))


def _matches_kind(cells: Sequence[GridCell], kind: RowKind, score_name: str | None) -> bool:
    if kind == "all":
        return True
    if kind == "errors":
        return any(cell.error for cell in cells) or _has_score_error(cells, score_name)
    if kind == "failed":
        return (
            any(cell.error for cell in cells)
            or _has_score_error(cells, score_name)
            or any(
                value is False
                for cell in cells
                for value in _score_values(cell, score_name).values()
            )
        )
    return _cells_differ(cells, score_name)


def _score_values(cell: GridCell, score_name: str | None) -> dict[str, ScoreValue]:
    return {name: score.value for name, score in cell.scores.items() if score_name in (None, name)}


def _has_score_error(cells: Sequence[GridCell], score_name: str | None) -> bool:
    return any(
        score.error
        for cell in cells
        for name, score in cell.scores.items()
        if score_name in (None, name)
    )


def _cells_differ(cells: Sequence[GridCell], score_name: str | None) -> bool:
    """Return whether the cells differ in a score, or whether only some of them have an error."""
    if len({bool(cell.error) for cell in cells}) > 1:
        return True
    score_dicts = [
        {
            name: value
            for name, value in _score_values(cell, score_name).items()
            if score_name is not None or isinstance(value, bool | str)
        }
        for cell in cells
    ]
    names = {name for cell_values in score_dicts for name in cell_values}
    return any(
        len({scores[name] for scores in score_dicts if scores.get(name) is not None}) > 1
        for name in names
    )


def _contains_text(
    evaluation: Evaluation, position: int, cells: Sequence[GridCell], folded_text: str
) -> bool:
    if not folded_text:
        return True
    texts = [*map(str, evaluation.rows.inputs[position].values())]
    texts += [text for cell in cells for text in (cell.prompt, cell.answer, cell.error)]
    return any(folded_text in text.casefold() for text in texts)
