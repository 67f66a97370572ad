"""Opens the SQLite file of results, and defines its tables."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import file_lock, fsync_directory, make_ignored_folder, quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.storage import database
from gatewayx_nb.storage.journal import MOUNTS, Journal, choose_journal
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

MAX_CONTENT = 64 * 1024 * 1024
"""Maximum size in bytes of a row's content."""

_MAX_ROW_BYTES = MAX_CONTENT + 65_536
"""Maximum size in bytes of a stored row."""

_BUSY_TIMEOUT = 5.0
"""Seconds for which SQLite waits for other processes; an interrupt cannot end this wait."""

_TOTAL_TIMEOUT = 60.0
"""Seconds to wait in total, for example while many processes open the file."""

_JOURNAL_SIZE = 16 * 1024 * 1024
"""Size in bytes to which the journal is truncated after a large row."""

# Each new row is appended to its tables, whatever its key, so that the time of a write does not
# depend on the number of rows. The keys are in a table without contents, so that all keys can be
# read quickly.
MIGRATIONS = (
    (
        (
            "CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, digest, name, definition,"
            " created, last_used, turn, first_row, driver, figures)"
        ),
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, job, key, at)",
        "CREATE TABLE answers (id INTEGER PRIMARY KEY, outcome, retry, content)",
    ),
    (
        (
            "CREATE TABLE parts (id INTEGER PRIMARY KEY, job, number, state, batch, digest, keys,"
            " info, at, prompts)"
        ),
    ),
)
"""The SQL statements that create each schema version.

``turn`` is the order in which the jobs were last used, and ``first_row`` the number of the last row
that was stored before the job was created. A row has the same ``id`` in ``rows`` and ``answers``.
A row of ``parts`` is a provider's batch, and ``keys`` are the keys of the rows in it.
"""

log = logging.getLogger("gatewayx_nb")

_creation_lock = threading.Lock()
"""Held while a file is created: if a thread closes a file, the system drops the locks that SQLite
holds on the file in the whole process.

https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks"""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file that is open for writing.

    Attributes:
        connection: The connection; one thread at a time may use it.
        journal: How changes to the file are made durable.
        identity: The result of `file_identity`.
    """

    connection: sqlite3.Connection
    journal: Journal
    identity: tuple[int, int] | None


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, which identify it; ``None`` if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - faster; runs at each commit
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


@contextlib.contextmanager
def errors_as_config_error(path: Path, action: str = "read") -> Iterator[None]:
    """Convert errors in the ``with`` block to typed errors.

    Raises:
        ConfigError: Instead of an error from SQLite or the operating system.
    """
    try:
        yield
    except (sqlite3.Error, OSError, database.UnusableFileError) as error:
        raise config_error(path, error, action) from None


def config_error(path: Path, error: Exception, action: str) -> ConfigError:
    """Return a typed error that says why the file cannot be used."""
    shell_path = quoted_path(path)
    hint: Hint | str = (
        f"Move the file away: `mv {shell_path} {shell_path}.off`; the next job creates a new file."
    )
    if database.is_from_later_version(error):
        hint = "Upgrade gatewayx-nb, or set another `folder` in the `[storage]` settings."
    elif is_busy(error):
        hint = Hint("run_again")
    elif not database.is_unusable(error):
        hint = "Free some space, make the file writable, or set another `folder` in `[storage]`."
    return ConfigError(
        plain(f"the results file {str(path)!r} cannot be {action}: {error}."), hint=hint
    )


def is_busy(error: Exception) -> bool:
    """Return whether an error means that another process is using the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def open_to_write(path: Path, mounts: Path = MOUNTS) -> OpenFile:
    """Open the file, after creating or upgrading it; set a damaged file aside.

    Raises:
        LaterVersionError: If a later version wrote the file, which is not changed.
        OSError: If the folder or the file cannot be created, or is a symlink.
        sqlite3.Error: If the file cannot be written.
    """
    while True:
        identity = file_identity(path)
        try:
            return _retry_while_busy(lambda: _open(path, mounts))
        except (sqlite3.Error, database.UnusableFileError) as error:
            if not database.is_unusable(error) or database.is_from_later_version(error):
                raise
            replace_damaged(path, error, identity)


