"""Masks keys in the cells and rows of an evaluation."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Score, Variant
from gatewayx_nb.evaluation.records import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Mask = Callable[[str], str]


def without_keys(
    cells: Sequence[GridCell], rows: EvaluatedRows, variants: Sequence[Variant], mask: Mask
) -> tuple[list[GridCell], EvaluatedRows, list[Variant]]:
    """Return copies of the cells, rows and variants in whose texts keys are masked.

    Args:
        cells: The cells.
        rows: The rows.
        variants: The variants.
        mask: Masks keys in a text.
    """
    # The same prompt and model are in many cells, and most reasons and errors are empty.
    mask = functools.lru_cache(maxsize=4096)(mask)
    masked = {
        variant: Variant(*(mask(getattr(variant, name)) for name in Variant.__slots__))
        for variant in variants
    }
    ids = tuple(_masked(each, mask) for each in rows.ids)
    copies = [
        replace(
            cell,
            id=ids[cell.position],
            variant=masked[cell.variant],
            parsed=_masked(cell.parsed, mask),
            scores={mask(name): _score(score, mask) for name, score in cell.scores.items()},
            prompt=mask(cell.prompt),
            answer=mask(cell.answer),
            error=mask(cell.error),
            model=mask(cell.model),
        )
        for cell in cells
    ]
    inputs = tuple(
        {_masked(name, mask): _masked(value, mask) for name, value in row.items()}
        for row in rows.inputs
    )
    expected, clusters = (
        None if values is None else tuple(_masked(each, mask) for each in values)
        for values in (rows.expected, rows.clusters)
    )
    return copies, EvaluatedRows(inputs, ids, expected, clusters), list(masked.values())


def _score(score: Score, mask: Mask) -> Score:
    value = mask(score.value) if isinstance(score.value, str) else score.value
    return Score(value, mask(score.reason), mask(score.error))


def _masked(value: Any, mask: Mask) -> Any:  # noqa: ANN401 - a user's value
    """Return a value whose texts are masked.

    Lists and dicts are searched. Any other value, such as a dataclass or bytes, remains as it is
    unless its text or its data contain a key, in which case its masked data replace it.
    """
    if isinstance(value, str):
        return mask(value)
    if type(value) is dict:
        return {_masked(key, mask): _masked(each, mask) for key, each in value.items()}
    if type(value) in {list, tuple, set, frozenset}:
        return type(value)(_masked(each, mask) for each in value)
    if value is None or isinstance(value, bool | int | float | dt.date):
        return value
    text, data = _text(value), to_json(value)
    masked = _masked(data, mask)
    return value if mask(text) == text and masked == data else masked


def _text(value: object) -> str:
    # The text of bytes has escapes, in which no key would be found.
    return value.decode("latin-1") if isinstance(value, bytes) else f"{value!s} {value!r}"
