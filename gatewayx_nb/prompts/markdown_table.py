"""A DataFrame or Series as a Markdown table of its head, without importing pandas or polars."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from gatewayx_nb.prompts.placeholders import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGES = ("pandas", "polars")  # by name, so that neither is imported
_COLUMNS = 30
"""Maximum columns of a table in a prompt."""

_MAX_CELL = 200
"""Maximum characters of a cell."""


def is_table(value: object) -> bool:
    """Return whether a value is a DataFrame or a Series, by the names of its classes."""
    return _kind(value) is not None


def to_markdown(name: str, table: Any, rows: int, forbidden: tuple[type, ...]) -> str:  # noqa: ANN401
    """Write a table's shape and types on one line, followed by its first rows and columns.

    Raises:
        UsageError: If a cell is of a forbidden type.
    """
    frame = table if _kind(table) == "DataFrame" else table.to_frame()
    height, width = frame.shape
    titles, types = list(map(str, frame.columns)), list(map(str, frame.dtypes))
    head = frame.iloc[:, :_COLUMNS] if hasattr(frame, "iloc") else frame[:, :_COLUMNS]
    labels, cells = _rows_with_index(head.head(rows))
    shown = [*labels, *titles[:_COLUMNS]]
    lines = [_line(shown), "|" + " --- |" * len(shown)]
    for row in cells:
        for value in row:
            refuse(name, value, forbidden)
        lines.append(_line(row))
    return "\n".join([_heading(table, (height, width), rows, titles, types), "", *lines])


def _kind(value: object) -> str | None:
    for base in type(value).__mro__:
        if base.__module__.split(".")[0] in _PACKAGES and base.__name__ in ("DataFrame", "Series"):
            return base.__name__
    return None


def _rows_with_index(head: Any) -> tuple[list[str], Sequence[Sequence[object]]]:  # noqa: ANN401
    """Return the index's title, if the index is informative, and the rows including it."""
    if not hasattr(head, "index"):  # polars has no index
        return [], list(head.rows())
    rows = [tuple(row) for row in head.itertuples(index=False, name=None)]
    if type(head.index).__name__ == "RangeIndex" and head.index.name is None:
        return [], rows
    labels = map(str, head.index)
    labelled = [(label, *row) for label, row in zip(labels, rows, strict=True)]
    return [str(head.index.name or "")], labelled


def _heading(
    table: object, shape: tuple[int, int], rows: int, titles: list[str], types: list[str]
) -> str:
    height, width = shape
    limits = [f"the first {rows} rows"] if height > rows else []
    limits += [f"the first {_COLUMNS} columns"] if width > _COLUMNS else []
    pairs = zip(titles, types, strict=True)
    dtypes = ", ".join(f"{title}: {dtype}" for title, dtype in itertools.islice(pairs, _COLUMNS))
    note = f"; below, {' and '.join(limits)}" if limits else ""
    return f"{type(table).__name__} of {height} rows and {width} columns ({dtypes}){note}"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    """Format a cell on one line, with bars escaped; truncate long text."""
    text = " ".join(str(value).split())
    text = text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|")
