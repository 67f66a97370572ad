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


def mask_keys(
    cells: Sequence[GridCell], rows: EvaluatedRows, variants: Sequence[Variant], mask: Mask
) -> tuple[list[GridCell], EvaluatedRows, list[Variant]]:
    """Return copies of the cells, rows and variants, with the keys in their strings masked.

    Args:
        cells: The cells.
        rows: The rows.
        variants: The variants.
        mask: Masks keys in a string.
    """
    # Cached, because many cells share a prompt and a model, and most reasons are empty.
    mask = functools.lru_cache(maxsize=4096)(mask)
    masked_variants = {
        variant: Variant(*(mask(getattr(variant, name)) for name in Variant.__slots__))
        for variant in variants
    }
    ids = tuple(_mask_value(row_id, mask) for row_id in rows.ids)
    masked_cells = [
        replace(
            cell,
            id=ids[cell.position],
            variant=masked_variants[cell.variant],
            parsed=_mask_value(cell.parsed, mask),
            scores={mask(name): _mask_score(score, mask) for name, score in cell.scores.items()},
            prompt=mask(cell.prompt),
            answer=mask(cell.answer),
            error=mask(cell.error),
            model=mask(cell.model),
        )
        for cell in cells
    ]
    inputs = tuple(
        {_mask_value(name, mask): _mask_value(value, mask) for name, value in row.items()}
        for row in rows.inputs
    )
    expected, clusters = (
        None if values is None else tuple(_mask_value(value, mask) for value in values)
        for values in (rows.expected, rows.clusters)
    )
    return (
        masked_cells,
        EvaluatedRows(inputs, ids, expected, clusters),
        list(masked_variants.values()),
    )


def _mask_score(score: Score, mask: Mask) -> Score:
    value = mask(score.value) if isinstance(score.value, str) else score.value
    return Score(value, mask(score.reason), mask(score.error))


def _mask_value(value: Any, mask: Mask) -> Any:  # noqa: ANN401 - a user's value
    """Return a value with the keys in its strings masked.

    Lists, dicts and sets are searched. Any other value, such as a dataclass or bytes, is returned
    unchanged unless its ``str``, its ``repr`` or its JSON data contain a key; then the masked JSON
    data are returned.
    """
    if isinstance(value, str):
        return mask(value)
    if type(value) is dict:
        return {_mask_value(key, mask): _mask_value(item, mask) for key, item in value.items()}
    if type(value) in {list, tuple, set, frozenset}:
        return type(value)(_mask_value(item, mask) for item in value)
    if value is None or isinstance(value, bool | int | float | dt.date):
        return value
    text, data = _searchable_text(value), to_json(value)
    masked_data = _mask_value(data, mask)
    return value if mask(text) == text and masked_data == data else masked_data


def _searchable_text(value: object) -> str:
    # The `str` of bytes contains escapes, in which a key would not be found.
    return value.decode("latin-1") if isinstance(value, bytes) else f"{value!s} {value!r}"
