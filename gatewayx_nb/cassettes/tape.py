"""The cassette file: a header and one entry per line, changed under a lock.

A new entry is appended at once, so that it survives a crash. One that replaces another is appended
too, with the digest of the line that it replaces; `arrange` then moves it there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.cassettes import cassette_file
from gatewayx_nb.cassettes.codec import VERSION, decode, encode, line_version
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import fsync_directory, quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from gatewayx_nb.cassettes.entry import CassetteEntry

FORMAT = "gatewayx-cassette"

_HEAD = f'{{"format":"{FORMAT}","version":{VERSION}}}'.encode()

_HEAD_START = f'{{"format":"{FORMAT}"'.encode()

_MAX_HEAD = 1024
"""Maximum length of the header in bytes."""

_REPLACES = b'{"replaces":"'
"""Start of a line that replaces another one, whose digest follows."""

_CONFLICT = re.compile(rb"^(?:<{7}|\|{7}|={7}|>{7})(?: |$)")


class _Head(msgspec.Struct):
    format: str
    version: int


@dataclass(frozen=True, slots=True)
class TapeLine:
    """An entry, its line in the current format, and the line's number in the file, from 1."""

    entry: CassetteEntry
    data: bytes
    number: int = 0


@dataclass(frozen=True, slots=True)
class TapeContent:
    """The content of a cassette file.

    Attributes:
        lines: Its entries.
        problem: One line about the part of the file that was skipped; empty if none was.
        is_arranged: Whether every line is in its place; see `arrange`.
        version: Version of the format, as the header says.
        markers: The markers of a merge conflict, each with the number of its line.
    """

    lines: tuple[TapeLine, ...] = ()
    problem: str = ""
    is_arranged: bool = True
    version: int = VERSION
    markers: tuple[tuple[int, str], ...] = ()


def read(path: Path, *, allow_markers: bool = False) -> TapeContent:
    """Read a cassette; an incomplete entry at its end is skipped.

    Args:
        path: The cassette.
        allow_markers: Whether to skip the markers of a merge conflict instead of raising an error.

    Raises:
        ConfigError: If the file is not a cassette or cannot be read; the message names the line.
    """
    data = cassette_file.read_bytes(path)
    # `splitlines` would drop the empty line at the end, which shows that the last entry is
    # complete.
    lines = [line.rstrip(b"\r") for line in data.split(b"\n")]
    # Markers are searched for first: one may be on any line, even in place of the header.
    markers = [pair for pair in enumerate(lines, start=1) if _CONFLICT.match(pair[1])]
    for number, _ in markers:
        if not allow_markers:
            raise ConfigError(
                f"{str(path)!r} has a merge conflict marker on line {number}.",
                hint=Hint("settle_merge", path=quoted_path(path)),
            )
    if not data.strip():
        return TapeContent()
    for number, _ in markers:
        lines[number - 1] = b""
    first = next((number for number, line in enumerate(lines) if line), 0) if markers else 0
    content = _content(path, lines, first, _check_head(path, lines[first]))
    texts = tuple((number, line.decode(errors="replace")) for number, line in markers)
    return dataclasses.replace(content, markers=texts)


def _content(path: Path, lines: list[bytes], first: int, version: int) -> TapeContent:
    """Return the content of a file whose header is the line with index ``first``."""
    problem = ""
    if lines[-1].strip() and not _is_valid(lines[-1], version):  # the writer was killed
        problem = f"The last line of {path.name} is incomplete and was skipped."
        lines = lines[:-1]
    entries = []
    for number, line in _settle(enumerate(lines[first + 1 :], start=first + 2)):
        if not line.strip():
            continue
        if line.startswith(_HEAD_START):  # a merge left that of the other branch behind
            _check_head(path, line)
            continue
        try:
            entry = decode(line, version)
        except ValueError as error:
            why = plain(str(error).partition("\n")[0][:200])
            raise ConfigError(
                f"Line {number} of the cassette {str(path)!r} is invalid: {why}.",
                hint=f"Fix the line, or remove it with `sed -i {number}d {quoted_path(path)}`.",
            ) from None
        data = line if line_version(line, version) == VERSION else encode(entry)
        entries.append(TapeLine(entry, data, number))
    # A file whose header names an older format is converted by the next recording in any case.
    is_mixed = version == VERSION and any(
        line.startswith(_HEAD_START) or line_version(line) < VERSION for line in lines[first + 1 :]
    )
    is_arranged = not is_mixed and not any(line.startswith(_REPLACES) for line in lines)
    return TapeContent(tuple(entries), problem, is_arranged, version)


def _is_valid(line: bytes, version: int) -> bool:
    try:
        decode(line, version)
    except ValueError:
        return False
    return True


def replacement(old: bytes, new: bytes) -> bytes:
    """Return a line to append that replaces an old one, if the file contains that."""
    return _REPLACES + _line_digest(old) + b'",' + new.removeprefix(b"{")


