"""Takes a cell out of everything in which IPython keeps what was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.magics import compiled

if TYPE_CHECKING:
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

STUB = "# removed: a key may have been typed in this cell"
"""What stands in the place of the cell."""


def forget(shell: InteractiveShell, typed: str) -> bool:
    """Take the cell that runs out of ``In``, ``_i…``, linecache and the history database.

    The same cell of an earlier time, or of another session, goes with it.

    Args:
        shell: The shell.
        typed: What of the cell reached us, as it was typed.

    Returns:
        Whether nothing is left; the database may be locked, or belong to somebody else.
    """
    words = typed.split()
    _forget_lines(words)
    history = shell.history_manager
    raw = history.input_hist_raw[-1]
    if not _holds(raw, words):  # a cell that runs silently is in no history
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
    """Tell whether a text has these words, as they are or within a Python literal."""
    return all(word in text or repr(word)[1:-1] in text for word in words)


def _forget_lines(words: list[str]) -> None:
    """Clear linecache of the cells that hold these words."""
    for name in compiled.names():
        if _holds(compiled.cell(name), words):
            compiled.drop(name)


def _forget_stored(history: HistoryManager, raw: str) -> bool:
    """Overwrite a cell in the database, and in what waits to be written to it by a thread."""
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
