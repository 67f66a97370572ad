"""Opens, checks and migrates SQLite files, and renames unusable files."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import stat
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

_SQLITE_LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 20,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
"""Limits for SQL that a file may contain."""

_MAX_VALUE_BYTES = 1_000_000
"""Maximum size of a value or a row."""

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
"""The first bytes of every journal, and the last bytes of a journal that names another file."""

_COMPANION_SUFFIXES = ("-journal", "-wal", "-shm")

_SELECT_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"

log = logging.getLogger("gatewayx_nb")


class UnusableFileError(Exception):
    """The file cannot be used, because another program or a later version wrote it."""


class LaterVersionError(UnusableFileError):
    """A later version of the package wrote the file."""


@contextlib.contextmanager
def connection(path: Path, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a file without implicit transactions, and close it at the end of the ``with`` block.

    Args:
        path: The file.
        timeout: Seconds to wait for other processes that are writing to the file. The statements
            may then take the same time again.

    Raises:
        UnusableFileError: If the file or a companion file, such as its journal, is not a regular
            file.
        OSError: If one of these files, or the folder of a project's file, is a symlink.
    """
    deadline = time.monotonic() + 2 * timeout
    with contextlib.closing(connect(path, timeout)) as database:
        # Another program may have written any data to the file, even SQL that runs forever.
        database.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_CHECKS)
        yield database


def connect(
    path: Path, timeout: float, max_bytes: int = _MAX_VALUE_BYTES, query: str = "mode=rwc"
) -> sqlite3.Connection:
    """Open a file without implicit transactions; threads may take turns using the connection.

    Args:
        path: The file.
        timeout: Seconds to wait for other processes that are writing to the file.
        max_bytes: Maximum size of a value or a row.
        query: Query parameters of the SQLite URI, such as ``mode=ro``.

    Raises:
        UnusableFileError: If the file or a companion file, such as its journal, is not a regular
            file.
        OSError: If one of these files, or the folder of a project's file, is a symlink.
    """
    check_regular_files(path)
    _check_no_super_journal(path)
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?{query}",
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
        uri=True,
    )
    with closed_on_error(database):
        for category, limit in {**_SQLITE_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: max_bytes}.items():
            database.setlimit(category, limit)
        # By default, text that is not UTF-8 raises an error.
        database.text_factory = functools.partial(str, encoding="utf-8", errors="replace")
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
    return database


@contextlib.contextmanager
def closed_on_error(database: sqlite3.Connection) -> Iterator[None]:
    """Close a connection if the ``with`` block raises an error, even if Ctrl-C interrupts it.

    Python 3.13 and later warn if a connection is freed before it is closed.
    """
    try:
        yield
    except BaseException:
        database.close()
        raise


def check_regular_files(path: Path) -> None:
    """Refuse symlinks, which SQLite would follow, and pipes, from which it would read forever."""
    # The user's own folder may be a symlink, but not a project's.
    folder = [path.parent] if path.parent.name.startswith(".") else []
    for checked_path in (
        *folder,
        *(path.with_name(path.name + suffix) for suffix in ("", *_COMPANION_SUFFIXES)),
    ):
        try:
            mode = checked_path.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(mode):
            raise OSError(f"{checked_path.name} is a symlink")
        if checked_path != path.parent and not stat.S_ISREG(mode):
            raise UnusableFileError(f"{checked_path.name} is not a regular file")


def _check_no_super_journal(path: Path) -> None:
    """Refuse a journal that names another file, which SQLite would delete after a rollback.

    Such a journal belongs to a transaction across several databases, which the package never uses.
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

    A missing file is created, and so is its folder, which git then ignores.

    Raises:
        UnusableFileError: If a later version of the package, or another program, wrote it.
        OSError: If the folder cannot be created.
        sqlite3.Error: If the file cannot be read or written.
    """
    check_regular_files(path)
    make_ignored_folder(path.parent)
    with connection(path, timeout) as database, database:
        # The write lock is taken first, so that two processes do not migrate at the same time.
        database.execute("BEGIN IMMEDIATE")
        check_schema(database, migrations)
        migrate(database, migrations)
        yield database


def check_schema(database: sqlite3.Connection, migrations: Migrations) -> None:
    """Check that a file contains only the tables of its version; call this in a transaction.

    Anything else, such as a constraint, an index or a trigger, may contain another program's SQL,
    which would run with each statement. Reading the schema does not run this SQL.

    Raises:
        UnusableFileError: If it contains anything else.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= len(migrations):
        raise LaterVersionError("a later version of gatewayx-nb wrote it")
    expected_schema = _schemas(migrations)[version]
    try:
        rows = database.execute(_SELECT_SCHEMA).fetchmany(len(expected_schema) + 1)
    except UnicodeDecodeError:  # SQLite's message quotes a name from the file
        rows = [()]
    if rows != expected_schema:
        raise UnusableFileError("another program wrote it")


@functools.cache
def _schemas(migrations: Migrations) -> list[list[tuple[str, ...]]]:
    """Return the schema of each version, beginning with the schema of an empty file."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as memory:
        schemas: list[list[tuple[str, ...]]] = [[]]
        for statements in migrations:
            for statement in statements:
                memory.execute(statement)
            schemas.append(memory.execute(_SELECT_SCHEMA).fetchall())
    return schemas


def migrate(database: sqlite3.Connection, migrations: Migrations) -> None:
    """Upgrade a file whose schema has been checked to the latest version, in a transaction."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    for number, statements in enumerate(migrations[version:], start=version + 1):
        for statement in statements:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {number}")


def is_unusable(error: Exception) -> bool:
    """Return whether an error means that the file is unusable, not just locked or read-only."""
    return is_from_later_version(error) or type(error) in (sqlite3.DatabaseError, UnusableFileError)


def is_from_later_version(error: Exception) -> bool:
    """Return whether an error shows that a later version of the package or SQLite wrote a file."""
    return isinstance(error, LaterVersionError) or str(error) == "unsupported file format"


def set_aside(path: Path, error: Exception) -> None:
    """Rename a file that cannot be used, so that a new file can be created."""
    target = path.with_suffix(f".damaged-{time.time_ns()}")
    # The file is kept, because the user may be able to recover calls from it.
    with contextlib.suppress(FileNotFoundError):  # there may be only a journal
        path.rename(target)
    for suffix in _COMPANION_SUFFIXES:  # SQLite would apply these files to the new file
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).rename(target.with_name(target.name + suffix))
    reason = plain(f"{path} cannot be used: {error}")
    log.warning("%s; it was renamed to %s.", reason, plain(target.name))
