"""Transforms a cell's text before IPython parses it.

IPython offers no other way to solve four problems. It does not await a coroutine that a cell
magic returns, so an ``await`` is added to cells that begin with the magic; the kernel then runs
them as async cells, in which widgets stay responsive. It rejects a cell magic without a body before
calling it, so an empty line is added, and the magic reports the missing prompt itself. It treats a
question mark at the end of a line as a request for help, but here it may end a prompt. A line magic
cannot tell whether its output is the value of the cell, which IPython would show again below the
streamed answer.
"""

from __future__ import annotations

import re

NAMES = ("gatewayx", "gx")

EXTENSION = "_gatewayx"
"""Name of the shell attribute with the extension, whose methods transformed cells call.

If the cells called separate magics, Tab would offer those magics.
"""

MAGIC = re.compile(rf"[ \t]*+(?:[\w., ]++=[ \t]*+)?(%%?)(?:{'|'.join(NAMES)})[ \t]+")
"""The beginning of a line or cell that calls a magic; its group is ``%`` or ``%%``."""

_CELL = re.compile(rf"get_ipython\(\)\.run_cell_magic\('(?:{'|'.join(NAMES)})', ")
_VALUE_LINE = re.compile(rf"get_ipython\(\)\.run_line_magic\('(?:{'|'.join(NAMES)})', ")
_BLANK_OR_COMMENT = re.compile(r"[ \t]*(#.*)?$")
_EMPTY_BODY = re.compile(r", ''\)$", re.MULTILINE)
_QUESTION = re.compile(
    rf"^(?P<before>[ \t]*+(?:[\w., ]++=[ \t]*+)?)"
    rf"%(?P<name>{'|'.join(NAMES)})[ \t]++(?P<line>.*\?)[ \t]*$"
)
_QUOTES = re.compile(r'"""|\'\'\'')


class Depth:
    """Counts the running cells, because a nested cell cannot await anything."""

    def __init__(self) -> None:
        self.cells = 0

    def enter(self, *_: object) -> None:
        """Count a cell that starts."""
        self.cells += 1

    def leave(self, *_: object) -> None:
        """Count a cell that has ended, except the cell that loaded the extension."""
        self.cells = max(0, self.cells - 1)


class CallCell:
    """Input transformer that rewrites calls of the cell magic.

    Args:
        depth: Counter of the running cells; ``None`` in a shell without an event loop.
    """

    def __init__(self, depth: Depth | None) -> None:
        self._depth = depth

    def __call__(self, lines: list[str]) -> list[str]:
        """Transform a cell's lines, which IPython has already converted to Python."""
        if not lines or not _CELL.match(lines[0]):
            return lines
        first_line = _EMPTY_BODY.sub(r", '\\n')", lines[0])
        # A nested cell, as in `%%time`, runs while the outer cell blocks the loop.
        if self._depth is not None and not self._depth.cells:
            first_line = _CELL.sub(
                f"await get_ipython().{EXTENSION}.magics.acell(", first_line, count=1
            )
        return [first_line, *lines[1:]]


def mark_value(lines: list[str]) -> list[str]:
    """Call `ShellMagics.line_as_value` for a line that is its cell's value.

    The line's reply is then shown only once.
    """
    # Blank lines and comments may follow the last statement.
    code_line_numbers = [
        number for number, line in enumerate(lines) if not _BLANK_OR_COMMENT.match(line)
    ]
    if not code_line_numbers or not _VALUE_LINE.match(lines[code_line_numbers[-1]]):
        return lines
    call = f"get_ipython().{EXTENSION}.magics.line_as_value("
    transformed_line = _VALUE_LINE.sub(call, lines[code_line_numbers[-1]], count=1)
    return [*lines[: code_line_numbers[-1]], transformed_line, *lines[code_line_numbers[-1] + 1 :]]


def uses_magic(text: str) -> bool:
    """Return whether a cell, or its last line, calls a magic."""
    return bool(MAGIC.match(text) or MAGIC.match(text.rpartition("\n")[2]))


def keep_question(lines: list[str]) -> list[str]:
    """Make ``%gatewayx … ?`` a call, instead of a request for help."""
    if lines and lines[0].startswith("%%"):
        return lines
    quote_count, transformed_lines = 0, []
    for line in lines:
        is_code = quote_count % 2 == 0  # not inside a triple-quoted string
        question = _QUESTION.match(line.rstrip("\n")) if is_code else None
        quote_count += len(_QUOTES.findall(line))
        if question:
            call = f"get_ipython().run_line_magic({question['name']!r}, {question['line']!r})"
            line = f"{question['before']}{call}\n"  # noqa: PLW2901 - the transformed line
        transformed_lines.append(line)
    return transformed_lines
