"""The cells that IPython has compiled, which it keeps for tracebacks as if they were files."""

from __future__ import annotations

import linecache
from typing import Any


def cell(name: str) -> str:
    """Give the text of the cell that was compiled under a name; empty where none was."""
    beside = _beside()
    entry: tuple[Any, ...] = beside.get(name) or linecache.cache.get(name) or ()
    return "".join(entry[2]) if _is_cell(name, entry, beside) else ""


def names() -> list[str]:
    """Give the names of all of them."""
    beside = _beside()
    entries = list(linecache.cache.items())
    return [*beside, *(name for name, entry in entries if _is_cell(name, entry, beside))]


def drop(name: str) -> None:
    """Take a cell out, so that no traceback shows it any more."""
    for cache in (linecache.cache, _beside()):
        cache.pop(name, None)


def _beside() -> dict[str, Any]:
    """Give where IPython before 8 keeps cells besides, and from where it renews them."""
    beside: dict[str, Any] = getattr(linecache, "_ipython_cache", {})
    return beside


def _is_cell(name: str, entry: tuple[Any, ...], beside: dict[str, Any]) -> bool:
    """Tell a cell from a file: from IPython 8 on a cell has no time of change."""
    return name in beside or (len(entry) > 1 and entry[1] is None)
