"""Converts the cells of an evaluation to records for tables, and evaluations to file contents."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Score, Variant
from gatewayx_nb.evaluation.model_scorer import JudgeUsage
from gatewayx_nb.evaluation.score_values import score_names
from gatewayx_nb.tabulation import check_density
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from gatewayx_nb.evaluation.evaluation import Evaluation


FORMATS = (".json", ".csv", ".md")
"""The suffixes of the files that an evaluation can be written to."""

FORMAT_VERSION = 1
"""Version of the file format."""

_DTYPES: Mapping[str, str] = {
    "error": "string",
    "finish_reason": "string",
    "input_tokens": "Int64",
    "output_tokens": "Int64",
    "cost": "Float64",
    "seconds": "Float64",
}
"""The pandas dtypes of columns that are not scores."""

_SCORE_SUFFIXES = ("", "_reason", "_error")
"""Suffixes of the columns of a score."""

_CELL_FIELDS = (
    *("position", "sample", "prompt", "answer", "error", "finish_reason", "model"),
    *("input_tokens", "output_tokens", "cost", "seconds"),
)


def cell_records(
    cells: Sequence[GridCell], rows: EvaluatedRows
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a record for each cell, and the names of the scores.

    A score whose name is already that of another column gets the prefix ``score_``, and a column of
    the rows the prefix ``input_``.

    Args:
        cells: The cells.
        rows: The rows.

    Raises:
        UsageError: If nearly all cells of the table would be empty.
    """
    check_density(rows.inputs)
    check_density([cell.scores for cell in cells])
    reserved_names = {"id", "variant", "prompt", "model", "options", "sample", "answer", *_DTYPES}
    score_columns: dict[str, str] = {}
    for name in score_names(cells):
        column = score_columns[name] = _unused_name(name, "score_", reserved_names, _SCORE_SUFFIXES)
        reserved_names.update(column + suffix for suffix in _SCORE_SUFFIXES)
    columns: dict[Any, Any] = dict.fromkeys(name for row in rows.inputs for name in row)
    for name in columns:
        # The new name must not be that of another column of the rows, either.
        taken_names = {*reserved_names, *columns, *columns.values()}
        columns[name] = (
            _unused_name(str(name), "input_", taken_names) if name in reserved_names else name
        )
    inputs = [{columns[name]: value for name, value in row.items()} for row in rows.inputs]
    records = [_record(cell, inputs[cell.position], score_columns) for cell in cells]
    scores = list(score_columns.values())
    # Empty columns of reasons and errors are omitted.
    empty_columns = [
        name
        for score in scores
        for name in (f"{score}_reason", f"{score}_error")
        if not any(record[name] for record in records)
    ]
    for record in records if empty_columns else ():
        for name in empty_columns:
            del record[name]
    return records, scores


def _unused_name(
    name: str, prefix: str, taken_names: Container[Any], suffixes: Sequence[str] = ("",)
) -> str:
    """Return a name, prefixed until it is not taken with any of the suffixes."""
    while any(name + suffix in taken_names for suffix in suffixes):
        name = prefix + name
    return name


def _record(
    cell: GridCell, inputs: Mapping[str, Any], score_columns: Mapping[str, str]
) -> dict[str, Any]:
    variant = cell.variant
    record: dict[str, Any] = {"id": cell.id, **inputs}
    record |= {"variant": variant.name, "prompt": variant.prompt, "model": variant.model}
    record |= {"options": variant.options, "sample": cell.sample}
    record["answer"] = cell.answer if cell.has_answer else None
    for name, column in score_columns.items():
        score = cell.scores.get(name, Score())
        record[column] = score.value
        record[f"{column}_reason"] = score.reason or None
        record[f"{column}_error"] = score.error or None
    record |= {"error": cell.error or None, "finish_reason": cell.finish_reason or None}
    record |= {"input_tokens": cell.input_tokens, "output_tokens": cell.output_tokens}
    return record | {"cost": cell.cost, "seconds": cell.seconds}


