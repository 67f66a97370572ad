"""Cells compiled by IPython, which caches them for tracebacks as if they were files."""

from __future__ import annotations

import linecache
from typing import Any


def cell(name: str) -> str:
    """Return the source of the cell compiled under a name, or an empty string."""
    beside = _beside()
    entry: tuple[Any, ...] = beside.get(name) or linecache.cache.get(name) or ()
    return "".join(entry[2]) if _is_cell(name, entry, beside) else ""


def names() -> list[str]:
    """Return the names of all compiled cells."""
    beside = _beside()
    entries = list(linecache.cache.items())
    return [*beside, *(name for name, entry in entries if _is_cell(name, entry, beside))]


def drop(name: str) -> None:
    """Remove a cell, so that tracebacks no longer show it."""
    for cache in (linecache.cache, _beside()):
        cache.pop(name, None)


def _beside() -> dict[str, Any]:
    """Return IPython 7's additional cache, from which it restores cells in linecache."""
    beside: dict[str, Any] = getattr(linecache, "_ipython_cache", {})
    return beside


def _is_cell(name: str, entry: tuple[Any, ...], beside: dict[str, Any]) -> bool:
    """Return whether an entry is a cell: from IPython 8 on, cells have no modification time."""
    return name in beside or (len(entry) > 1 and entry[1] is None)
