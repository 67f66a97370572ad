"""What a shell keeps of the last cell that raised; no hook of its own is set."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from gatewayx_nb.commands.explain import Failed
from gatewayx_nb.magics import compiled

if TYPE_CHECKING:
    from types import TracebackType


def last() -> Failed | None:
    """Give the last cell that raised, from what Python and IPython keep of it."""
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is None:
        return None
    words = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, SyntaxError):
        return Failed(
            compiled.cell(error.filename or "") or error.text or "", error.lineno or 0, words
        )
    name, line = _where(error.__traceback__)
    return Failed(compiled.cell(name), line, words)


def _where(frames: TracebackType | None) -> tuple[str, int]:
    """Give the file and the line of the innermost frame that lies in a cell."""
    found = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(frames)
        if compiled.cell(frame.f_code.co_filename)
    ]
    return found[-1] if found else ("", 0)