def append(path: Path, *lines: bytes, root: Path | None = None, sync: bool = True) -> None:
    """Append lines; `arrange` moves them to their places.

    A file of an older format is converted first.

    Args:
        path: The cassette.
        lines: Encoded entries, or what `replacement` returns.
        root: The project folder, below which no symlink is followed, even one that has only now
            taken the place of the file or of its folder.
        sync: Whether to flush the file to disk, so that the lines survive even a power failure;
            they survive the end of the process in any case.

    Raises:
        ConfigError: If the lines cannot be written; the file is left unchanged.
    """
    data = b"\n".join([*lines, b""])
    cassette_file.refuse_links(path, root)
    with cassette_file.locked(path):
        with _opened(path, root) as (file, is_new):
            data = _HEAD + b"\n" + data if is_new else data
            cassette_file.write_at_end(file, data, sync=sync)
        # A new file exists on disk only once its folder is flushed.
        if is_new:
            fsync_directory(path.parent)


def arrange(  # noqa: PLR0913 - what a session knows of the file
    path: Path,
    calls: Sequence[bytes] = (),
    added: Collection[bytes] = (),
    unwanted: Collection[bytes] = (),
    root: Path | None = None,
    *,
    drop_markers: bool = False,
) -> None:
    """Put lines that replace others in their place, and added ones in the order of the calls.

    A file of an older format is converted first.

    Args:
        path: The cassette.
        calls: The lines of this session's calls, in the order in which the calls were made.
        added: Those of them that were appended in this session and replace no other.
        unwanted: Lines to remove.
        root: The project folder, below which no symlink is followed.
        drop_markers: Whether to remove the markers of a merge conflict.

    Raises:
        ConfigError: If the file cannot be read or written; it is left unchanged.
    """
    cassette_file.refuse_links(path, root)
    with cassette_file.locked(path):
        if drop_markers and read(path, allow_markers=True).markers:
            cassette_file.set_aside(path, cassette_file.read_bytes(path))
            kept = [line.data for line in read(path, allow_markers=True).lines]
            _write_lines(path, kept, root)
        with _opened(path, root):
            pass
        old = [line.rstrip(b"\r") for line in cassette_file.read_bytes(path).split(b"\n")[1:]]
        old = [line for line in old if line.strip()]
        current = [_current(line) for line in old if not line.startswith(_HEAD_START)]
        settled = [line for _, line in _settle(enumerate(current)) if line not in unwanted]
        lines = list(dict.fromkeys(settled))  # a merge may have kept a line of both sides
        lines = _in_order_of_calls(lines, calls, added)
        if lines != old:
            _write_lines(path, lines, root)


@contextlib.contextmanager
def _opened(path: Path, root: Path | None) -> Iterator[tuple[FileIO, bool]]:
    """Open a file of the current format; yield it and whether its header is missing.

    A file of an older format is converted first, and an unfinished last line is completed or set
    aside.
    """
    with cassette_file.opened(path, root) as file:
        head, newline, _ = file.read(_MAX_HEAD).partition(b"\n")
        version = _check_head(path, head.strip()) if newline else VERSION
        is_new = _repair_end(path, file, version)
        if version == VERSION:
            yield file, is_new
            return
    _write_lines(path, [line.data for line in read(path).lines], root)
    with cassette_file.opened(path, root) as file:
        yield file, False


def _write_lines(path: Path, lines: Iterable[bytes], root: Path | None) -> None:
    cassette_file.replace(path, b"\n".join([_HEAD, *lines, b""]), root)


def _repair_end(path: Path, file: FileIO, version: int) -> bool:
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
    if _is_valid(data[start:], version):
        file.write(b"\n")
    else:
        cassette_file.set_aside(path, data[start:])
        file.truncate(start)
    return not start


def _settle(lines: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return numbered lines in which each replacement is in the place of the line it replaces."""
    settled = list(lines)
    if not any(line.startswith(_REPLACES) for _, line in settled):
        return settled
    kept: list[tuple[int, bytes]] = []
    places: dict[bytes, int] = {}
    for number, line in settled:
        new, place = line, len(kept)
        if line.startswith(_REPLACES):
            replaced, _, fields = line.removeprefix(_REPLACES).partition(b'",')
            new, place = b"{" + fields, places.get(replaced, place)
        kept[place : place + 1] = [(number, new)]
        places[_line_digest(_current(new))] = place
    return kept


def _current(line: bytes) -> bytes:
    """Return a line in the current format, if it is valid in an older one."""
    if line_version(line) < VERSION:
        with contextlib.suppress(ValueError):
            return encode(decode(line))
    return line


def _in_order_of_calls(
    lines: list[bytes], calls: Sequence[bytes], added: Collection[bytes]
) -> list[bytes]:
    """Return lines with each added one after that of the call before it, or before the next."""
    moved = set(calls).intersection(added, lines)
    fixed = [line for line in lines if line not in moved]
    places = set(fixed)
    following: dict[bytes | None, list[bytes]] = {}
    previous = None
    for line in calls:
        if line in moved:
            following.setdefault(previous, []).append(line)
        elif line in places:
            previous = line
    first = following.pop(None, [])
    next_call = next((line for line in calls if line in places), None)
    ordered = []
    for line in fixed:
        if line == next_call:
            ordered += first
            next_call, first = None, []
        ordered += [line, *following.pop(line, [])]
    return ordered + first


def _line_digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).hexdigest().encode()


def _check_head(path: Path, line: bytes) -> int:
    """Check the header and return the format version."""
    line = line.removeprefix(b"\xef\xbb\xbf")  # some editors add a byte order mark
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
            hint="Run `pip install --upgrade gatewayx-nb`.",
        )
    return head.version
