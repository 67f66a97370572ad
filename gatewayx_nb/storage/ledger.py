"""The ledger, a SQLite file: usage and cost of calls, never prompts or replies."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from dataclasses import astuple, dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

log = logging.getLogger("gatewayx_nb")

VERSION = 1
"""Schema version; a file with a later one is not changed."""

_PATIENCE = 30.0
"""Seconds to wait for other kernels that are writing to the same file."""

_GATHER = 0.2
"""Seconds between two commits, to batch the entries of many calls."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One call.

    Attributes:
        at: End time in seconds since the epoch.
        engine: Name of the engine.
        model: Name of the model.
        outcome: ``"ok"``, ``"interrupted"``, or the name of the error's class.
        input_tokens: Input tokens; this and the following are ``None`` if unknown.
        output_tokens: Output tokens.
        cost: US dollars.
        latency: Seconds from the call to its end.
        time_to_first: Seconds to the first chunk.
        attempts: Number of times that the request was sent.
        fallback_from: The original reference, if a fallback replied.
    """

    at: float
    engine: str
    model: str
    outcome: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    latency: float = 0.0
    time_to_first: float | None = None
    attempts: int = 1
    fallback_from: str | None = None


_COLUMNS = tuple(field.name for field in fields(LedgerEntry))
_CREATE = f"CREATE TABLE IF NOT EXISTS calls ({', '.join(_COLUMNS)})"
_INSERT = f"INSERT INTO calls VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - constants
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM calls ORDER BY at DESC, rowid DESC LIMIT ?"  # noqa: S608


class Ledger:
    """The calls of a project, or of a user outside projects.

    Adding an entry neither blocks nor raises: a background thread writes, and if that fails it
    warns once while calls continue. Several kernels may write to one file. A file that is not a
    SQLite database is renamed.

    Args:
        path: The file; the first entry creates it and its folder.

    Attributes:
        problem: Why writing has stopped; empty while it works.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._entries: queue.SimpleQueue[LedgerEntry | threading.Event] = queue.SimpleQueue()
        self._lock = threading.Lock()  # many threads add entries; only one creates the writer
        self._writer: threading.Thread | None = None
        self._wanted = threading.Event()  # a caller waits for pending entries
        self._process = os.getpid()

    def add(self, entry: LedgerEntry) -> None:
        """Add a finished call."""
        if self._process != os.getpid():  # a forked child does not have its parent's thread
            self.__init__(self.path)  # type: ignore[misc]
        self._entries.put(entry)
        if self._writer is None:
            with self._lock:
                if self._writer is None:
                    self._writer = threading.Thread(
                        target=self._write, name="gatewayx ledger", daemon=True
                    )
                    self._writer.start()

    def last(self, count: int) -> list[LedgerEntry]:
        """Return the last calls, latest first; empty if the file does not exist.

        Raises:
            OSError: If the file exists and cannot be read.
        """
        self.flush()
        if not self.path.exists():
            return []
        try:
            with contextlib.closing(_connect(self.path)) as file:
                rows = file.execute(_SELECT, (count,)).fetchall()
        except sqlite3.Error as error:
            raise OSError(str(error)) from None
        return [_entry(row) for row in rows]

    def flush(self, timeout: float = 5.0) -> None:
        """Block until pending entries are written, for at most ``timeout`` seconds."""
        writer = self._writer
        if writer is not None and self._process == os.getpid():
            written = threading.Event()
            self._entries.put(written)
            self._wanted.set()
            written.wait(timeout)

    def _write(self) -> None:
        while True:
            batch = [self._entries.get()]
            if isinstance(batch[0], LedgerEntry):
                self._wanted.wait(_GATHER)
            self._wanted.clear()
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._entries.get_nowait())
            self._save([entry for entry in batch if isinstance(entry, LedgerEntry)])
            for waiting in batch:
                if isinstance(waiting, threading.Event):
                    waiting.set()

    def _save(self, entries: list[LedgerEntry]) -> None:
        if not entries or self.problem:
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            ignore = self.path.parent / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="utf-8")
            self._insert(entries)
        except (OSError, sqlite3.Error) as error:
            self.problem = f"calls are no longer written to {self.path}: {error}."
            log.warning("%s", self.problem)

    def _insert(self, entries: Iterable[LedgerEntry]) -> None:
        rows = [_row(entry) for entry in entries]
        try:
            _insert(self.path, rows)
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # busy, full, read-only: the file is valid
                raise
            aside = self.path.with_suffix(f".damaged-{time.time_ns()}")
            self.path.rename(aside)
            log.warning("%s was damaged; it is %s now.", self.path, aside.name)
            _insert(self.path, rows)


def _insert(path: Path, rows: list[tuple[object, ...]]) -> None:
    with contextlib.closing(_connect(path)) as file, file:
        file.execute("BEGIN IMMEDIATE")
        (version,) = file.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise OSError("it was written by a later version of gatewayx-nb")
        file.execute(_CREATE)
        file.execute(f"PRAGMA user_version = {VERSION}")
        file.executemany(_INSERT, rows)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)


def _row(entry: LedgerEntry) -> tuple[object, ...]:
    return tuple(str(value) if isinstance(value, Decimal) else value for value in astuple(entry))


def _entry(row: tuple[object, ...]) -> LedgerEntry:
    values = dict(zip(_COLUMNS, row, strict=True))
    cost = values["cost"]
    return LedgerEntry(**values | {"cost": None if cost is None else Decimal(str(cost))})  # type: ignore[arg-type]
