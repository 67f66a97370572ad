"""HTML building blocks: escaped text, boxes, tables, columns and folded sections."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from gatewayx_nb.text import align_decimals, fit_aligns, fit_rows, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayx_nb.text import Align

# Text such as "$5 to $10" is not math. MathJax 2 skips elements with the first class, MathJax 3
# elements with the second.
# https://docs.mathjax.org/en/v2.7-latest/options/preprocessors/tex2jax.html
# https://docs.mathjax.org/en/latest/options/document.html
NO_MATH_CLASSES = "tex2jax_ignore mathjax_ignore"
MUTED = "opacity:.6;font-size:.85em"
LEFT_STYLE = "text-align:left"
SCROLL_X_STYLE = "overflow-x:auto"
CELL_PADDING = "padding:.35em .7em"  # marimo defines no padding for cells
BOX_STYLE = "max-height:50em;overflow:auto"
SCROLLED_TO_END_STYLE = "display:flex;flex-direction:column-reverse"
# Columns are side by side if the page is wide enough, otherwise stacked. All have the same width,
# even in an incomplete last row. The grey line above each is visible on light and dark backgrounds.
_COLUMNS_STYLE = (
    "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(15em,100%),1fr));gap:1em"
)
_COLUMN_STYLE = (
    "min-width:0;max-width:100%;overflow-x:auto;overflow-wrap:anywhere;"
    f"{LEFT_STYLE};border-top:2px solid rgba(128,128,128,.5);padding-top:.3em"
)
# JupyterLab divides a table's width equally between its columns, and breaks words to fit them in.
_TABLE_STYLE = "table-layout:auto;margin:.5em 0;border-collapse:collapse"
_TEXT_CELL_STYLE = "overflow-wrap:normal;word-break:normal;vertical-align:top;padding:.35em .5em"
_NUMBER_CELL_STYLE = f"text-align:right;font-variant-numeric:tabular-nums;{_TEXT_CELL_STYLE}"
_CELL_STYLES: Mapping[Align, str] = {
    "left": f"{LEFT_STYLE};{_TEXT_CELL_STYLE}",
    "right": _NUMBER_CELL_STYLE,
    "decimal": _NUMBER_CELL_STYLE,
}
_NO_WRAP_STYLE = "white-space:nowrap"
# Without a minimum width, a narrow page would show text as a column of single words.
_LONG_CELL_LENGTH, _TEXT_WIDTH_STYLE = 40, "min-width:11em"
_MAX_UNBROKEN_LENGTH = 16
"""Maximum number of characters of a number or an interval that is kept on one line."""

_LONG_REFERENCE_LENGTH = 20
"""Number of characters above which a reference may be broken after its engine."""

_AFTER_SLASH = re.compile(r"(?<=[\w.]/)(?=[\w.])")

_BAR_WIDTH, _BAR_HEIGHT = 100, 16
_BAR_MARGIN = 5
"""The margins of an interval bar in pixels, like its width and height above."""

_BADGE_STYLE = "border:1px solid;border-radius:.8em;padding:0 .5em;margin-left:.5em;font-size:.85em"


def escape(text: str) -> str:
    """Escape text for HTML, between tags or in a quoted attribute."""
    return html.escape(plain(text))


def inline_code(text: str) -> str:
    """Return a message as HTML, with text between backticks as code.

    >>> inline_code("try `pip install gatewayx-nb`")
    'try <code>pip install gatewayx-nb</code>'
    """
    return _with_code(text, "<code>")


def _with_code(text: str, tag: str, to_html: Callable[[str], str] = escape) -> str:
    # The parts with odd indices are code.
    parts = text.split("`")
    # With an unpaired backtick, it is unclear which parts are code.
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(
        f"{tag}{escape(part)}</code>" if index % 2 else to_html(part)
        for index, part in enumerate(parts)
    )


def wrap_reply(body: str, text_below: str = "") -> str:
    """Return safe HTML in the reply box, with unformatted text below it."""
    below = f"<pre>{html.escape(text_below)}</pre>" if text_below else ""
    return f'<div class="gatewayx-reply {NO_MATH_CLASSES}" dir="auto">{body}{below}</div>'


def preformatted_html(text: str) -> str:
    """Return unformatted text in the reply box, with long lines wrapped."""
    return wrap_reply(f'<pre style="white-space:pre-wrap">{escape(text)}</pre>')


def scroll_horizontally(body: str) -> str:
    """Return safe HTML in a box, so that wide content scrolls horizontally instead of the page."""
    return f'<div style="{SCROLL_X_STYLE}">{body}</div>'


def details(summary: str, body: str, *, is_open: bool = False) -> str:
    """Return a section that a click on its summary expands or collapses."""
    state = " open" if is_open else ""
    return f"<details{state}><summary>{escape(summary)}</summary>{body}</details>"


def table_html(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    aligns: Sequence[Align] = (),
    drawings: Mapping[int, Sequence[str]] | None = None,
) -> str:
    """Return an HTML table in the colours of the page; the text of its cells is escaped.

    Text between backticks is code. Lines break between words, never within a word or code. A table
    that is wider than the page scrolls horizontally.

    Args:
        columns: The headings.
        rows: The cells of each row.
        aligns: The alignment of each column; left if omitted.
        drawings: Safe HTML to put before the text of each cell, by column index.
    """
    column_aligns = fit_aligns(columns, aligns)
    # U+2007 is as wide as a digit, and U+2008 is as wide as a full stop.
    cells = align_decimals(fit_rows(columns, rows), column_aligns, "\u2007", "\u2008")
    heads = "".join(
        f'<th scope="col" style="{_CELL_STYLES[side]}">{escape(name)}</th>'
        for name, side in zip(columns, column_aligns, strict=True)
    )
    blank_column = [""] * len(cells)
    row_drawings = zip(
        *[(drawings or {}).get(index, blank_column) for index in range(len(column_aligns))],
        strict=True,
    )
    body = "".join(
        f"<tr>{''.join(map(_cell_html, row, column_aligns, images))}</tr>"
        for row, images in zip(cells, row_drawings, strict=True)
    )
    table = (
        f'<table class="gatewayx-table {NO_MATH_CLASSES}" style="{_TABLE_STYLE}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )
    return scroll_horizontally(table)


def interval_bar(
    low: float | None, mean: float, high: float | None, scale: tuple[float, float]
) -> str:
    """Return an SVG image of a mean and its interval, in the text colour of the page.

    Args:
        low: Lower end of the interval; ``None`` to draw only the mean.
        mean: The mean.
        high: Upper end of the interval.
        scale: The values at the left and right margins; they are the same for all bars in a column.
    """
    start, end = scale
    span = (end - start) or 1.0

    def x_position(value: float) -> float:
        share = min(max((value - start) / span, 0.0), 1.0)
        return round(_BAR_MARGIN + share * (_BAR_WIDTH - 2 * _BAR_MARGIN), 1)

    middle = _BAR_HEIGHT / 2
    axis = f'<path d="M{_BAR_MARGIN} {middle}H{_BAR_WIDTH - _BAR_MARGIN}" stroke-opacity=".2"/>'
    label = f"{mean:.3g}"
    line = ""
    if low is not None and high is not None:
        label = f"{mean:.3g} ({low:.3g} to {high:.3g})"
        whisker_ends = f"M{x_position(low)} {middle - 4}v8M{x_position(high)} {middle - 4}v8"
        line = (
            f'<path d="M{x_position(low)} {middle}H{x_position(high)}{whisker_ends}"'
            ' stroke-width="2"/>'
        )
    dot = f'<circle cx="{x_position(mean)}" cy="{middle}" r="4" fill="currentColor" stroke="none"/>'
    return (
        f'<svg role="img" aria-label="{escape(label)}" width="{_BAR_WIDTH}" height="{_BAR_HEIGHT}"'
        f' style="min-width:{_BAR_WIDTH}px"'  # JupyterLab shrinks images in a wide table
        f' viewBox="0 0 {_BAR_WIDTH} {_BAR_HEIGHT}" fill="none" stroke="currentColor">'
        f"{axis}{line}{dot}</svg>"
    )


def _cell_html(cell: str, align: Align, drawing: str = "") -> str:
    style = _CELL_STYLES[align]
    if align != "left" and len(cell) <= _MAX_UNBROKEN_LENGTH:
        style += f";{_NO_WRAP_STYLE}"
    elif len(cell) > _LONG_CELL_LENGTH and " " in cell:
        style += f";{_TEXT_WIDTH_STYLE}"
    content = _with_code(cell, f'<code style="{_NO_WRAP_STYLE}">', _breakable_html)
    return f'<td style="{style}">{drawing}{content}</td>'


def _breakable_html(text: str) -> str:
    """Return escaped text whose lines break between words, but not at hyphens within words.

    A long reference may also be broken after its engine, and a path after a slash.
    """
    return " ".join(map(_word_html, escape(text).split(" ")))


def _word_html(word: str) -> str:
    engine, colon, model = word.partition(":")
    is_reference = colon and engine.isidentifier() and not model.startswith("//")
    if is_reference and len(word) > _LONG_REFERENCE_LENGTH:
        return f"{engine}:<wbr>{_word_html(model)}"
    return "<wbr>".join(
        f'<span style="{_NO_WRAP_STYLE}">{part}</span>' if "-" in part else part
        for part in _AFTER_SLASH.split(word)
    )


def column_html(label: str, answer: str, badges: Sequence[str] = (), error: str = "") -> str:
    """Return a reply as a column, for use in `columns_html`.

    Args:
        label: The heading of the column.
        answer: The reply so far, as returned by `reply_html`.
        badges: Short labels after the heading, such as ``fastest``.
        error: Why the reply is incomplete; empty if it is complete.
    """
    # With the role and the label, a screen reader announces which model wrote the text.
    name = escape(label)
    message = (
        f'<div class="gatewayx-error {NO_MATH_CLASSES}">{inline_code(error)}</div>' if error else ""
    )
    return (
        f'<div class="gatewayx-column" role="group" aria-label="{name}" style="{_COLUMN_STYLE}">'
        f"{heading_html(label, badges)}{answer}{message}</div>"
    )


def heading_html(label: str, badges: Sequence[str] = ()) -> str:
    """Return the heading of a column, followed by its badges."""
    badge_html = "".join(
        f' <span style="{_BADGE_STYLE}">{escape(badge)}</span>' for badge in badges
    )
    role = 'role="heading" aria-level="4"'
    name = f"<strong>{escape(label)}</strong>{badge_html}"
    return f'<div class="gatewayx-label {NO_MATH_CLASSES}" {role}>{name}</div>'


def columns_html(columns: Sequence[str]) -> str:
    """Return columns from `column_html` side by side."""
    return f'<div class="gatewayx-columns" style="{_COLUMNS_STYLE}">{"".join(columns)}</div>'
