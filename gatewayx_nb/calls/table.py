"""Tables and notes with a plain-text and an HTML representation."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from gatewayx_nb.html import inline_code, table_html
from gatewayx_nb.text import plain, table_text


@dataclass(frozen=True, slots=True)
class Table:
    """Rows displayed as a table, with notes below.

    Attributes:
        columns: Column headings.
        rows: One tuple of cells per row.
        notes: Lines below the table; an empty one leaves a gap.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        table = [table_text(self.columns, self.rows)] if self.rows else []
        gap = [""] if self.rows and self.notes else []
        return "\n".join([*table, *gap, *map(plain, self.notes)])

    def _repr_html_(self) -> str:
        table = table_html(self.columns, self.rows) if self.rows else ""
        return table + _lines_html(self.notes)


class Note:
    """Lines of text, in which backticks mark code.

    Args:
        *lines: The lines.
    """

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    @override
    def __repr__(self) -> str:
        return "\n".join(map(plain, self.lines))

    def _repr_html_(self) -> str:
        return _lines_html(self.lines)


def _lines_html(lines: tuple[str, ...]) -> str:
    return "".join(f"<div>{inline_code(line)}</div>" if line else "<br>" for line in lines)
