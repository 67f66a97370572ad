"""SQLite files: connections, numbered migrations, and damaged files."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING

from gatewayx_nb.files import make_ignored_folder
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Migrations = Sequence[Sequence[str]]
    """The SQL statements that upgrade each schema version to the next, starting with an empty
    file. A released migration must not be edited, because existing files do not run it again."""

_STEPS_BETWEEN_CHECKS = 10_000
"""Number of SQLite's virtual-machine instructions between checks of the deadline: about 1 ms."""

_OTHER_SCHEMA = ("no such table", "no such column", "has no column", "duplicate column")
"""Parts of the messages about a file whose tables do not match its schema version."""

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""The first bytes of any journal, and also the last bytes of one that names another file."""

_COMPANIONS = ("-journal", "-wal", "-shm")

log = logging.getLogger("gatewayx_nb")


class UnusableFileError(Exception):
    """The file must be set aside: another program or a later version wrote it."""


@contextlib.contextmanager
def connection(path: Path, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a file, without implicit transactions, and close it at the end of the block.

    Args:
        path: The file.
        timeout: Seconds to wait for other processes that are writing to it. The statements may then
            take as long again.

    Raises:
        OSError: If the file, its journal or, in a project, its folder is a symlink.
    """
    _refuse_links(path)
    _refuse_super_journal(path)
    deadline = time.monotonic() + 2 * timeout
    with contextlib.closing(sqlite3.connect(path, timeout=timeout, isolation_level=None)) as opened:
        # A view that another program put into the file could otherwise run forever.
        opened.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
        yield opened


def _refuse_links(path: Path) -> None:
    """Refuse symlinks, because SQLite would follow them and write to another file."""
    parts = [path, path.with_name(f"{path.name}-journal")]
    if path.parent.name.startswith("."):  # a project's folder; the user's own may be a symlink
        parts.append(path.parent)
    for part in parts:
        if part.is_symlink():
            raise OSError(f"{part.name} is a symlink")


def _refuse_super_journal(path: Path) -> None:
    """Refuse a journal that names another file, which SQLite would delete after a rollback.

    Such a journal belongs to a transaction across several databases, so it is not the ledger's own.
    https://www.sqlite.org/fileformat2.html#the_rollback_journal

    Raises:
        UnusableFileError: If the file's journal names another file.
    """
    with (
        contextlib.suppress(OSError),
        path.with_name(f"{path.name}-journal").open("rb") as journal,
    ):
        journal.seek(-len(_JOURNAL_MAGIC), os.SEEK_END)
        if journal.read() == _JOURNAL_MAGIC:
            raise UnusableFileError("another program wrote its journal")


@contextlib.contextmanager
def transaction(path: Path, migrations: Migrations, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a file, upgrade it to the latest schema version, and commit at the end.

    A missing file is created, as is its folder, which git then ignores.

    Raises:
        UnusableFileError: If a later version of the package, or another program, wrote it.
        OSError: If the folder cannot be created.
        sqlite3.Error: If the file cannot be read or written.
    """
    _refuse_links(path)
    make_ignored_folder(path.parent)
    with connection(path, timeout) as opened, opened:
        # The write lock is taken first, so that two processes do not migrate at the same time.
        opened.execute("BEGIN IMMEDIATE")
        check_schema(opened, migrations)
        _migrate(opened, migrations)
        yield opened


def check_schema(opened: sqlite3.Connection, migrations: Migrations) -> None:
    """Check that a file contains only plain tables of a known version.

    Raises:
        UnusableFileError: If it contains a view or a trigger, which would run with each statement.
    """
    (version,) = opened.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= len(migrations):
        raise UnusableFileError("a later version of gatewayx-nb wrote it")
    rows = opened.execute("SELECT type, sql FROM sqlite_master").fetchall()
    for kind, sql in rows:
        if kind != "table" or " generated " in f" {sql} ".lower() or "virtual" in str(sql).lower():
            raise UnusableFileError("another program wrote it")
    if version and not rows:
        raise UnusableFileError("another program wrote it")


def _migrate(opened: sqlite3.Connection, migrations: Migrations) -> None:
    (version,) = opened.execute("PRAGMA user_version").fetchone()
    for number, statements in enumerate(migrations[version:], start=version + 1):
        for statement in statements:
            opened.execute(statement)
        opened.execute(f"PRAGMA user_version = {number}")


def is_unusable(error: Exception) -> bool:
    """Return whether an error means that the file is unusable, not just busy, full or read-only."""
    if type(error) is sqlite3.OperationalError:
        return any(text in str(error) for text in _OTHER_SCHEMA)
    # A table with a constraint belongs to another program, because the ledger has none.
    others = (sqlite3.DatabaseError, sqlite3.IntegrityError, UnusableFileError)
    return type(error) in others


def set_aside(path: Path, error: Exception) -> None:
    """Rename a file that cannot be used, so that a new one can be created."""
    target = path.with_suffix(f".damaged-{time.time_ns()}")
    # The file is kept, because the user may be able to recover calls from it.
    path.rename(target)
    for suffix in _COMPANIONS:  # otherwise SQLite would apply them to the new file
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    reason = plain(f"{path} cannot be used: {error}")
    log.warning("%s; it was renamed to %s.", reason, plain(target.name))
