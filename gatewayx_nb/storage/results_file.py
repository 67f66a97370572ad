"""The SQLite file of results: its tables, and how it is opened."""

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
"""Maximum number of bytes of the content of a row."""

_MAX_BYTES = MAX_CONTENT + 65_536
"""Maximum size of a stored row."""

_BUSY_TIMEOUT = 5.0
"""Seconds for which SQLite waits for other processes; an interrupt waits as long."""

_WAIT_TIMEOUT = 60.0
"""Seconds to wait in all, for example while many processes open the file."""

_JOURNAL_SIZE = 16 * 1024 * 1024
"""Size in bytes to which the journal is cut after a large row."""

# Each row is at the end of its tables, whatever its key, so that a write does not depend on the
# number of rows. The key is in a table without contents, so that all keys can be read quickly.
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
A row of ``parts`` is a batch at a provider; ``keys`` are those of its rows.
"""

log = logging.getLogger("gatewayx_nb")

_creating = threading.Lock()
"""Held while a file is created: if a thread closes a file, the system drops the locks that SQLite
has on it in the whole process. https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks"""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """An open file that can be written.

    Attributes:
        connection: The connection; one thread at a time may use it.
        journal: How the file is made durable.
        identity: What `file_identity` returned.
    """

    connection: sqlite3.Connection
    journal: Journal
    identity: tuple[int, int] | None


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from another one of its name; ``None`` if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - faster; runs at each commit
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


@contextlib.contextmanager
def errors_as_config_error(path: Path, action: str = "read") -> Iterator[None]:
    """Raise a typed error if the file cannot be used.

    Raises:
        ConfigError: Instead of an error of SQLite or of the system.
    """
    try:
        yield
    except (sqlite3.Error, OSError, database.UnusableFileError) as error:
        raise config_error(path, error, action) from None


def config_error(path: Path, error: Exception, action: str) -> ConfigError:
    """Return a typed error that says why the file cannot be used."""
    quoted = quoted_path(path)
    hint: Hint | str = f"Move it away: `mv {quoted} {quoted}.off`; the next job creates a new one."
    if database.is_later(error):
        hint = "Upgrade gatewayx-nb, or set another `folder` in `[storage]` of the settings."
    elif is_busy(error):
        hint = Hint("run_again")
    elif not database.is_unusable(error):
        hint = "Free some space, make the file writable, or set another `folder` in `[storage]`."
    return ConfigError(plain(f"the results {str(path)!r} cannot be {action}: {error}."), hint=hint)


def is_busy(error: Exception) -> bool:
    """Return whether an error means that another process is using the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)


def open_to_write(path: Path, mounts: Path = MOUNTS) -> OpenFile:
    """Open the file, and create or upgrade it; set a damaged one aside.

    Raises:
        LaterVersionError: If a later version wrote it; it is not changed.
        OSError: If the folder or the file cannot be created, or is a symlink.
        sqlite3.Error: If the file cannot be written.
    """
    while True:
        identity = file_identity(path)
        try:
            return _when_free(lambda: _open(path, mounts))
        except (sqlite3.Error, database.UnusableFileError) as error:
            if not database.is_unusable(error) or database.is_later(error):
                raise
            replace_damaged(path, error, identity)


def replace_damaged(path: Path, error: Exception, identity: tuple[int, int] | None) -> None:
    """Set a damaged file aside, unless another process has done so already.

    Args:
        path: The file.
        error: The reason.
        identity: What `file_identity` returned before the file was opened.
    """
    with file_lock(path, path.with_name(f"{path.stem}.lock"), _WAIT_TIMEOUT):
        if file_identity(path) == identity:
            database.set_aside(path, error)


def _when_free(action: Callable[[], T]) -> T:
    """Call a function again while the file is busy; SQLite does not always wait, or long enough.

    SQLite has no queue, so one of many processes may wait for a long time.
    """
    deadline = time.monotonic() + _WAIT_TIMEOUT
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - not a secret


def _open(path: Path, mounts: Path) -> OpenFile:
    database.refuse_special_files(path)
    make_ignored_folder(path.parent)
    _create_private(path)
    _refuse_unusable(path)
    opened = database.connect(path, _BUSY_TIMEOUT, _MAX_BYTES)
    try:
        # The space of a forgotten job is returned in steps; VACUUM would need a copy of the file,
        # for which a full disk has no room. It must be set before the first page is written.
        if opened.execute("PRAGMA page_count").fetchone() == (0,):
            opened.execute("PRAGMA auto_vacuum = INCREMENTAL")
        journal = choose_journal(opened, path, mounts)
        opened.execute("PRAGMA synchronous = FULL")
        opened.execute(f"PRAGMA journal_size_limit = {_JOURNAL_SIZE}")
        opened.execute("BEGIN")
        database.check_schema(opened, MIGRATIONS)
        (version,) = opened.execute("PRAGMA user_version").fetchone()
        opened.execute("COMMIT")
        if version < len(MIGRATIONS):
            with write_transaction(opened):
                database.check_schema(opened, MIGRATIONS)
                database.migrate(opened, MIGRATIONS)
    except BaseException:
        opened.close()
        raise
    return OpenFile(opened, journal, file_identity(path))


def _create_private(path: Path) -> None:
    """Create an empty file with mode 0600, because SQLite would use a wider one."""
    with _creating:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            if path.stat().st_mode & 0o077 and os.name != "nt":
                with contextlib.suppress(OSError):  # it may be another user's
                    path.chmod(0o600)
        else:
            fsync_directory(path.parent)


def _refuse_unusable(path: Path) -> None:
    """Refuse a file that cannot be used before SQLite writes anything to it."""
    with (
        contextlib.closing(database.connect(path, 0, query="mode=ro")) as opened,
        # A file whose journal must be written back is checked when it is opened for writing.
        contextlib.suppress(sqlite3.OperationalError),
    ):
        opened.execute("BEGIN")
        database.check_schema(opened, MIGRATIONS)


@contextlib.contextmanager
def write_transaction(opened: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes, or none of it.

    Raises:
        sqlite3.Error: If it cannot be written.
    """
    _when_free(lambda: opened.execute("BEGIN IMMEDIATE"))
    try:
        yield
        opened.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have ended the transaction already.
        with contextlib.suppress(sqlite3.Error):
            if opened.in_transaction:
                opened.execute("ROLLBACK")
        raise


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a file that exists, for reading; a temporary table is kept in memory.

    Raises:
        LaterVersionError: If a later version wrote it.
        UnusableFileError: If another program wrote it.
        OSError: If it is a symlink.
        sqlite3.Error: If it cannot be read.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        return _open_to_read(path, "mode=ro")
    try:  # a journal that a killed process has left must be written back
        return _open_to_read(path, "mode=rw")
    except sqlite3.OperationalError:
        for suffix in ("-wal", "-journal"):
            companion = path.with_name(path.name + suffix)
            if os.path.exists(companion) and companion.stat().st_size:
                raise
    # In a read-only folder, SQLite cannot create the log, and no process writes the file.
    return _open_to_read(path, "mode=ro&immutable=1")


def _open_to_read(path: Path, query: str) -> sqlite3.Connection:
    opened = database.connect(path, _BUSY_TIMEOUT, _MAX_BYTES, query)
    try:
        opened.execute("BEGIN")
        database.check_schema(opened, MIGRATIONS)
        opened.execute("COMMIT")
        opened.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        opened.close()
        raise
    return opened


def _free_lock() -> None:
    """Free the lock in a forked child: another thread of the parent may have held it."""
    global _creating  # noqa: PLW0603 - see above
    _creating = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_lock)
