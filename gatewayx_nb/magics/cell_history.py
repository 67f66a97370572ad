"""Finds the last failed cell in IPython's history, and removes every copy of a cell."""

from __future__ import annotations

import linecache
import sys
import traceback
from typing import TYPE_CHECKING, Any

from gatewayx_nb.commands import FailedCell
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.hints import render

if TYPE_CHECKING:
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

STUB = "# removed: a key may have been typed in this cell"
"""Replaces the source of a removed cell."""


def last_failed_cell(shell: InteractiveShell) -> FailedCell | None:
    """Return the last cell that raised an exception, from the state of Python and IPython.

    If the cell contains magics, its source is returned as typed.
    """
    error: BaseException | None = getattr(sys, "last_value", None)
    if error is None:
        return None
    advice = render(error.hint) if isinstance(error, GatewayError) and error.hint else ""
    message = "".join(traceback.format_exception_only(error)).strip()
    if advice:
        message = f"{type(error).__name__}: {getattr(error, 'message', '')}"
    if isinstance(error, SyntaxError):  # no frame of the cell exists
        source = _cell_source(error.filename or "") or error.text or ""
        return FailedCell(_as_typed(shell, source), error.lineno or 0, message)
    source, line = "", 0
    for frame, frame_line in traceback.walk_tb(error.__traceback__):
        frame_source = _cell_source(frame.f_code.co_filename)
        if frame_source:  # the last frame is the innermost
            source, line = frame_source, frame_line
    return FailedCell(_as_typed(shell, source), line, message, advice)


def _as_typed(shell: InteractiveShell, source: str) -> str:
    """Return the cell as typed, before IPython transformed it into this source."""
    if "get_ipython()" not in source:
        return source
    history = shell.history_manager
    # The latest cells come last.
    pairs = zip(history.input_hist_parsed, history.input_hist_raw, strict=False)
    matching_cells = [
        raw for transformed, raw in pairs if transformed.rstrip("\n") == source.rstrip("\n")
    ]
    return matching_cells[-1] if matching_cells else source


def purge(shell: InteractiveShell, line: str) -> bool:
    """Remove the running cell from ``In``, ``_i…``, linecache and the history database.

    Identical cells that ran earlier or in another session are also removed.

    Args:
        shell: The shell.
        line: The part of the cell that the magic received, as typed.

    Returns:
        Whether no copy is left. A copy may be left if the database is locked or owned by another
        user.
    """
    words = line.split()
    _purge_linecache(words)
    history = shell.history_manager
    raw = history.input_hist_raw[-1]
    if not _contains_all(raw, words):  # a cell that runs silently is not in the history
        return True
    for number, cell in enumerate(history.input_hist_raw):
        if cell == raw:
            history.input_hist_raw[number] = history.input_hist_parsed[number] = STUB
    for name in ("_i00", "_i", "_ii", "_iii"):
        if getattr(history, name) == raw:
            setattr(history, name, STUB)
    # IPython binds names such as `_i12` to the source of each cell.
    copy_names = [
        name for name, value in shell.user_ns.items() if name[:2] == "_i" and value == raw
    ]
    shell.user_ns.update(dict.fromkeys(copy_names, STUB))
    return _purge_database(history, raw)


def _contains_all(text: str, words: list[str]) -> bool:
    """Return whether the text contains all these words, as they are or in a Python literal."""
    return all(word in text or repr(word)[1:-1] in text for word in words)


def _cell_source(name: str) -> str:
    """Return the source of the cell compiled under a name, or an empty string."""
    entry: tuple[Any, ...] = _ipython_cache().get(name) or linecache.cache.get(name) or ()
    return "".join(entry[2]) if _is_cell(name, entry) else ""


def _purge_linecache(words: list[str]) -> None:
    """Remove the cells that contain these words, so that tracebacks no longer show them."""
    entries = list(linecache.cache.items())
    cell_names = [*_ipython_cache(), *(name for name, entry in entries if _is_cell(name, entry))]
    for name in cell_names:
        if _contains_all(_cell_source(name), words):
            for cache in (linecache.cache, _ipython_cache()):
                cache.pop(name, None)


def _ipython_cache() -> dict[str, Any]:
    """Return the additional cache from which IPython 7 restores cells in linecache."""
    cache: dict[str, Any] = getattr(linecache, "_ipython_cache", {})
    return cache


def _is_cell(name: str, entry: tuple[Any, ...]) -> bool:
    """Return whether an entry is a cell; IPython 8 and later store no mtime for cells."""
    return name in _ipython_cache() or (len(entry) > 1 and entry[1] is None)


def _purge_database(history: HistoryManager, raw: str) -> bool:
    """Overwrite a cell in the database and in the history thread's write cache."""
    import sqlite3

    try:
        # IPython's thread writes this cache from time to time, under the same lock.
        with history.db_input_cache_lock:
            history.db_input_cache = [
                (line, STUB, STUB) if cell == raw else (line, source, cell)
                for line, source, cell in history.db_input_cache
            ]
        history.writeout_cache()
        # Overwrite the bytes, including those in the write-ahead log: by default, SQLite only frees
        # pages.
        history.db.execute("PRAGMA secure_delete = ON")
        with history.db:
            update = "UPDATE history SET source = ?, source_raw = ? WHERE source_raw = ?"
            history.db.execute(update, (STUB, STUB, raw))
        history.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        return False
    return True
