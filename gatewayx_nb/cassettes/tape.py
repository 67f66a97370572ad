"""The file of a cassette: a head and an entry a line, added to and changed under a lock."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.cassettes.entry import Entry, decode
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.rendering import plain
from gatewayx_nb.secure_config.whole import held, sweep, sync, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = "gatewayx-cassette"
VERSION = 1
"""Of the format; a file of a later one is not read."""

_HEAD = f'{{"format":"{FORMAT}","version":{VERSION}}}'.encode()
_MOST = 256 * 1024 * 1024
"""Bytes of a file that is read."""

_PATIENCE = 30.0
"""Seconds to wait for other kernels that write to the same file."""

_CONFLICT = re.compile(rb"^(?:<{7}|\|{7}|={7}|>{7})(?: |$)")


class _Head(msgspec.Struct):
    format: str
    version: int


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, and the bytes that it stands in."""

    entry: Entry
    data: bytes


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds.

    Attributes:
        lines: Its entries.
        problem: What of it was passed over, in one line.
    """

    lines: tuple[Line, ...] = ()
    problem: str = ""


def read(path: Path) -> Content:
    """Read a file; an entry at its end that was not written whole is passed over.

    Raises:
        ConfigError: It is no cassette, or cannot be read; the message says which line.
    """
    data = _bytes(path)
    lines = [line.rstrip(b"\r") for line in data.split(b"\n")]
    for number, line in enumerate(lines, start=1):
        if _CONFLICT.match(line):
            raise ConfigError(
                f"{str(path)!r} has the marks of a merge conflict, in line {number}.",
                mend="Each line is a whole entry, so keep both sides:"
                rf" `sed -i -E '/^(<{{7}}|\|{{7}}|={{7}}|>{{7}})( |$)/d' {path}`",
            )
    if not data.strip():
        return Content()
    _check_head(path, lines[0].removeprefix(b"\xef\xbb\xbf"))
    return _content(path, lines)


def _content(path: Path, lines: list[bytes]) -> Content:
    found = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            found.append(Line(decode(line), line))
        except ValueError as error:
            if number == len(lines):  # no line end follows: its writer was killed
                problem = f"The last line of {path.name} was not written whole and is passed over."
                return Content(tuple(found), problem)
            why = plain(str(error).partition("\n")[0][:200])
            raise ConfigError(
                f"line {number} of the cassette {str(path)!r} cannot be read: {why}.",
                mend=f"Mend it, or take it out: `sed -i {number}d {path}`",
            ) from None
    return Content(tuple(found))


def add(path: Path, line: bytes, instead_of: bytes | None = None) -> None:
    """Add a line at the end, or in another's place; it is on the disk when this returns.

    Raises:
        ConfigError: It cannot be written; the file stays as it was.
    """
    with _changing(path):
        if instead_of is not None and _replace(path, instead_of, line):
            return
        fresh = _tidy(path)
        with path.open("ab") as file:
            file.write(_HEAD + b"\n" + line + b"\n" if fresh else line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            sync(path.parent)


def why_unwritable(path: Path) -> str:
    """Give what mends a file that cannot be written to; empty where it can."""
    if path.exists():
        return "" if os.access(path, os.W_OK) else f"`chmod u+w {path}`"
    folder = next(parent for parent in path.parents if parent.exists())
    return "" if os.access(folder, os.W_OK | os.X_OK) else f"`chmod u+w {folder}`"


def _bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ConfigError(
            f"{str(path)!r} is a folder; expected a cassette's file.",
            mend=f"Name one in it: `%gatewayx cassette {path / 'NAME.jsonl'}`",
        )
    if not path.is_file():  # a pipe would never end
        what = (
            f"{str(path)!r} is no file" if path.exists() else f"there is no cassette {str(path)!r}"
        )
        raise ConfigError(
            f"{what}.",
            mend=f"`%gatewayx cassette {path} --mode record` makes one.",
        )
    try:
        size = path.stat().st_size
        if size <= _MOST:
            return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the cassette {str(path)!r} cannot be read: {error.strerror}.",
            mend=f"`chmod u+r {path}` if it is yours.",
        ) from None
    raise ConfigError(
        f"the cassette {str(path)!r} is not read: it has {size >> 20} MiB, more than"
        f" {_MOST >> 20}.",
        mend="Record into several, one for each notebook.",
    )


def _check_head(path: Path, line: bytes) -> None:
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        head = _Head("", 0)
    if head.format != FORMAT:
        raise ConfigError(
            f"{str(path)!r} is no cassette: its first line is not {_HEAD.decode()}.",
            mend="Name another file; this one stays as it is.",
        )
    if head.version > VERSION:
        raise ConfigError(
            f"the cassette {str(path)!r} has version {head.version} of the format;"
            f" this is read up to version {VERSION}.",
            mend="`pip install --upgrade gatewayx-nb`",
        )


def _replace(path: Path, old: bytes, new: bytes) -> bool:
    """Put a line in another's place; tell whether that one was there."""
    if not path.is_file():
        return False
    lines = path.read_bytes().split(b"\n")
    places = [number for number, line in enumerate(lines) if line.rstrip(b"\r") == old]
    if not places:
        return False
    lines[places[0]] = new
    mode = path.stat().st_mode & 0o777
    sweep(path)
    write_whole(path, b"\n".join(lines) + (b"" if lines[-1] == b"" else b"\n"))
    path.chmod(mode)
    return True


def _tidy(path: Path) -> bool:
    """Tell whether a file has yet to begin; end a last line, and set one aside that is not whole.

    Who wrote that one was killed before it was acknowledged.
    """
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return False
        file.seek(0)
        data = file.read()
        start = data.rfind(b"\n") + 1
        try:
            decode(data[start:])
        except ValueError:
            _own_folder(path).joinpath(f"{path.name}.cut").write_bytes(data[start:])
            file.truncate(start)
        else:
            file.write(b"\n")
    return not start


def _own_folder(path: Path) -> Path:
    """Give the folder beside a cassette for what git is not to see; made where it is missing."""
    folder = path.parent / ".gatewayx"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return folder


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Keep other kernels and threads from writing meanwhile; tell in one line what cannot be done.

    The lock lies in a folder that git ignores.
    """
    try:
        with held(path, _own_folder(path) / f"{path.name}.lock", _PATIENCE):
            yield
    except OSError as error:
        raise ConfigError(
            f"the cassette {str(path)!r} cannot be written: {error.strerror or error}.",
            mend=f"{why_unwritable(path) or 'Make room'}, or ask past it: `--fresh`, `fresh=True`.",
        ) from None