def replace_damaged(path: Path, error: Exception, identity: tuple[int, int] | None) -> None:
    """Set a damaged file aside, unless another process has done so already.

    Args:
        path: The file.
        error: The error that shows the damage.
        identity: The result of `file_identity` before the file was opened.
    """
    with file_lock(path, path.with_name(f"{path.stem}.lock"), _TOTAL_TIMEOUT):
        if file_identity(path) == identity:
            database.set_aside(path, error)


def _retry_while_busy(action: Callable[[], T]) -> T:
    """Call a function again while the file is busy.

    SQLite does not always wait, and it has no queue, so if there are many processes, some of them
    may wait for a long time.
    """
    deadline = time.monotonic() + _TOTAL_TIMEOUT
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - not a secret


def _open(path: Path, mounts: Path) -> OpenFile:
    database.check_regular_files(path)
    make_ignored_folder(path.parent)
    _create_private(path)
    _check_usable(path)
    connection = database.connect(path, _BUSY_TIMEOUT, _MAX_ROW_BYTES)
    with database.closed_on_error(connection):
        # The space of a removed job is returned in steps, because VACUUM would copy the file, for
        # which a full disk has no room. This must be set before the first page is written.
        if connection.execute("PRAGMA page_count").fetchone() == (0,):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        journal = choose_journal(connection, path, mounts)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_JOURNAL_SIZE}")
        connection.execute("BEGIN")
        database.check_schema(connection, MIGRATIONS)
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("COMMIT")
        if version < len(MIGRATIONS):
            with write_transaction(connection):
                database.check_schema(connection, MIGRATIONS)
                database.migrate(connection, MIGRATIONS)
    return OpenFile(connection, journal, file_identity(path))


def _create_private(path: Path) -> None:
    """Create an empty file with mode 0600, because SQLite would let other users read it."""
    with _creation_lock:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            if path.stat().st_mode & 0o077 and os.name != "nt":
                with contextlib.suppress(OSError):  # the file may belong to another user
                    path.chmod(0o600)
        else:
            fsync_directory(path.parent)


def _check_usable(path: Path) -> None:
    """Raise an error if a file is unusable, before SQLite writes anything to it."""
    with (
        contextlib.closing(database.connect(path, 0, query="mode=ro")) as connection,
        # A file whose journal must be written back is checked when it is opened for writing.
        contextlib.suppress(sqlite3.OperationalError),
    ):
        connection.execute("BEGIN")
        database.check_schema(connection, MIGRATIONS)


@contextlib.contextmanager
def write_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything that the ``with`` block writes, or nothing.

    Raises:
        sqlite3.Error: If the file cannot be written.
    """
    if connection.in_transaction:  # Ctrl-C interrupted an earlier transaction before its end
        connection.execute("ROLLBACK")
    try:
        _retry_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"))
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have already ended the transaction.
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open an existing file for reading; temporary tables are kept in memory.

    Raises:
        LaterVersionError: If a later version wrote it.
        UnusableFileError: If another program wrote it.
        OSError: If it is a symlink.
        sqlite3.Error: If it cannot be read.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        return _open_to_read(path, "mode=ro")
    try:  # the journal of a killed process must be written back
        return _open_to_read(path, "mode=rw")
    except sqlite3.OperationalError:
        for suffix in ("-wal", "-journal"):
            companion = path.with_name(path.name + suffix)
            if os.path.exists(companion) and companion.stat().st_size:
                raise
    # In a read-only folder, SQLite cannot create the log, and no process writes to the file.
    return _open_to_read(path, "mode=ro&immutable=1")


def _open_to_read(path: Path, query: str) -> sqlite3.Connection:
    connection = database.connect(path, _BUSY_TIMEOUT, _MAX_ROW_BYTES, query)
    with database.closed_on_error(connection):
        connection.execute("BEGIN")
        database.check_schema(connection, MIGRATIONS)
        connection.execute("COMMIT")
        connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _reset_lock() -> None:
    """Free the lock in a forked child, because another thread may have held it at the fork."""
    global _creation_lock  # noqa: PLW0603 - see above
    _creation_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_lock)
