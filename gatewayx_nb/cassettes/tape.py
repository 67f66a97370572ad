"""The cassette file: a header and one entry per line, changed under a lock."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import dataclass
from io import FileIO
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.cassettes.entry import CassetteEntry, decode
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    atomic_write,
    file_lock,
    fsync_directory,
    make_ignored_folder,
    refuse_link_in,
    remove_stale_temporaries,
)
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.text import plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = "gatewayx-cassette"
VERSION = 1
"""Format version; files of a later version are rejected."""

_HEAD = f'{{"format":"{FORMAT}","version":{VERSION}}}'.encode()
_MAX_SIZE = 256 * 1024 * 1024
"""Maximum size of a cassette in bytes, because it is read into memory as a whole."""

_LOCK_TIMEOUT = 30.0
"""Seconds to wait for other kernels that are writing to the same file."""

_LOCK_FOLDER = ".gatewayx"
"""Name of the folder beside a cassette that contains its lock."""

_CONFLICT = re.compile(rb"^(?:<{7}|\|{7}|={7}|>{7})(?: |$)")


class _Head(msgspec.Struct):
    format: str
    version: int


@dataclass(frozen=True, slots=True)
class TapeLine:
    """An entry and its encoded line."""

    entry: CassetteEntry
    data: bytes


@dataclass(frozen=True, slots=True)
class TapeContent:
    """The content of a cassette file.

    Attributes:
        lines: Its entries.
        problem: One line about the part of the file that was skipped; empty if none was.
    """

    lines: tuple[TapeLine, ...] = ()
    problem: str = ""


def read(path: Path) -> TapeContent:
    """Read a cassette; an incomplete entry at its end is skipped.

    Raises:
        ConfigError: If the file is not a cassette or cannot be read; the message names the line.
    """
    data = _read_bytes(path)
    # `splitlines` would drop the empty line at the end, which shows that the last entry is
    # complete.
    lines = [line.rstrip(b"\r") for line in data.split(b"\n")]
    # Markers are searched for first: one may be on any line, even in place of the header.
    for number, line in enumerate(lines, start=1):
        if _CONFLICT.match(line):
            raise ConfigError(
                f"{str(path)!r} has a merge conflict marker on line {number}.",
                hint="Each line is a whole entry, so keep both sides:"
                rf" `sed -i -E '/^(<{{7}}|\|{{7}}|={{7}}|>{{7}})( |$)/d' {path}`",
            )
    if not data.strip():
        return TapeContent()
    _check_head(path, lines[0].removeprefix(b"\xef\xbb\xbf"))  # some editors add a byte order mark
    return _content(path, lines)


def _content(path: Path, lines: list[bytes]) -> TapeContent:
    entries = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            entries.append(TapeLine(decode(line), line))
        except ValueError as error:
            if number == len(lines):  # no newline follows: the writer was killed
                problem = f"The last line of {path.name} is incomplete and was skipped."
                return TapeContent(tuple(entries), problem)
            why = plain(str(error).partition("\n")[0][:200])
            raise ConfigError(
                f"Line {number} of the cassette {str(path)!r} is invalid: {why}.",
                hint=f"Fix it, or remove it: `sed -i {number}d {path}`",
            ) from None
    return TapeContent(tuple(entries))


def append(
    path: Path, line: bytes, replacing: bytes | None = None, root: Path | None = None
) -> None:
    """Append a line, or replace another one, and flush it to disk before returning.

    Args:
        path: The cassette.
        line: The new line.
        replacing: The line to replace; if it is not found, the new one is appended.
        root: The project folder, below which no symlink is followed, even one that has only now
            taken the place of the file or of its folder.

    Raises:
        ConfigError: If the line cannot be written; the file is left unchanged.
    """
    refuse_links(path, root)
    with _locked(path):
        if replacing is not None:
            refuse_links(path, root)  # the wait for the lock may have been long
            if _replace(path, replacing, line):
                return
        with _opened(path, root) as file:
            is_new = _repair_end(path, file)
            _write_at_end(file, _HEAD + b"\n" + line + b"\n" if is_new else line + b"\n")
        # A new file exists on disk only once its folder is flushed.
        if is_new:
            fsync_directory(path.parent)


def refuse_links(path: Path, root: Path | None) -> None:
    """Check that a cassette in a project, and the folder of its lock, are reached without symlinks.

    Raises:
        ConfigError: If a part of either path below ``root`` is a symlink.
    """
    if root is not None:
        refuse_link_in(path.parent / _LOCK_FOLDER, root)
        if os.path.islink(path):
            refuse_link_in(path, root)


@contextlib.contextmanager
def _opened(path: Path, root: Path | None) -> Iterator[FileIO]:
    """Open a file for appending, and check what was opened; create it if missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    # Without O_NONBLOCK, opening a pipe could wait forever.
    flags |= getattr(os, "O_NONBLOCK", 0) | (getattr(os, "O_NOFOLLOW", 0) if root else 0)
    with FileIO(os.open(path, flags, 0o666), "rb+") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        # A folder on the path may have been replaced before the file was opened.
        refuse_links(path, root)
        if root is not None and not os.path.samestat(status, path.lstat()):
            raise OSError("another file took its place")
        yield file


