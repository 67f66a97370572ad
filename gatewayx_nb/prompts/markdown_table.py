"""Converts the head of a DataFrame or Series to Markdown, without importing pandas or polars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.prompts.placeholders import refuse

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGES = ("pandas", "polars")  # compared by name, so that neither is imported
_MAX_COLUMNS = 30
"""Maximum number of table columns in a prompt."""

_MAX_CELL_LENGTH = 200
"""Maximum number of characters in a cell of the table."""


def is_table(value: object) -> bool:
    """Return whether a value is a DataFrame or a Series, judged by its class names."""
    return table_kind(value) is not None


def to_markdown(name: str, table: Any, rows: int, forbidden_types: tuple[type, ...]) -> str:  # noqa: ANN401
    """Return a line with the shape and types of a table, and then its first rows and columns.

    Raises:
        UsageError: If a cell's value has a forbidden type.
    """
    frame = table if table_kind(table) == "DataFrame" else table.to_frame()
    height, width = frame.shape
    titles, types = list(map(str, frame.columns)), list(map(str, frame.dtypes))
    head = frame.iloc[:, :_MAX_COLUMNS] if hasattr(frame, "iloc") else frame[:, :_MAX_COLUMNS]
    index_title, cells = _rows_with_index(head.head(rows))
    header = [*index_title, *titles[:_MAX_COLUMNS]]
    lines = [_table_line(header), "|" + " --- |" * len(header)]
    for row in cells:
        for value in row:
            refuse(name, value, forbidden_types)
        lines.append(_table_line(row))
    return "\n".join([_heading(table, (height, width), rows, titles, types), "", *lines])


def table_kind(value: object) -> str | None:
    """Return ``"DataFrame"`` or ``"Series"``, judged by the class names; ``None`` if neither."""
    # The bases are checked too, because of subclasses such as GeoDataFrame.
    for base in type(value).__mro__:
        if base.__module__.split(".")[0] in _PACKAGES and base.__name__ in ("DataFrame", "Series"):
            return base.__name__
    return None


def _rows_with_index(head: Any) -> tuple[list[str], Sequence[Sequence[object]]]:  # noqa: ANN401
    """Return the index title as a list, and the rows with their index; omit a default index."""
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


def _table_line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(_cell_text, cells)) + " |"


def _cell_text(value: object) -> str:
    """Return a cell's text in one line, truncated if it is long, with bars escaped."""
    text = " ".join(str(value).split())
    text = text if len(text) <= _MAX_CELL_LENGTH else text[: _MAX_CELL_LENGTH - 1] + "…"
    # Backslashes are escaped first; otherwise, those that escape bars would be escaped, too.
    return text.replace("\\", "\\\\").replace("|", "\\|")
