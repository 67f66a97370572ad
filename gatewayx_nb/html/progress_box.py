"""Formats the progress of a map as HTML: a title, a bar, labelled figures and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.html.components import LEFT_STYLE, MUTED, NO_MATH_CLASSES, escape, inline_code

if TYPE_CHECKING:
    from collections.abc import Sequence

# The colours are visible on light and dark backgrounds.
_DONE_COLOUR, _FAILED_COLOUR, _EMPTY_COLOUR = "#3f7fbf", "#c8553d", "rgba(128,128,128,.25)"
_BOX_STYLE = f"{LEFT_STYLE};max-width:52em;line-height:1.5;margin:.3em 0"
_TITLE_STYLE = "display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1em"
_BAR_STYLE = (
    "display:flex;overflow:hidden;height:.5em;border-radius:.25em;margin:.4em 0;"
    f"background:{_EMPTY_COLOUR}"
)
_ONE_LINE_STYLE = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
_NUMBER_STYLE = f"font-variant-numeric:tabular-nums;{_ONE_LINE_STYLE}"
# All columns have the same width, so that a growing figure does not move other figures.
_FIGURES_STYLE = (
    "display:grid;grid-template-columns:repeat(auto-fill,minmax(5.6em,1fr));gap:.1em .8em"
)
_WIDE_CELL_STYLE = "grid-column:span 2"
_LONG_LABEL = "bound by"
_LINE_HEIGHT = 1.5
_ITEM_STYLE = f"{MUTED};{_ONE_LINE_STYLE};height:{_LINE_HEIGHT}em"
_NOTE_STYLE = (
    f"border-left:3px solid {_FAILED_COLOUR};padding-left:.6em;margin:.3em 0;overflow-wrap:anywhere"
)


def progress_html(
    title: tuple[str, str, str],
    shares: tuple[float, float],
    labelled_values: Sequence[tuple[str, str]],
    items: Sequence[str],
) -> str:
    """Return the state of a running map as HTML; its height does not depend on the values.

    Args:
        title: The name, the state, and the number of rows, which is shown at the right.
        shares: The shares of finished and failed rows, from 0 to 1.
        labelled_values: The figures, as pairs of a label and a value.
        items: The lines below the figures, each truncated at the width of the page; an empty line
            takes the same space.
    """
    cells = "".join(_figure(label, value) for label, value in labelled_values)
    lines = "".join(
        f'<div style="{_ITEM_STYLE}">{escape(item) or "&nbsp;"}</div>' for item in items
    )
    grid = f'<div style="{_FIGURES_STYLE}">{cells}</div>'
    return _box(title, shares, f'{grid}<div style="margin-top:.4em">{lines}</div>')


def summary_html(
    title: tuple[str, str, str],
    shares: tuple[float, float],
    lines: Sequence[str],
    errors: Sequence[str] = (),
) -> str:
    """Return the state of a finished map as HTML.

    Args:
        title: The name, the state, and the number of rows, which is shown at the right.
        shares: The shares of finished and failed rows, from 0 to 1.
        lines: The lines of the summary, in which backticks mark code.
        errors: The errors, which are shown after the first line; backticks mark code.
    """
    line_htmls = [f"<div>{inline_code(line)}</div>" for line in lines]
    line_htmls[1:1] = [f'<div style="{_NOTE_STYLE}">{inline_code(error)}</div>' for error in errors]
    return _box(title, shares, "".join(line_htmls))


def _box(title: tuple[str, str, str], shares: tuple[float, float], body: str) -> str:
    name, state, count = map(escape, title)
    done_percent, failed_percent = (100 * min(1.0, max(0.0, share)) for share in shares)
    bar = "".join(
        f'<div style="background:{color};width:{width:.2f}%"></div>'
        for color, width in ((_DONE_COLOUR, done_percent), (_FAILED_COLOUR, failed_percent))
    )
    return (
        f'<div class="gatewayx-progress {NO_MATH_CLASSES}" style="{_BOX_STYLE}">'
        f'<div style="{_TITLE_STYLE}">'
        f'<div><b>{name}</b> <span style="{MUTED}">{state}</span></div>'
        f'<div style="{_NUMBER_STYLE}">{count}</div></div>'
        f'<div style="{_BAR_STYLE}">{bar}</div>{body}</div>'
    )


def _figure(label: str, value: str) -> str:
    width = _WIDE_CELL_STYLE if label == _LONG_LABEL else ""
    return (
        f'<div style="min-width:0;{width}"><div style="{MUTED}">{escape(label)}</div>'
        f'<div style="{_NUMBER_STYLE}">{escape(value)}</div></div>'
    )
