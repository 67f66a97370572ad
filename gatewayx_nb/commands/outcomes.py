"""What commands show: a table or a note, the same in a notebook, a terminal and a saved file."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override

from gatewayx_nb import rendering


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows, with notes below.

    Attributes:
        columns: Heads.
        rows: Cells, a row each.
        notes: Lines below the table; an empty one leaves a gap.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        table = [rendering.table_text(self.columns, self.rows)] if self.rows else []
        gap = [""] if self.rows and self.notes else []
        return "\n".join([*table, *gap, *map(rendering.plain, self.notes)])

    def _repr_html_(self) -> str:
        table = rendering.table_html(self.columns, self.rows) if self.rows else ""
        return table + _lines(self.notes)


@dataclass(frozen=True, slots=True)
class Note:
    """Lines of text."""

    lines: tuple[str, ...]

    @override
    def __repr__(self) -> str:
        return "\n".join(map(rendering.plain, self.lines))

    def _repr_html_(self) -> str:
        return _lines(self.lines)


def note(*lines: str) -> Note:
    """Give a note of these lines."""
    return Note(lines)


def _lines(lines: tuple[str, ...]) -> str:
    return "".join(f"<div>{rendering.coded(line)}</div>" if line else "<br>" for line in lines)