def _write_at_end(file: FileIO, data: bytes) -> None:
    """Append data and flush it to disk; remove what was written if the disk is full."""
    size = os.fstat(file.fileno()).st_size
    try:
        while data:
            data = data[file.write(data) :]
        # The reply is returned only after this, so a recorded reply survives a crash.
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


def check_file_name(path: Path) -> None:
    """Check that the file system accepts a path.

    Raises:
        ConfigError: If it is too long, or contains a character that no path can have.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass  # these are reported when the file is read or written
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"A cassette cannot have the name {short_repr(str(path))}: {reason}.",
            hint=Hint("open_cassette", path="cassettes/NAME.jsonl", mode="auto"),
        ) from None


def permission_hint(path: Path) -> str:
    """Return how to make a file writable, or an empty string if it already is."""
    if os.path.exists(path):
        return "" if _has_access(path, os.W_OK) else f"Run `chmod u+w {path}`."
    folder = next(parent for parent in path.parents if os.path.exists(parent))
    return "" if _has_access(folder, os.W_OK | os.X_OK) else f"Run `chmod u+w {folder}`."


def _has_access(path: Path, mode: int) -> bool:
    # By default, `os.access` checks the real user, not the effective one. Windows supports only
    # the default.
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _read_bytes(path: Path) -> bytes:
    if os.path.isdir(path):
        raise ConfigError(
            f"A cassette must be a file, got the folder {str(path)!r}.",
            hint=Hint("open_cassette", path=path / "NAME.jsonl", mode="auto"),
        )
    if not os.path.isfile(path):  # reading a pipe would never end
        if os.path.exists(path):
            raise ConfigError(f"{str(path)!r} is not a file.", hint="Use another path.")
        raise ConfigError(
            f"The cassette {str(path)!r} does not exist.",
            hint=Hint("open_cassette", path=path, mode="record"),
        )
    try:
        size = path.stat().st_size
        if size <= _MAX_SIZE:
            return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The cassette {str(path)!r} cannot be read: {error.strerror}.",
            hint=f"Run `chmod u+r {path}`."
            if isinstance(error, PermissionError)
            else "Use another path.",
        ) from None
    raise ConfigError(
        f"The cassette {str(path)!r} must be at most {_MAX_SIZE >> 20} MiB, got {size >> 20} MiB.",
        hint="Record several cassettes, one for each notebook.",
    )


def _check_head(path: Path, line: bytes) -> None:
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        head = _Head("", 0)
    if head.format != FORMAT:
        raise ConfigError(
            f"{str(path)!r} is not a cassette: its first line is not {_HEAD.decode()}.",
            hint="Use another file; this one was not changed.",
        )
    if head.version > VERSION:
        raise ConfigError(
            f"The cassette {str(path)!r} must have a format version of at most {VERSION},"
            f" got {head.version}.",
            hint="`pip install --upgrade gatewayx-nb`",
        )


def _replace(path: Path, old: bytes, new: bytes) -> bool:
    """Replace a line and return whether it was found."""
    if not os.path.isfile(path):
        return False
    lines = path.read_bytes().split(b"\n")
    number = next((n for n, line in enumerate(lines) if line.rstrip(b"\r") == old), None)
    if number is None:
        return False
    lines[number] = new
    mode = path.stat().st_mode & 0o777  # a new file would get the default one
    # A process that was killed while it replaced the file leaves a temporary file behind.
    remove_stale_temporaries(path)
    atomic_write(path, b"\n".join(lines) + (b"" if lines[-1] == b"" else b"\n"))
    path.chmod(mode)
    return True


def _repair_end(path: Path, file: FileIO) -> bool:
    """Complete an unfinished last line, or set it aside; return whether a header is missing.

    A line is left unfinished if the process that writes it is killed.
    """
    if not os.fstat(file.fileno()).st_size:
        return True
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return False
    file.seek(0)
    data = file.readall()
    start = data.rfind(b"\n") + 1
    try:
        decode(data[start:])
    except ValueError:
        # The `.cut` file is replaced, not opened, because it could be a symlink.
        atomic_write(_lock_folder(path) / f"{path.name}.cut", data[start:])
        file.truncate(start)
    else:
        file.write(b"\n")
    return not start


def _lock_folder(path: Path) -> Path:
    """Return the git-ignored folder beside a cassette, creating it if missing."""
    folder = path.parent / _LOCK_FOLDER
    make_ignored_folder(folder)
    return folder


def _remedy(error: OSError) -> str:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "Free disk space." if is_full else "Use another folder."


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the file against other kernels and threads; raise a one-line error if that fails.

    The lock file is in a folder that git ignores.
    """
    try:
        with file_lock(path, _lock_folder(path) / f"{path.name}.lock", _LOCK_TIMEOUT):
            yield
    except OSError as error:
        raise ConfigError(
            f"The cassette {str(path)!r} cannot be written: {error.strerror or error}.",
            hint=as_hint(permission_hint(path) or _remedy(error)) | Hint("bypass_cassette"),
        ) from None
