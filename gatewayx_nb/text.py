"""Prepares text for display: removes control characters, measures widths and formats tables."""

from __future__ import annotations

import itertools
import re
import shutil
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

Align = Literal["left", "right", "decimal"]
"""Alignment of a column; numbers in a "decimal" column are aligned at their decimal points."""

_UNITS = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_DECIMAL_LIMIT = 10  # smaller numbers are shown with one decimal

_FRACTION_PATTERN = re.compile(r"^[^\d\s]?[\d,]+(\.\d+)?$")
"""A number preceded by at most one symbol, such as ``$0.25``; the group is its fraction."""

_MIN_COLUMN_WIDTH = 8
"""Minimum width of a column that is reduced to fit a table into a window."""

# ECMA-48: control strings up to their terminator, control sequences, two-byte escapes. The
# quantifiers are possessive and no string contains an opener, so a megabyte of openers takes linear
# time.
_ESCAPE_SEQUENCES = re.compile(
    r"""(?: \x1b[\]PX^_] | [\x90\x98\x9d-\x9f] ) [^\x07\x1b\x80-\x9f]*+ (?: \x07 | \x1b\\ | \x9c )
      | (?: \x1b\[ | \x9b ) [0-?]*+ [ -/]*+ [@-~]
      | \x1b [ -/]*+ [0-~]""",
    re.VERBOSE,
)
# C0 and C1 controls except tab and newline, the bidi embeddings, overrides and isolates that change
# the reading order (https://trojansource.codes), and invisible characters that can only hide text.
# The joiners ZWNJ and ZWJ, and LRM, RLM and ALM are kept: scripts and emoji need them.
_INVISIBLE_CHARACTERS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATES = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    r"""Remove characters that control a terminal or mislead a reader.

    Escape sequences, control characters other than ``\n`` and ``\t``, bidirectional overrides and
    invisible characters are removed. Surrogate pairs are joined, lone surrogates become U+FFFD.

    >>> plain("\x1b[31mred\x1b[0m \x1b]0;title\x07alert\r\n")
    'red alert\n'
    """
    return _INVISIBLE_CHARACTERS.sub("", _ESCAPE_SEQUENCES.sub("", well_formed(text)))


def well_formed(text: str) -> str:
    """Join surrogate pairs and replace lone ones with U+FFFD, so that UTF-8 can encode the text."""
    if not _SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(text: str) -> str:
    r"""Return plain text in one line, with single spaces.

    >>> one_line("a\x1b[31m  name\n")
    'a name'
    """
    return " ".join(plain(text).split())


def shorten(text: str, limit: int) -> str:
    r"""Shorten text to one line of at most ``limit`` characters, with an ellipsis if truncated.

    >>> shorten("a long\n answer", 9)
    'a long a…'
    """
    # Read only the beginning of a long text, but enough for some invisible characters and spaces.
    line = one_line(text[: 20 * limit + 1_000])
    if len(line) <= limit:
        return line
    return line[: limit - 1].rstrip() + "…" if limit > 0 else ""


def short_repr(value: object, limit: int = 80) -> str:
    """Return the repr of an invalid value for an error message, shortened to one line.

    >>> short_repr("a long answer", 9)
    "'a long…"
    """
    # Only the start of a long string is needed, so do not build the whole repr.
    start = value[:limit] if isinstance(value, str | bytes) else value
    try:
        return shorten(repr(start), limit)
    except Exception:  # noqa: BLE001 - a class may define any repr, and an int may be too long
        return f"an object of type {type(value).__name__}"


def table_text(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    aligns: Sequence[Align] = (),
    width: int | None = None,
) -> str:
    """Return a table for a terminal, aligned by display width, without a final newline.

    >>> print(table_text(["engine", "key"], [["grok", "set"], ["anthropic", "missing"]]))
    engine     key
    ---------  -------
    grok       set
    anthropic  missing

    Args:
        columns: The headings.
        rows: The cells of each row.
        aligns: The alignment of each column; left if omitted.
        width: Width of the window in characters. In a wider table, the widest columns are wrapped
            between words; a word that is too long is truncated with an ellipsis. ``None`` allows
            any width.
    """
    column_aligns = fit_aligns(columns, aligns)
    # A line break in a cell would break the table.
    cells = [[one_line(cell) for cell in row] for row in fit_rows(columns, rows)]
    cells = align_decimals(cells, column_aligns, " ", " ")
    grid = [list(map(plain, columns)), *cells]
    widths = [max(map(display_width, column)) for column in zip(*grid, strict=True)]
    if width is not None:
        widths = _fit_widths(widths, width)
    lines = [line for row in grid[1:] for line in _row_lines(row, widths, column_aligns)]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([*_row_lines(grid[0], widths, column_aligns), rule, *lines])


def _fit_widths(widths: list[int], window: int) -> list[int]:
    """Reduce the widest columns until a table fits a window."""
    widths = list(widths)
    excess = sum(widths) + 2 * (len(widths) - 1) - window
    for _ in range(excess):
        widest_index = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest_index] <= _MIN_COLUMN_WIDTH:
            break
        widths[widest_index] -= 1
    return widths


