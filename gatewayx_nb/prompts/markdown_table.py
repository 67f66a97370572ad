"""A DataFrame or Series as a Markdown table of its head, without importing pandas or polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.prompts.placeholders import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGES = ("pandas", "polars")  # by name, so that neither is imported
_MAX_COLUMNS = 30
"""Maximum number of table columns in a prompt."""

_MAX_CELL_LENGTH = 200
"""Maximum number of characters in a cell."""


def is_table(value: object) -> bool:
    """Return whether a value is a DataFrame or a Series, judged by its class names."""
    return table_kind(value) is not None


def to_markdown(name: str, table: Any, rows: int, forbidden_types: tuple[type, ...]) -> str:  # noqa: ANN401
    """Return a table's shape and types on one line, followed by its first rows and columns.

    Raises:
        UsageError: If a cell's value has a forbidden type.
    """
    frame = table if table_kind(table) == "DataFrame" else table.to_frame()
    height, width = frame.shape
    titles, types = list(map(str, frame.columns)), list(map(str, frame.dtypes))
    head = frame.iloc[:, :_MAX_COLUMNS] if hasattr(frame, "iloc") else frame[:, :_MAX_COLUMNS]
    index_title, cells = _rows_with_index(head.head(rows))
    header = [*index_title, *titles[:_MAX_COLUMNS]]
    lines = [_line(header), "|" + " --- |" * len(header)]
    for row in cells:
        for value in row:
            refuse(name, value, forbidden_types)
        lines.append(_line(row))
    return "\n".join([_heading(table, (height, width), rows, titles, types), "", *lines])


def table_kind(value: object) -> str | None:
    """Return ``"DataFrame"`` or ``"Series"``, judged by the class names; ``None`` if neither."""
    # Subclasses, such as GeoDataFrame, also count.
    for base in type(value).__mro__:
        if base.__module__.split(".")[0] in _PACKAGES and base.__name__ in ("DataFrame", "Series"):
            return base.__name__
    return None


def _rows_with_index(head: Any) -> tuple[list[str], Sequence[Sequence[object]]]:  # noqa: ANN401
    """Return a list with the index title, and the rows with their index; omit a default index."""
    if not hasattr(head, "index"):  # a polars DataFrame has no index
        return [], list(head.rows())
    rows = [tuple(row) for row in head.itertuples(index=False, name=None)]
    if type(head.index).__name__ == "RangeIndex" and head.index.name is None:
        return [], rows
    labels = map(str, head.index)
    labelled_rows = [(label, *row) for label, row in zip(labels, rows, strict=True)]
    return [str(head.index.name or "")], labelled_rows


def _heading(
    table: object, shape: tuple[int, int], rows: int, titles: list[str], types: list[str]
) -> str:
    height, width = shape
    limits = [f"the first {rows} rows"] if height > rows else []
    limits += [f"the first {_MAX_COLUMNS} columns"] if width > _MAX_COLUMNS else []
    pairs = zip(titles[:_MAX_COLUMNS], types[:_MAX_COLUMNS], strict=True)
    dtypes = ", ".join(f"{title}: {dtype}" for title, dtype in pairs)
    note = f"; below, {' and '.join(limits)}" if limits else ""
    return f"{type(table).__name__} of {height} rows and {width} columns ({dtypes}){note}"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(_cell, cells)) + " |"


def _cell(value: object) -> str:
    """Format a cell on one line, with bars escaped; truncate long text."""
    text = " ".join(str(value).split())
    text = text if len(text) <= _MAX_CELL_LENGTH else text[: _MAX_CELL_LENGTH - 1] + "…"
    # Escape backslashes first; otherwise, the backslash that escapes a bar would also be escaped.
    return text.replace("\\", "\\\\").replace("|", "\\|")
