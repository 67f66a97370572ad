"""SQLite files: connections, numbered migrations, and damaged files."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from typing import TYPE_CHECKING

from gatewayx_nb.files import make_ignored_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Migrations = Sequence[Sequence[str]]
    """The SQL statements that upgrade each schema version to the next, starting with an empty
    file. A released migration must not be edited: files that already have it skip it."""

log = logging.getLogger("gatewayx_nb")


def connect(path: Path, timeout: float) -> sqlite3.Connection:
    """Open a file, without implicit transactions.

    Args:
        path: The file.
        timeout: Seconds to wait for other processes that are writing to it.

    Raises:
        OSError: If the file, its journal or its folder in a project is a symlink.
    """
    _refuse_links(path)
    return sqlite3.connect(path, timeout=timeout, isolation_level=None)


def _refuse_links(path: Path) -> None:
    """Refuse symlinks, which SQLite would follow in order to write to another file."""
    parts = [path, path.with_name(f"{path.name}-journal")]
    if path.parent.name.startswith("."):  # the folder in a project; the user's own may be a link
        parts.append(path.parent)
    for part in parts:
        if part.is_symlink():
            raise OSError(f"{part.name} is a symlink")


@contextlib.contextmanager
def transaction(path: Path, migrations: Migrations, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a file, upgrade it to the latest schema version, and commit at the end.

    A missing file is created, and so is its folder, which git then ignores.

    Raises:
        OSError: If a later version of the package has written the file, or the folder cannot be
            created.
        sqlite3.Error: If the file cannot be read or written.
    """
    _refuse_links(path)
    make_ignored_folder(path.parent)
    with contextlib.closing(connect(path, timeout)) as connection, connection:
        # The write lock is taken first, so that two processes do not migrate at the same time.
        connection.execute("BEGIN IMMEDIATE")
        _migrate(connection, migrations)
        yield connection


def _migrate(connection: sqlite3.Connection, migrations: Migrations) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise OSError("it was written by a later version of gatewayx-nb")
    for number, statements in enumerate(migrations[version:], start=version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether an error means a damaged file, not a busy, full or read-only one."""
    return type(error) is sqlite3.DatabaseError


def set_aside(path: Path) -> None:
    """Rename a damaged file, so that a new one can be created."""
    target = path.with_suffix(f".damaged-{time.time_ns()}")
    # Kept, because the user may be able to recover calls from it.
    path.rename(target)
    log.warning("%s is damaged; it was renamed to %s.", path, target.name)
