"""Reads the rows of a map from a DataFrame, a Series, a list or any other iterable."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.prompts import table_kind
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.hints import Hint

    RowValue = str | Mapping[Any, object]
    """A row: a string, or a mapping from column names to values."""

INPUT_NAME = "input"
"""Name of the placeholder for a row that is a string: ``{{input}}``."""

RowsKind = Literal["frame", "series", "list", "iterator"]


class NoRowYet(enum.Enum):
    """A marker that an iterator of rows yields instead of blocking until its next row is ready."""

    NO_ROW_YET = 0


class Row(dict[Any, Any]):
    """A row of a DataFrame; its columns are also attributes: ``row["text"]`` or ``row.text``."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a user's value
        try:
            return self[name]
        except KeyError:
            columns = [column for column in self if isinstance(column, str)]
            raise AttributeError(
                f"the row has no column {name!r}.{did_you_mean(name, columns)}"
            ) from None

    def __missing__(self, name: object) -> Any:  # noqa: ANN401
        columns = [column for column in self if isinstance(column, str)]
        advice = did_you_mean(name, columns) if isinstance(name, str) else ""
        raise KeyError(f"the row has no column {name!r}.{advice}")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a map, read in the same way whatever their source.

    Attributes:
        kind: Where the rows come from: a DataFrame, a Series, a list or an iterator.
        source: The object that the caller passed.
        library: The package of a DataFrame or a Series: ``"pandas"``, ``"polars"`` or
            ``"dask"``.
        columns: The columns of a DataFrame; the name of a Series; ``None`` for a list or an
            iterator, whose rows may have different keys.
        count: Number of rows; ``None`` if it is not known yet, as for an iterator or a Dask
            DataFrame.
    """

    kind: RowsKind
    source: Any
    library: str = ""
    columns: tuple[Any, ...] | None = None
    count: int | None = None

    def __iter__(self) -> Iterator[RowValue]:
        return self.read()

    def placeholder_names(self) -> list[str]:
        """Return the names that a template placeholder can start with.

        For a list, these are the keys of its dicts, and ``input`` if it contains strings. For an
        iterator, they are unknown, and the list is empty.
        """
        if self.kind == "frame":
            return [name for name in self.columns or () if isinstance(name, str)]
        if self.kind == "series":
            return [
                INPUT_NAME,
                *(name for name in self.columns or () if name and isinstance(name, str)),
            ]
        if self.kind == "iterator":
            return []
        names: dict[Any, None] = {}
        for row in self.source:
            names.update(dict.fromkeys(row if isinstance(row, Mapping) else (INPUT_NAME,)))
        return [name for name in names if isinstance(name, str)]

    def read(self, names: Iterable[Any] | None = None) -> Iterator[RowValue]:
        """Yield each row.

        Args:
            names: The columns of a DataFrame to read; all if omitted.
        """
        if self.kind == "frame":
            return self._read_frame(None if names is None else set(names))
        values = self.source.to_list() if self.kind == "series" else self.source
        return map(_checked_row, values, _positions())

    def check_blocking_allowed(self) -> None:
        """Check that reading the rows may block the current thread.

        Any thread may be blocked, unless a subclass refuses it.

        Raises:
            UsageError: If a subclass refuses the current thread.
        """

    def close(self) -> None:
        """Stop reading; called at the end of the map."""

    def _read_frame(self, names: set[Any] | None) -> Iterator[Row]:
        assert self.columns is not None  # noqa: S101 - set for a frame
        selected_columns = [
            (position, column)
            for position, column in enumerate(self.columns)
            if names is None or column in names
        ]
        selected_names = [column for _, column in selected_columns]
        if not selected_names:
            return (Row() for _ in range(self.count or 0))
        values = zip(*(self._column(position) for position, _ in selected_columns), strict=True)
        return (Row(zip(selected_names, row, strict=True)) for row in values)

    def _column(self, position: int) -> Iterable[Any]:
        if self.library == "polars":
            return self.source.to_series(position)  # type: ignore[no-any-return]
        # Iterating over a Series yields Python numbers, not NumPy numbers.
        return self.source.iloc[:, position]  # type: ignore[no-any-return]


def read_rows(source: object) -> Rows:
    """Return the rows that a caller passed.

    Raises:
        UsageError: If the source or one of its rows has an unsupported type, if the source is not
            in memory, or if two columns have the same name.
    """
    kind, library = table_kind(source), _library(source)
    if library == "dask" and type(source).__name__ in ("DataFrame", "Series"):
        return _dask_rows(source)
    if kind == "DataFrame":
        columns = tuple(source.columns)  # type: ignore[attr-defined]
        _check_unique(columns)
        return Rows("frame", source, library, columns, len(source))  # type: ignore[arg-type]
    if kind == "Series":
        return Rows("series", source, library, (source.name,), len(source))  # type: ignore[attr-defined, arg-type]
    if _is_lazy(source):
        raise UsageError(
            f"rows must be in memory, got a {type(source).__name__}.",
            hint="Pass `rows.collect()`.",
        )
    if hasattr(source, "tolist") and getattr(source, "ndim", None) == 1:  # a NumPy array
        source = source.tolist()
    if isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable):
        raise UsageError(
            "rows must be a DataFrame, a Series, or an iterable of strings or dicts,"
            f" got {short_repr(source)}.",
            hint=_source_hint(source),
        )
    if isinstance(source, Sequence):
        row_list = list(source)
        for position, item in enumerate(row_list):
            _checked_row(item, position)
        return Rows("list", row_list, count=len(row_list))
    if isinstance(source, Iterator):
        return Rows("iterator", source)
    row_list = list(source)
    return Rows("list", row_list, count=len(row_list))


def _dask_rows(source: Any) -> Rows:  # noqa: ANN401 - dask is optional
    """Return the rows of a Dask DataFrame or Series; nothing is computed."""
    if type(source).__name__ == "Series":
        return Rows("series", source, "dask", (source.name,))
    columns = tuple(source.columns)
    _check_unique(columns)
    return Rows("frame", source, "dask", columns)


def _positions() -> Iterator[int]:
    position = 0
    while True:
        yield position
        position += 1


def _library(source: object) -> str:
    for base in type(source).__mro__:
        package = base.__module__.partition(".")[0]
        if package in ("pandas", "polars", "dask"):
            return package
    return ""


def _is_lazy(source: object) -> bool:
    return type(source).__name__ == "LazyFrame" and hasattr(source, "collect")


def _check_unique(columns: Sequence[Any]) -> None:
    seen_columns: set[Any] = set()
    for column in columns:
        if column in seen_columns:
            raise UsageError(
                f"column names must be unique, got {column!r} twice.",
                hint="Rename one of them.",
            )
        seen_columns.add(column)


def _checked_row(item: object, position: int) -> RowValue:
    """Return a row of a list or an iterator.

    Raises:
        UsageError: If the row is not a string, a mapping, a named tuple or a scalar.
    """
    if isinstance(item, str | Mapping):
        return item
    if hasattr(item, "_asdict"):  # a named tuple, for example from `DataFrame.itertuples`
        return Row(item._asdict())
    if _is_not_iterable(item):
        return item  # type: ignore[return-value]  # a missing value is refused later
    raise UsageError(
        f"rows[{position}] must be a string or a dict, got {short_repr(item)}.",
        hint="Pass the DataFrame itself."
        if isinstance(item, tuple)
        else "For example, `[{'text': 'Hello'}]`.",
    )


def _is_not_iterable(item: object) -> bool:
    return item is None or isinstance(item, int | float) or not hasattr(item, "__iter__")


def _source_hint(source: object) -> Hint | str:
    if isinstance(source, str | bytes):
        return "For one prompt, call `ask`; for one row, pass a list."
    if isinstance(source, Mapping) and all(isinstance(value, list) for value in source.values()):
        return "Pass `pd.DataFrame(rows)`."
    if isinstance(source, Mapping):
        return "For one row, pass a list: `[row]`."
    return "For example, `df`, `df['text']` or `['Hello', 'Bye']`."


def row_namespace(name: object) -> Callable[[Any], Mapping[Any, object]]:
    """Return a function that maps a row to the values available to a template.

    Args:
        name: Name of the Series that contains the rows; ``None`` for other rows.
    """

    def namespace(row: Any) -> Mapping[Any, object]:  # noqa: ANN401 - a row of any kind
        if isinstance(row, Mapping):
            return row
        values: dict[Any, object] = {INPUT_NAME: row}
        if isinstance(name, str):
            values[name] = row
        return values

    return namespace
