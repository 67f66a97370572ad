"""Tables and notes with a plain-text and an HTML representation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar, override

from gatewayx_nb import html
from gatewayx_nb.tabulation import import_data_package
from gatewayx_nb.text import Align, plain, table_text, window_width, wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

_NO_ROWS = "No rows."

Row = TypeVar("Row", default=Any)


@dataclass(frozen=True, slots=True)
class TableColumn(Generic[Row]):
    """A column of a table.

    Attributes:
        heading: The column's heading.
        cell: Returns the text of this column's cell for a row; backticks mark code.
        align: ``"right"`` for numbers, ``"decimal"`` to align numbers at their decimal points.
        optional: Whether the column is omitted if all its cells are empty.
        is_code: Whether the cells are code.
    """

    heading: str
    cell: Callable[[Row], str]
    align: Align = "left"
    optional: bool = False
    is_code: bool = False

    def text(self, row: Row) -> str:
        """Return the text of a cell, in which backticks mark code."""
        cell = self.cell(row)
        return f"`{cell}`" if self.is_code and cell else cell


@dataclass(frozen=True, slots=True)
class RowFolding(Generic[Row]):
    """Displays some rows of a table as lines below it.

    Attributes:
        is_folded: Returns whether a row is folded.
        lines: Returns the lines to display instead of the folded rows.
    """

    is_folded: Callable[[Row], bool]
    lines: Callable[[Sequence[Row]], Iterable[str]]


class Table(list[Row]):
    """A list of rows that is displayed as a table, with notes below.

    >>> table = Table([("grok", "set")], text_columns("engine", "key"))
    >>> table
    engine  key
    ------  ---
    grok    set
    >>> table[0]
    ('grok', 'set')

    Args:
        rows: The rows.
        columns: The columns that are displayed for each row.
        notes: Lines below the table; an empty string leaves a gap.
        fold: Which rows to display as lines below the table; ``None`` to fold no rows.
        lead: Lines above the table.
    """

    def __init__(
        self,
        rows: Iterable[Row] = (),
        columns: Sequence[TableColumn[Row]] = (),
        notes: Iterable[str] = (),
        fold: RowFolding[Row] | None = None,
        lead: Iterable[str] = (),
    ) -> None:
        super().__init__(rows)
        self.columns, self.notes, self.fold = tuple(columns), tuple(notes), fold
        self.lead = tuple(lead)

    def with_notes(self, *notes: str) -> Table[Row]:
        """Return a copy of the table with other notes."""
        return Table(self, self.columns, notes, self.fold, self.lead)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a column for each field of the rows, or for each `to_dict` key.

        Raises:
            ConfigError: If pandas is not installed.
        """
        return to_frame(list(map(self._fields, self)))

    def _fields(self, row: Row) -> Mapping[str, object]:
        if hasattr(row, "to_dict"):
            return cast("Mapping[str, object]", row.to_dict())
        if dataclasses.is_dataclass(row) and not isinstance(row, type):
            return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
        return {column.heading: column.cell(row) for column in self.columns}

    def cells(self) -> list[list[str]]:
        """Return the text of the displayed cells, as a list of rows."""
        columns, rows = self._visible_columns(), self._rows()
        return [[column.text(row) for column in columns] for row in rows]

    def _rows(self) -> list[Row]:
        """Return the rows that are not folded."""
        return [row for row in self if self.fold is None or not self.fold.is_folded(row)]

    def _visible_columns(self) -> list[TableColumn[Row]]:
        rows = self._rows()
        return [
            column
            for column in self.columns
            if not column.optional or any(column.cell(row) for row in rows)
        ]

    def _lines_below(self) -> list[str]:
        """Return the lines below the table: the folded rows, then the notes."""
        folded_rows = [row for row in self if self.fold and self.fold.is_folded(row)]
        return [*(self.fold.lines(folded_rows) if self.fold and folded_rows else ()), *self.notes]

    @override
    def __repr__(self) -> str:
        headings, aligns = self._headings()
        cells, lines = self.cells(), self._lines_below()
        if not cells and not lines:
            return _NO_ROWS
        # A terminal has no style for code, so drop the backticks.
        plain_cells = [[cell.replace("`", "") for cell in row] for row in cells]
        table = [table_text(headings, plain_cells, aligns, window_width())] if cells else []
        lead_lines = [*_wrapped_lines(self.lead), *([""] if self.lead and cells else [])]
        gap = [""] if cells and lines else []
        return "\n".join([*lead_lines, *table, *gap, *_wrapped_lines(lines)])

    def _repr_html_(self) -> str:
        headings, aligns = self._headings()
        cells, lines = self.cells(), self._lines_below()
        table = html.table_html(headings, cells, aligns) if cells else ""
        return _lines_html(self.lead) + table + _lines_html(lines if cells or lines else [_NO_ROWS])

    def _headings(self) -> tuple[list[str], list[Align]]:
        columns = self._visible_columns()
        return [column.heading for column in columns], [column.align for column in columns]


def text_columns(*headings: str, code_columns: int = 0) -> tuple[TableColumn[Sequence[str]], ...]:
    """Return columns for rows that are sequences of strings.

    Args:
        *headings: The columns' headings.
        code_columns: Number of leading columns whose cells are code.
    """
    return tuple(
        TableColumn(heading, itemgetter(index), is_code=index < code_columns)
        for index, heading in enumerate(headings)
    )


def to_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return rows as a DataFrame.

    Raises:
        ConfigError: If pandas is not installed.
    """
    pandas = import_data_package("pandas", "a DataFrame needs")
    return cast("pd.DataFrame", pandas.DataFrame(rows))


class Note:
    """Lines of text, in which backticks mark code.

    Args:
        *lines: The lines.
    """

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    @override
    def __repr__(self) -> str:
        return "\n".join(_wrapped_lines(self.lines))

    def _repr_html_(self) -> str:
        return _lines_html(self.lines)


class Excerpt:
    """Text that is shown unchanged below an introductory line; parts of the text are code.

    Args:
        intro: The line above the text, in which backticks mark code.
        text: The text.
        code: The parts of the text that are code, in order of appearance.
    """

    def __init__(self, intro: str, text: str, code: Sequence[str] = ()) -> None:
        self.intro, self.text, self.code = intro, text, tuple(code)

    @override
    def __repr__(self) -> str:
        return f"{Note(self.intro)!r}\n\n{plain(self.text)}"

    def _repr_html_(self) -> str:
        fragments, remaining_text = [f"<p>{html.inline_code(self.intro)}</p>"], self.text
        for code in self.code:
            text_before, _, remaining_text = remaining_text.partition(code)
            fragments += [*_paragraphs(text_before), html.highlight(code, "ipython")]
        return "".join([*fragments, *_paragraphs(remaining_text)])


def _paragraphs(text: str) -> list[str]:
    return [f"<p>{html.escape(part)}</p>" for part in text.split("\n") if part]


def _wrapped_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines without control characters, wrapped to the width of the terminal."""
    width = window_width()
    for line in map(plain, lines):
        # A line that begins with spaces is code, where a line break would change the meaning.
        yield from [line] if width is None or line.startswith(" ") else wrap(line, width)


def _lines_html(lines: Iterable[str]) -> str:
    return "".join(f"<div>{html.inline_code(line)}</div>" if line else "<br>" for line in lines)
