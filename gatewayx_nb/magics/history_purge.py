"""Removal of a cell from every place in which IPython keeps its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.magics import cell_cache

if TYPE_CHECKING:
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

STUB = "# removed: a key may have been typed in this cell"
"""Replaces the source of the cell."""


def purge(shell: InteractiveShell, typed: str) -> bool:
    """Remove the running cell from ``In``, ``_i…``, linecache and the history database.

    Identical cells that ran earlier or in another session are removed too.

    Args:
        shell: The shell.
        typed: The part of the cell that the magic received, as typed.

    Returns:
        Whether no copy is left; the database may be locked or owned by another user.
    """
    words = typed.split()
    _forget_lines(words)
    history = shell.history_manager
    raw = history.input_hist_raw[-1]
    if not _holds(raw, words):  # a cell that runs silently is not in the history
        return True
    for number, cell in enumerate(history.input_hist_raw):
        if cell == raw:
            history.input_hist_raw[number] = history.input_hist_parsed[number] = STUB
    for name in ("_i00", "_i", "_ii", "_iii"):
        if getattr(history, name) == raw:
            setattr(history, name, STUB)
    kept = [name for name, value in shell.user_ns.items() if name[:2] == "_i" and value == raw]
    shell.user_ns.update(dict.fromkeys(kept, STUB))
    return _forget_stored(history, raw)


def _holds(text: str, words: list[str]) -> bool:
    """Return whether a text contains these words, as they are or in a Python literal."""
    return all(word in text or repr(word)[1:-1] in text for word in words)


def _forget_lines(words: list[str]) -> None:
    """Remove the cells that contain these words from linecache."""
    for name in cell_cache.names():
        if _holds(cell_cache.cell(name), words):
            cell_cache.drop(name)


def _forget_stored(history: HistoryManager, raw: str) -> bool:
    """Overwrite a cell in the database and in the history thread's write cache."""
    import sqlite3

    try:
        with history.db_input_cache_lock:
            history.db_input_cache = [
                (line, STUB, STUB) if cell == raw else (line, source, cell)
                for line, source, cell in history.db_input_cache
            ]
        history.writeout_cache()
        history.db.execute("PRAGMA secure_delete = ON")
        with history.db:
            history.db.execute(
                "UPDATE history SET source = ?, source_raw = ? WHERE source_raw = ?",
                (STUB, STUB, raw),
            )
        history.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:
        return False
    return True
