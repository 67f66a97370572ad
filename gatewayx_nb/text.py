"""Text for display: plain text without control characters, display width and text tables."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import wcwidth

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

Align = Literal["left", "right"]
"""Alignment of a column."""

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
_INVISIBLE = re.compile(
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
    # An emoji that was split between two chunks arrives as two surrogates.
    if _SURROGATES.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return _INVISIBLE.sub("", _ESCAPE_SEQUENCES.sub("", text))


def shorten(text: str, limit: int) -> str:
    r"""Shorten text to one line of at most ``limit`` characters, with an ellipsis if truncated.

    >>> shorten("a long\n answer", 9)
    'a long a…'
    """
    line = " ".join(plain(text).split())
    if len(line) <= limit:
        return line
    return line[: limit - 1].rstrip() + "…" if limit > 0 else ""


def table_text(
    columns: Sequence[str], rows: Sequence[Sequence[str]], aligns: Sequence[Align] = ()
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
    """
    cells = (columns, *fit_rows(columns, rows))
    # A line break in a cell would break the table.
    lines = [[" ".join(plain(cell).split()) for cell in row] for row in cells]
    widths = [max(map(display_width, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    sides = fit_aligns(columns, aligns)
    return "\n".join("  ".join(map(_pad, line, widths, sides)).rstrip() for line in lines)


def _pad(cell: str, width: int, align: Align) -> str:
    gap = " " * (width - display_width(cell))  # `str.ljust` counts characters
    return gap + cell if align == "right" else cell + gap


def fit_aligns(columns: Sequence[str], aligns: Sequence[Align]) -> list[Align]:
    """Return one alignment per column; columns without one are aligned left."""
    return [*aligns, *["left"] * (len(columns) - len(aligns))]  # type: ignore[list-item]


def fit_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the rows, each with exactly one cell per column."""
    return [[*row, *[""] * len(columns)][: len(columns)] for row in rows]


def display_width(text: str) -> int:
    """Return a text's width in terminal columns, computed by wcwidth.

    >>> display_width("👨‍👩‍👧"), display_width("日本"), display_width("abc")
    (2, 4, 3)
    """
    width = wcwidth.wcswidth(text)  # -1 if the text contains a control character
    return width if width >= 0 else sum(max(0, wcwidth.wcwidth(char)) for char in text)


def dollars(cost: Decimal) -> str:
    """Return an amount in US dollars, without trailing zeros."""
    return f"${cost.normalize():f}"


def known_and_unpriced(cost: Decimal, unpriced: int) -> str:
    """Return the known cost and the number of unpriced calls, which may not be free."""
    known = [dollars(cost)] if cost or not unpriced else []  # "$0" would look like a price
    return " + ".join(known + ([f"{unpriced} unpriced"] if unpriced else []))
