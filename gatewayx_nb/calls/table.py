"""Tables and notes with a plain-text and an HTML representation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar, override

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint
from gatewayx_nb.html import inline_code, table_html
from gatewayx_nb.text import Align, plain, table_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

_NO_ROWS = "No rows."

Row = TypeVar("Row", default=Any)


@dataclass(frozen=True, slots=True)
class TableColumn(Generic[Row]):
    """A column of a table.

    Attributes:
        heading: Its heading.
        cell: Returns the text of its cell in a row.
        align: ``"right"`` for figures.
        optional: Whether the column is left out of a table in which all its cells are empty.
    """

    heading: str
    cell: Callable[[Row], str]
    align: Align = "left"
    optional: bool = False


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
        columns: What is displayed of each row.
        notes: Lines below the table; an empty one leaves a gap.
    """

    def __init__(
        self,
        rows: Iterable[Row] = (),
        columns: Sequence[TableColumn[Row]] = (),
        notes: Iterable[str] = (),
    ) -> None:
        super().__init__(rows)
        self.columns, self.notes = tuple(columns), tuple(notes)

    def with_notes(self, *notes: str) -> Table[Row]:
        """Return the table with other notes."""
        return Table(self, self.columns, notes)

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a column for each field of the rows.

        Raises:
            ConfigError: If pandas is not installed.
        """
        return to_frame(list(map(self._fields, self)))

    def _fields(self, row: Row) -> Mapping[str, object]:
        if dataclasses.is_dataclass(row) and not isinstance(row, type):
            return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
        return {column.heading: column.cell(row) for column in self.columns}

    def cells(self) -> list[list[str]]:
        """Return the displayed texts of each row."""
        columns = self._displayed()
        return [[column.cell(row) for column in columns] for row in self]

    def _displayed(self) -> list[TableColumn[Row]]:
        return [
            column
            for column in self.columns
            if not column.optional or any(column.cell(row) for row in self)
        ]

    @override
    def __repr__(self) -> str:
        headings, aligns = self._headings()
        if not self and not self.notes:
            return _NO_ROWS
        table = [table_text(headings, self.cells(), aligns)] if self else []
        gap = [""] if self and self.notes else []
        return "\n".join([*table, *gap, *map(plain, self.notes)])

    def _repr_html_(self) -> str:
        headings, aligns = self._headings()
        table = table_html(headings, self.cells(), aligns) if self else ""
        return table + _lines_html(self.notes if self or self.notes else (_NO_ROWS,))

    def _headings(self) -> tuple[list[str], list[Align]]:
        columns = self._displayed()
        return [column.heading for column in columns], [column.align for column in columns]


def text_columns(*headings: str) -> tuple[TableColumn[Sequence[str]], ...]:
    """Return the columns of rows that are sequences of texts."""
    return tuple(TableColumn(heading, itemgetter(index)) for index, heading in enumerate(headings))


def to_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return rows as a DataFrame.

    Raises:
        ConfigError: If pandas is not installed.
    """
    try:
        # pandas is optional and slow to import.
        import pandas as pd
    except ImportError:
        raise ConfigError(
            "a DataFrame needs pandas, which is not installed.", hint=Hint("install", extra="data")
        ) from None
    return pd.DataFrame(rows)


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
