"""What a shell keeps of the last cell that raised; no hook of its own is set."""

from __future__ import annotations

import linecache
import sys
import traceback
from typing import TYPE_CHECKING, Any

from gatewayx_nb.commands.explain import Failed

if TYPE_CHECKING:
    from types import TracebackType


def last() -> Failed | None:
    """Give the last cell that raised, from what Python and IPython keep of it."""
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is None:
        return None
    words = "".join(traceback.format_exception_only(error)).strip()
    if isinstance(error, SyntaxError):
        return Failed(_cell(error.filename or "") or error.text or "", error.lineno or 0, words)
    name, line = _where(error.__traceback__)
    return Failed(_cell(name), line, words)


def _where(frames: TracebackType | None) -> tuple[str, int]:
    """Give the file and the line of the innermost frame that lies in a cell."""
    found = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(frames)
        if _cell(frame.f_code.co_filename)
    ]
    return found[-1] if found else ("", 0)


def _cell(name: str) -> str:
    """Give the cell that IPython compiled under a name; its entries have no time of change.

    Before IPython 8 it keeps them beside linecache's own.
    """
    beside: dict[str, Any] = getattr(linecache, "_ipython_cache", {})
    entry: tuple[Any, ...] = linecache.cache.get(name) or beside.get(name) or ()
    if len(entry) <= 1 or entry[1] is not None:
        return ""
    return "".join(entry[2])
