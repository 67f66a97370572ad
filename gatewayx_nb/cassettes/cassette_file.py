"""Reads and writes cassette files under a lock, without following a project's symlinks."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from io import FileIO
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    atomic_write,
    file_lock,
    make_ignored_folder,
    quoted_path,
    refuse_link_in,
    remove_stale_temporaries,
)
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAX_FILE_BYTES = 256 * 1024 * 1024
"""Maximum size of a cassette in bytes, because the whole file is read into memory."""

_LOCK_TIMEOUT = 30.0
"""Seconds to wait for other kernels that are writing to the same file."""

_LOCK_FOLDER = ".gatewayx"
"""Name of the folder beside a cassette that contains its lock."""


def check_file_name(path: Path) -> None:
    """Check that the file system accepts a path.

    Raises:
        ConfigError: If the path is too long, contains an invalid character, or is a symlink to
            itself.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # other errors are reported when the file is read or written
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"a cassette cannot have the name {short_repr(str(path))}: {reason}.",
            hint=Hint("open_cassette", path="cassettes/NAME.jsonl", mode="auto"),
        ) from None


def permission_hint(path: Path) -> str:
    """Return how to make a file writable, or an empty string if it already is."""
    if os.path.exists(path):
        return "" if _has_access(path, os.W_OK) else f"Run `chmod u+w {quoted_path(path)}`."
    folder = next(parent for parent in path.parents if os.path.exists(parent))
    is_writable = _has_access(folder, os.W_OK | os.X_OK)
    return "" if is_writable else f"Run `chmod u+w {quoted_path(folder)}`."


def _has_access(path: Path, mode: int) -> bool:
    # By default, `os.access` checks the real user instead of the effective user. Windows supports
    # only the default.
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def read_bytes(path: Path) -> bytes:
    """Return the content of a cassette.

    Raises:
        ConfigError: If the path is not a file, or the file cannot be read or is too large.
    """
    if os.path.isdir(path):
        raise ConfigError(
            f"a cassette must be a file, got the folder {str(path)!r}.",
            hint=Hint("open_cassette", path=path / "NAME.jsonl", mode="auto"),
        )
    if not os.path.isfile(path):  # reading a pipe might never end
        if os.path.exists(path):
            raise ConfigError(f"{str(path)!r} is not a file.", hint="Use another path.")
        raise ConfigError(
            f"the cassette {str(path)!r} does not exist.",
            hint=Hint("open_cassette", path=path, mode="record"),
        )
    try:
        size = path.stat().st_size
        if size <= _MAX_FILE_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the cassette {str(path)!r} cannot be read: {error.strerror}.",
            hint=f"Run `chmod u+r {quoted_path(path)}`."
            if isinstance(error, PermissionError)
            else "Use another path.",
        ) from None
    raise ConfigError(
        f"the cassette {str(path)!r} must be at most {_MAX_FILE_BYTES >> 20} MiB,"
        f" got {size >> 20} MiB.",
        hint="Record several cassettes, one for each notebook.",
    )


def refuse_links(path: Path, root: Path | None) -> None:
    """Check that the paths of a project's cassette and its lock folder contain no symlinks.

    Raises:
        ConfigError: If a part of either path below ``root`` is a symlink.
    """
    if root is not None:
        refuse_link_in(path.parent / _LOCK_FOLDER, root)
        if os.path.islink(path):
            refuse_link_in(path, root)


@contextlib.contextmanager
def opened(path: Path, root: Path | None) -> Iterator[FileIO]:
    """Open a file for appending, creating it if missing, and check that it is the right file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    # Without O_NONBLOCK, opening a pipe could wait forever.
    flags |= getattr(os, "O_NONBLOCK", 0) | (getattr(os, "O_NOFOLLOW", 0) if root else 0)
    with FileIO(os.open(path, flags, 0o666), "rb+") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        # A folder in the path may have been replaced before the file was opened.
        refuse_links(path, root)
        if root is not None and not os.path.samestat(status, path.lstat()):
            raise OSError("another file took its place")
        yield file


def write_at_end(file: FileIO, data: bytes, *, sync: bool) -> None:
    """Append data, and flush it to disk if ``sync`` is set; undo this if the disk is full."""
    size = os.fstat(file.fileno()).st_size
    try:
        while data:
            data = data[file.write(data) :]
        if sync:
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


def replace(path: Path, data: bytes, root: Path | None) -> None:
    """Replace the content of a file; its mode is kept."""
    refuse_links(path, root)  # the wait for the lock may have been long
    mode = path.stat().st_mode & 0o777  # a new file would get the default mode
    # A process that is killed while it replaces the file leaves a temporary file behind.
    remove_stale_temporaries(path)
    atomic_write(path, data)
    path.chmod(mode)


def flush(path: Path) -> None:
    """Flush a file to disk, if it can be opened."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        os.fsync(file.fileno())


def set_aside(path: Path, line: bytes) -> None:
    """Move an incomplete line to a file in the lock folder."""
    # The target is replaced, not opened, because it could be a symlink.
    atomic_write(_lock_folder(path) / f"{path.name}.cut", line)


def _lock_folder(path: Path) -> Path:
    """Return the git-ignored folder beside a cassette, creating it if missing."""
    folder = path.parent / _LOCK_FOLDER
    make_ignored_folder(folder)
    return folder


def _remedy(error: OSError) -> str:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "Free disk space." if is_full else "Use another folder."


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock the file against other kernels and threads; raise a one-line error if that fails.

    The lock file is in a folder that git ignores.
    """
    try:
        with file_lock(path, _lock_folder(path) / f"{path.name}.lock", _LOCK_TIMEOUT):
            yield
    except OSError as error:
        raise ConfigError(
            f"the cassette {str(path)!r} cannot be written: {error.strerror or error}.",
            hint=as_hint(permission_hint(path) or _remedy(error)) | Hint("bypass_cassette"),
        ) from None
