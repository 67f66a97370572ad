"""Templates that are filled in once for each row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.images import Image
from gatewayx_nb.prompts.placeholders import Placeholder, split_template
from gatewayx_nb.prompts.template import ROWS, FilledPrompt, to_image, to_text
from gatewayx_nb.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

ROW = "row"
"""The name by which a template refers to the whole row: ``{{row["Subject Line"]}}``."""

_FORBIDDEN_TYPES = (Secret,)
_DIGEST_LENGTH = 32
_MISSING_TYPES = frozenset({"NAType", "NaTType"})
"""The types of pandas' missing values, by name, so that pandas is not imported."""


class RowTemplate:
    """A prompt with placeholders for the columns of a row.

    ``{{name}}`` is the value of a column; ``{{row["Subject Line"]}}`` is for a column whose name is
    not an identifier. Attributes, items and format specifications work as in a cell's prompt.

    A placeholder that begins with the name of a constant is the same for all rows. It is filled in
    when the template is created, as in a cell's prompt, and its value is never scanned for
    placeholders.

    Args:
        template: The prompt.
        blank: Whether a missing value in a row becomes an empty string rather than an error.
        constants: The values that are the same for all rows, by name.
        table_rows: Maximum number of rows of a table in the prompt.

    Attributes:
        template: The prompt.

    Raises:
        UsageError: If a constant cannot be written as text.
    """

    def __init__(
        self,
        template: str,
        *,
        blank: bool = False,
        constants: Mapping[str, object] | None = None,
        table_rows: int = ROWS,
    ) -> None:
        self.template, self._allows_missing = template, blank
        self._constants, self._table_rows = dict(constants or {}), table_rows
        self._sources = list(split_template(template))
        self._parts: list[str | Placeholder | Image] = list(map(self._fill_constant, self._sources))
        self._names = [_simple_name(part) for part in self._parts]
        self._is_simple = all(
            name is not None or isinstance(part, str)
            for name, part in zip(self._names, self._parts, strict=True)
        )

    def as_blank(self) -> RowTemplate:
        """Return a copy of the template in which missing values become empty strings."""
        return RowTemplate(
            self.template, blank=True, constants=self._constants, table_rows=self._table_rows
        )

    @property
    def has_placeholder(self) -> bool:
        """Whether any placeholder is filled for each row, so that the text can differ."""
        return any(True for _ in self._placeholders())

    @property
    def columns(self) -> list[str]:
        """The columns that the template uses, without duplicates."""
        names = map(_column_of, self._placeholders())
        return list(dict.fromkeys(name for name in names if name is not None))

    @property
    def names_whole_row(self) -> bool:
        """Whether a placeholder refers to the whole row rather than a column."""
        return any(_column_of(placeholder) is None for placeholder in self._placeholders())

    @property
    def constants_digest(self) -> str:
        """A digest of the texts and images of the constants; empty if there are no constants."""
        filled_parts = [
            part if isinstance(part, str) else hashlib.sha256(part.data).hexdigest() + part.url
            for part, source in zip(self._parts, self._sources, strict=True)
            if isinstance(source, Placeholder) and not isinstance(part, Placeholder)
        ]
        content = repr(filled_parts).encode("utf-8", "backslashreplace")
        return hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH] if filled_parts else ""

    def check(self, columns: Collection[object], part: str = "the prompt") -> None:
        """Check that the rows have every column that the template uses.

        Args:
            columns: The columns of the rows.
            part: The name of the template in the error message.

        Raises:
            UsageError: If a column does not exist.
        """
        for name in self.columns:
            if name not in columns:
                raise no_column(name, columns, part)

    def fill(self, row: Mapping[Any, object]) -> FilledPrompt:
        """Fill in the values of a row.

        Raises:
            UsageError: If a value is missing, for example None or NaN, or cannot be written as
                text, or if a column does not exist.
        """
        if self._is_simple and (text := self._fill_fast(row)) is not None:
            return FilledPrompt(text)
        texts: list[str] = []
        loaded_images: list[Image] = []
        image_names: list[str] = []
        namespace = _Namespace(row)
        for part, source in zip(self._parts, self._sources, strict=True):
            content = (
                self._fill_placeholder(part, namespace) if isinstance(part, Placeholder) else part
            )
            if isinstance(content, Image):
                loaded_images.append(content)
                image_names.append(source.name if isinstance(source, Placeholder) else "")
                content = f"[image {len(loaded_images)}]"
            texts.append(content)
        return FilledPrompt("".join(texts), tuple(loaded_images), tuple(image_names))

    def _fill_constant(self, part: str | Placeholder) -> str | Placeholder | Image:
        """Return the text or image of a constant's placeholder; return other parts unchanged."""
        if isinstance(part, str) or part.root not in self._constants:
            return part
        return self._write_value(part, part.value(self._constants, _FORBIDDEN_TYPES))

    def _fill_placeholder(
        self, placeholder: Placeholder, namespace: Mapping[str, object]
    ) -> str | Image:
        """Return the text or the image for a placeholder, from the values of a row."""
        value = placeholder.value(namespace, _FORBIDDEN_TYPES)
        return (
            self._missing_text(placeholder.name)
            if is_missing(value)
            else self._write_value(placeholder, value)
        )

    def _write_value(self, placeholder: Placeholder, value: object) -> str | Image:
        # With a format specification, a value is text even if it could be drawn.
        if placeholder.spec or not images.is_drawable(value):
            return to_text(
                placeholder.name, value, placeholder.spec, self._table_rows, _FORBIDDEN_TYPES
            )
        return to_image(placeholder.name, value)

    def _placeholders(self) -> Iterator[Placeholder]:
        return (part for part in self._parts if isinstance(part, Placeholder))

    def _fill_fast(self, row: Mapping[Any, object]) -> str | None:
        """Return the filled text if all values are str or int, otherwise ``None``."""
        texts: list[str] = []
        for part, name in zip(self._parts, self._names, strict=True):
            if name is None:
                texts.append(part)  # type: ignore[arg-type]  # `_is_simple` excludes other fields
                continue
            try:
                value = row[name]
            except KeyError:
                raise no_column(name, row) from None
            value_type = type(value)
            if value_type is str:
                texts.append(value)  # type: ignore[arg-type]
            elif value_type is int:
                texts.append(str(value))
            else:
                return None
        return "".join(texts)

    def _missing_text(self, name: str) -> str:
        if self._allows_missing:
            return ""
        raise UsageError(
            f"the value of {{{{{name}}}}} is missing in this row.",
            hint=Hint("blank_missing"),
        )


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, or pandas' NA or NaT."""
    if value is None or type(value).__name__ in _MISSING_TYPES:
        return True
    return isinstance(value, float) and value != value  # noqa: PLR0124 - true only for NaN


