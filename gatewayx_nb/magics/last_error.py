"""The last cell that raised, read from the shell's own state; no hook is installed."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.commands import FailedCell
from gatewayx_nb.magics import cell_cache

if TYPE_CHECKING:
    from types import TracebackType


def last_failed_cell() -> FailedCell | None:
    """Return the last cell that raised, from the state that Python and IPython keep."""
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is None:
        return None
    words = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, SyntaxError):
        return FailedCell(
            cell_cache.cell(error.filename or "") or error.text or "", error.lineno or 0, words
        )
    name, line = _where(error.__traceback__)
    return FailedCell(cell_cache.cell(name), line, words)


def _where(frames: TracebackType | None) -> tuple[str, int]:
    """Return the file and line of the innermost frame in a cell."""
    found = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(frames)
        if cell_cache.cell(frame.f_code.co_filename)
    ]
    return found[-1] if found else ("", 0)