def _row_lines(
    cells: Sequence[str], widths: Sequence[int], column_aligns: Sequence[Align]
) -> list[str]:
    """Return the lines of a row, with its cells wrapped to the widths of their columns."""
    wrapped_cells = [
        [_cut(line, width) for line in wrap(cell, width)]
        for cell, width in zip(cells, widths, strict=True)
    ]
    lines = itertools.zip_longest(*wrapped_cells, fillvalue="")
    return ["  ".join(map(_pad, line, widths, column_aligns)).rstrip() for line in lines]


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of text, broken between words; a word wider than a line is not broken.

    >>> wrap("a model of the provider-with-a-long-name", 10)
    ['a model of', 'the', 'provider-with-a-long-name']
    """
    if display_width(text) <= width:
        return [text]
    lines: list[str] = []
    for word in text.split():
        longer_line = f"{lines[-1]} {word}" if lines else word
        if lines and display_width(longer_line) <= width:
            lines[-1] = longer_line
        else:
            lines.append(word)
    return lines


def _cut(line: str, width: int) -> str:
    """Truncate a line with an ellipsis if it is wider than a column."""
    if display_width(line) <= width:
        return line
    line = line[:width]  # a long line would take quadratic time
    while display_width(line) > width - 1:
        line = line[:-1]
    return f"{line}…"


def align_decimals(
    rows: Sequence[Sequence[str]], aligns: Sequence[Align], digit: str, point: str
) -> list[list[str]]:
    """Return the rows with the numbers in "decimal" columns aligned at their decimal points.

    >>> align_decimals([["$0.25"], ["$1"], ["unpriced"]], ["decimal"], "0", ".")
    [['$0.25'], ['$1.00'], ['unpriced']]

    Args:
        rows: The cells of each row.
        aligns: The alignment of each column.
        digit: Fills the place of a missing digit.
        point: Fills the place of a missing decimal point.
    """
    columns = [
        _align_column(column, digit, point) if align == "decimal" else column
        for column, align in zip(zip(*rows, strict=True), aligns, strict=False)
    ]
    return list(map(list, zip(*columns, strict=True)))


def _align_column(cells: Sequence[str], digit: str, point: str) -> list[str]:
    matches = list(map(_FRACTION_PATTERN.match, cells))
    fractions = [len(match[1] or "") if match else 0 for match in matches]
    longest_fraction = max(fractions)
    return [
        cell
        + (
            point + digit * (longest_fraction - 1)
            if not length
            else digit * (longest_fraction - length)
        )
        if match and longest_fraction
        else cell
        for cell, match, length in zip(cells, matches, fractions, strict=True)
    ]


def _pad(cell: str, width: int, align: Align) -> str:
    gap = " " * (width - display_width(cell))  # `str.ljust` counts characters
    return cell + gap if align == "left" else gap + cell


def fit_aligns(columns: Sequence[str], aligns: Sequence[Align]) -> list[Align]:
    """Return one alignment per column; columns without one are aligned left."""
    return [*aligns, *["left"] * (len(columns) - len(aligns))]  # type: ignore[list-item]


def fit_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the rows, each with exactly one cell per column."""
    return [[*row, *[""] * len(columns)][: len(columns)] for row in rows]


def display_width(text: str) -> int:
    """Return the width of a string in terminal columns, computed by wcwidth.

    >>> display_width("👨‍👩‍👧"), display_width("日本"), display_width("abc")
    (2, 4, 3)
    """
    import wcwidth  # on first use, because it takes longer than the rest of the module

    width = wcwidth.wcswidth(text)  # -1 if the text contains a control character
    return width if width >= 0 else sum(max(0, wcwidth.wcwidth(char)) for char in text)


def window_width() -> int | None:
    """Return the width of the terminal that shows the output; ``None`` if it is not a terminal."""
    # A kernel's output has the same width everywhere, because notebooks save it.
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def size_text(size: int) -> str:
    """Return a number of bytes in decimal units, as disks and model hubs show it.

    >>> size_text(98_362_432), size_text(4_700_000_000), size_text(700)
    ('98 MB', '4.7 GB', '700 bytes')
    """
    for factor, unit in _UNITS:
        if size >= factor:
            return f"{size / factor:.{1 if size < _DECIMAL_LIMIT * factor else 0}f} {unit}"
    return f"{size} bytes"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    >>> counted(1, "row"), counted(20_000, "row")
    ('1 row', '20,000 rows')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def dollars(cost: Decimal) -> str:
    """Return an amount in US dollars, without trailing zeros."""
    return f"${cost.normalize():f}"


def known_and_unpriced(cost: Decimal, unpriced_count: int) -> str:
    """Return the known cost and the number of unpriced calls."""
    # Beside unpriced calls, "$0" would look like a price.
    known_cost = [dollars(cost)] if cost or not unpriced_count else []
    return " + ".join(known_cost + ([f"{unpriced_count} unpriced"] if unpriced_count else []))
