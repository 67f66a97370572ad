"""Converts parsed answers to DataFrames."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Literal

from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.extraction import ends_within_json, extract_json
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pandas import DataFrame


_MAX_CELLS = 10_000_000
"""Maximum number of cells in a table in which nearly all cells are empty."""

_MAX_CELLS_PER_VALUE = 20
"""Maximum number of cells per value in a larger table."""


def check_pandas() -> None:
    """Check that pandas is installed.

    Raises:
        UsageError: If pandas is not installed.
    """
    if importlib.util.find_spec("pandas") is None:
        raise UsageError(
            "A DataFrame needs pandas, which is not installed.", hint=Hint("install", extra="data")
        )


def import_data_package(name: Literal["numpy", "pandas"], use: str) -> Any:  # noqa: ANN401 - a module
    """Return an optional package.

    Args:
        name: Name of the package.
        use: What requires the package, as the subject and verb of the error, such as
            "embeddings require".

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            f"{use} {name}, which is not installed.", hint=Hint("install", extra="data")
        ) from None


def check_density(rows: Sequence[Collection[object]]) -> None:
    """Check that a table of rows is not much larger than their values.

    If no two rows share a name, the number of cells is at least the square of the number of rows,
    and a file of 10 MB would take all memory.

    Args:
        rows: The rows, or the column names of each row.

    Raises:
        UsageError: If the table would have more than 10,000,000 cells, nearly all of them empty.
    """
    column_count = len(set().union(*rows))
    cell_count, value_count = len(rows) * column_count, sum(map(len, rows))
    if cell_count > max(_MAX_CELLS, _MAX_CELLS_PER_VALUE * value_count):
        raise UsageError(
            f"{len(rows):,} rows with {column_count:,} different names make a table of"
            f" {cell_count:,} cells, nearly all of them empty.",
            hint="Use the same names in all rows.",
        )


def to_frame(value: object) -> DataFrame:
    """Return a DataFrame of a parsed answer.

    Raises:
        UsageError: If pandas is not installed, or nearly all cells would be empty.
    """
    check_pandas()
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return value
    is_list = isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields")
    items = list(value) if is_list else [value]  # type: ignore[call-overload]
    rows = [_row(item) for item in items]
    check_density(rows)
    return pd.DataFrame(rows)


def text_to_frame(text: str, *, was_cut: bool = False) -> DataFrame:
    """Return a DataFrame of the JSON in text.

    Args:
        text: The text of an answer.
        was_cut: Whether the answer was truncated at its maximum length.

    Raises:
        UsageError: If pandas is not installed, or the text contains no JSON.
    """
    if was_cut and ends_within_json(text):
        raise UsageError(
            "the answer was truncated before its JSON ended.",
            hint=Hint("raise_option", option="max_tokens"),
            topic="truncated-json",
        )
    try:
        value = extract_json(text)
    except ValueError as error:
        cut_note = ", and the answer was truncated" if was_cut else ""
        raise UsageError(
            f"the answer must contain JSON for a DataFrame: {error}{cut_note}.",
            hint="For example, pass `schema=list[City]`.",
        ) from None
    return to_frame(value)


def _row(item: object) -> dict[str, Any]:
    """Return the columns of an item: its fields if it is an object, otherwise ``value``."""
    if isinstance(item, dict):
        return item
    names = _field_names(item)
    return {name: getattr(item, name) for name in names} if names else {"value": item}


def _field_names(item: object) -> tuple[str, ...]:
    """Return the fields of a dataclass, a NamedTuple, a pydantic model or a msgspec Struct."""
    for attribute in ("__dataclass_fields__", "_fields", "__struct_fields__"):
        if names := getattr(type(item), attribute, None):
            return tuple(names)
    return tuple(getattr(type(item), "model_fields", ()))