def records_frame(records: Sequence[Mapping[str, Any]], scores: Sequence[str]) -> Any:  # noqa: ANN401
    """Return a pandas DataFrame of records; pandas must be installed."""
    import pandas as pd

    frame = pd.DataFrame([_encodable_record(record) for record in records])
    string_columns = [name for score in scores for name in (f"{score}_reason", f"{score}_error")]
    dtypes = {**dict.fromkeys(["answer", *string_columns], "string"), **_DTYPES}
    for name, dtype in dtypes.items():
        if name in frame:
            frame[name] = frame[name].astype(dtype)
    for name in scores:
        types = {type(value) for value in frame[name] if value is not None}
        if types == {bool}:
            frame[name] = frame[name].astype("boolean")
        elif types and types <= {bool, int, float}:
            frame[name] = frame[name].astype("Float64")
    return frame


def _encodable_record(record: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return a record whose strings can be encoded as UTF-8, as pandas requires."""
    return {_encodable_value(name): _encodable_value(value) for name, value in record.items()}


def _encodable_value(value: Any) -> Any:  # noqa: ANN401 - a user's value
    return well_formed(value) if isinstance(value, str) else value


def records_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV.

    An apostrophe is put before a string that a spreadsheet would interpret as a formula:
    https://owasp.org/www-community/attacks/CSV_Injection
    """
    columns = dict.fromkeys(name for record in records for name in record)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(_csv_cell, columns))
    for record in records:
        writer.writerow([_csv_cell(record.get(name, "")) for name in columns])
    return text.getvalue()


def _csv_cell(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def encode_cells(
    cells: Sequence[GridCell], rows: EvaluatedRows, variants: Sequence[Variant]
) -> dict[str, Any]:
    """Return the rows, variants and cells as values that JSON can represent."""
    variant_numbers = {variant: number for number, variant in enumerate(variants)}
    return {
        "variants": [
            {name: well_formed(getattr(variant, name)) for name in Variant.__slots__}
            for variant in variants
        ],
        "rows": [to_json(dict(row)) for row in rows.inputs],
        "ids": list(map(to_json, rows.ids)),
        "expected": rows.expected and list(map(to_json, rows.expected)),
        "clusters": rows.clusters and list(map(to_json, rows.clusters)),
        "cells": [
            {
                "variant": variant_numbers[cell.variant],
                **{name: to_json(getattr(cell, name)) for name in _CELL_FIELDS},
                "parsed": to_json(cell.parsed),
                "scores": {
                    well_formed(name): _encode_score(score) for name, score in cell.scores.items()
                },
            }
            for cell in cells
        ],
    }


def _encode_score(score: Score) -> dict[str, Any]:
    values = {name: to_json(getattr(score, name)) for name in Score.__slots__}
    return {name: value for name, value in values.items() if name == "value" or value}


def to_json(value: object) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value as JSON data; NaN and infinities become ``None``."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {well_formed(str(key)): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return list(map(to_json, value))
    return _other_to_json(value)


def _other_to_json(value: object) -> Any:  # noqa: ANN401 - a JSON value
    """Return a value of another type, such as a NumPy scalar or a dataclass, as JSON data."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    to_scalar = getattr(value, "item", None)
    if callable(to_scalar) and getattr(value, "ndim", None) == 0:
        return to_json(to_scalar())
    try:
        return to_json(msgspec.to_builtins(value))
    except (TypeError, ValueError):
        return str(value)


def encode_evaluation(evaluation: Evaluation) -> bytes:
    """Return the content of an evaluation's file."""
    judges = [
        {name: getattr(judge, name) for name in JudgeUsage.__slots__} for judge in evaluation.judges
    ]
    values = {
        "format": FORMAT_VERSION,
        "name": evaluation.name,
        "lower_is_better": sorted(evaluation.lower_is_better),
        "preferences": sorted(evaluation.preferences),
        "is_stopped": evaluation.is_stopped,
        "judges": judges,
        "notes": list(map(well_formed, evaluation.notes)),
        **encode_cells(evaluation.cells, evaluation.rows, evaluation.variants),
    }
    return msgspec.json.encode(values) + b"\n"


def is_file_of(kind: Literal["evaluation", "baseline"], content: bytes) -> bool:
    """Return whether a file with this content is a saved evaluation or a baseline."""
    try:
        keys = set(msgspec.json.decode(content, type=dict[str, msgspec.Raw]))
    except (ValueError, RecursionError):
        return False
    return "cells" in keys if kind == "evaluation" else "cells" not in keys and "scores" in keys
