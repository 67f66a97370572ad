"""Chooses the journal of a SQLite file: a write-ahead log, except on a network file system."""

from __future__ import annotations

import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MOUNTS = Path("/proc/mounts")
"""The file that lists the mounted file systems on Linux."""

_NETWORK_TYPES = re.compile(
    r"(nfs|cifs|smb|9p|afs|ceph|lustre|gpfs|beegfs|glusterfs|ocfs2|gfs2|orangefs|pvfs|panfs"
    r"|wekafs|davfs|vboxsf|prl_fs|virtiofs|drvfs|fuse\.(?!fuse-overlayfs|ntfs|exfat))"
)
"""Prefixes of the types of file systems that several machines may share.

A write-ahead log needs shared memory, which does not work across machines. A file system in user
space may also be shared. https://www.sqlite.org/wal.html#overview
"""

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Journal:
    """How changes to a file are made durable.

    Attributes:
        mode: ``"wal"``, or ``"truncate"`` for a rollback journal.
        reason: Why the journal is not a write-ahead log; empty for a write-ahead log.
    """

    mode: Literal["wal", "truncate"]
    reason: str = ""


def network_file_system(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the network file system that contains a path.

    Return ``None`` if the file system is local, or if the mounted file systems are not known.

    Args:
        path: The file or folder; it need not exist.
        mounts: The file that lists the mounted file systems.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    real_path = Path(os.path.realpath(path))
    longest_match, type_of_match = -1, ""
    for line in lines:
        _, folder, type_name, *_ = (*line.split(" "), "", "", "")
        mount = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), folder))
        # A later mount hides an earlier mount at the same folder.
        if len(mount.parts) >= longest_match and folder and real_path.is_relative_to(mount):
            longest_match, type_of_match = len(mount.parts), type_name
    return type_of_match if _NETWORK_TYPES.match(type_of_match) else None


def choose_journal(connection: sqlite3.Connection, path: Path, mounts: Path = MOUNTS) -> Journal:
    """Set the journal of an open file; call it outside of a transaction.

    Raises:
        sqlite3.Error: If the file is busy, or cannot be read or written.
    """
    if network_type := network_file_system(path, mounts):
        _use_rollback_journal(connection)
        return Journal("truncate", f"{network_type} is a network file system")
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(
            "SELECT count(*) FROM sqlite_master"
        ).fetchone()  # maps the shared memory
    except sqlite3.OperationalError as error:
        if not _is_without_shared_memory(error):
            raise
        mode = ""
    if mode == "wal":
        return Journal("wal")
    _use_rollback_journal(connection)
    return Journal("truncate", "its file system has no shared memory")


def _is_without_shared_memory(error: sqlite3.OperationalError) -> bool:
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith("SQLITE_IOERR_SHM") or name == "SQLITE_PROTOCOL"


def _use_rollback_journal(connection: sqlite3.Connection) -> None:
    # Only in this mode can SQLite read, without shared memory, a write-ahead log that was created
    # on another file system: https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
    finally:
        connection.execute("PRAGMA locking_mode = NORMAL")
        # The lock is released only when the file is next read.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if mode != "truncate":
        raise sqlite3.OperationalError("database is locked")