def no_column(name: str, columns: Collection[object], part: str = "the prompt") -> UsageError:
    """Return the error for a template that refers to a column that does not exist."""
    names = [column for column in columns if isinstance(column, str)]
    names_text = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")  # noqa: PLR2004
    return UsageError(
        f"{part} refers to {{{{{name}}}}}, but the rows have no column {name!r}."
        f"{did_you_mean(name, names)}",
        hint=f"The columns are {names_text}." if names_text else None,
    )


class _Namespace(dict[str, Any]):
    """The names that a placeholder can start with: the columns of a row, and ``row``."""

    def __init__(self, row: Mapping[Any, object]) -> None:
        super().__init__()
        self._row = row

    def __missing__(self, name: str) -> object:
        if name in self._row:
            return self._row[name]
        if name == ROW:
            return self._row
        raise no_column(name, list(self._row))


def placeholder_roots(template: str) -> list[str]:
    """Return the names at the beginning of a template's placeholders, without duplicates."""
    placeholders = (part for part in split_template(template) if isinstance(part, Placeholder))
    return list(dict.fromkeys(placeholder.root for placeholder in placeholders))


def _simple_name(part: str | Placeholder | Image) -> str | None:
    """Return the column if a placeholder is only the name of a column, otherwise ``None``."""
    if not isinstance(part, Placeholder) or part.spec:
        return None
    return _column_of(part) if not part.path or part.is_item_of(ROW) else None


def _column_of(part: Placeholder) -> str | None:
    """Return the column to which a placeholder refers; ``None`` for the whole row."""
    if part.root != ROW:
        return part.root
    return part.first_key
