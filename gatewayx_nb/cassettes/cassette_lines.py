"""Reads and writes the lines of a cassette file: a header, and one entry per line.

The file is modified only under a lock. A new entry is appended immediately, so that it survives a
crash. An entry that replaces another entry is also appended, with the digest of the line that it
replaces; `arrange` later moves it to that line's place.
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

_HEADER = f'{{"format":"{FORMAT}","version":{VERSION}}}'.encode()

_HEADER_START = f'{{"format":"{FORMAT}"'.encode()

_MAX_HEADER_BYTES = 1024
"""Maximum length of the header in bytes."""

_REPLACEMENT_START = b'{"replaces":"'
"""Start of a line that replaces another line; the digest of that line follows."""

_CONFLICT_MARKER = re.compile(rb"^(?:<{7}|\|{7}|={7}|>{7})(?: |$)")


class _Header(msgspec.Struct):
    format: str
    version: int


@dataclass(frozen=True, slots=True)
class CassetteLine:
    """An entry, its line in the current format, and its line number in the file, from 1."""

    entry: CassetteEntry
    data: bytes
    number: int = 0


@dataclass(frozen=True, slots=True)
class CassetteContent:
    """The content of a cassette file.

    Attributes:
        lines: The entries with their lines.
        problem: A one-line message about the part of the file that was skipped; empty if none was.
        is_arranged: Whether the lines are in order; see `arrange`.
        version: Version of the format, from the header.
        markers: The markers of a merge conflict, each with the number of its line.
    """

    lines: tuple[CassetteLine, ...] = ()
    problem: str = ""
    is_arranged: bool = True
    version: int = VERSION
    markers: tuple[tuple[int, str], ...] = ()


def read(path: Path, *, allow_markers: bool = False) -> CassetteContent:
    """Read a cassette; skip an incomplete entry at its end.

    Args:
        path: The cassette.
        allow_markers: Whether to skip the markers of a merge conflict instead of raising an error.

    Raises:
        ConfigError: If the file cannot be read, is not a cassette, has a later format version, or
            has an invalid line, which the message names.
    """
    data = cassette_file.read_bytes(path)
    # `splitlines` would drop the empty line at the end, which proves that the last entry is
    # complete.
    lines = [line.rstrip(b"\r") for line in data.split(b"\n")]
    # Search for markers first, because they may be on any line, even above the header.
    markers = [pair for pair in enumerate(lines, start=1) if _CONFLICT_MARKER.match(pair[1])]
    for number, _ in markers:
        if not allow_markers:
            raise ConfigError(
                f"{str(path)!r} has a merge conflict marker on line {number}.",
                hint=Hint("settle_merge", path=quoted_path(path)),
            )
    if not data.strip():
        return CassetteContent()
    for number, _ in markers:
        lines[number - 1] = b""
    header_index = next((number for number, line in enumerate(lines) if line), 0) if markers else 0
    version = _header_version(path, lines[header_index])
    content = _parse_lines(path, lines, header_index, version)
    marker_texts = tuple((number, line.decode(errors="replace")) for number, line in markers)
    return dataclasses.replace(content, markers=marker_texts)


def _parse_lines(
    path: Path, lines: list[bytes], header_index: int, version: int
) -> CassetteContent:
    """Return the content of a file whose header is the line with index ``header_index``."""
    problem = ""
    if lines[-1].strip() and not _is_valid(lines[-1], version):  # the writer was killed
        problem = f"The last line of {path.name} is incomplete and was skipped."
        lines = lines[:-1]
    entries = []
    numbered_lines = enumerate(lines[header_index + 1 :], start=header_index + 2)
    for number, line in _apply_replacements(numbered_lines):
        if not line.strip():
            continue
        try:
            if line.startswith(_HEADER_START):  # a merge has left the other branch's header
                _check_version(path, _decode_header(line))
                continue
            entry = decode(line, version)
        except ValueError as error:
            reason = plain(str(error).partition("\n")[0][:200])
            raise ConfigError(
                f"line {number} of the cassette {str(path)!r} is invalid: {reason}.",
                hint=f"Fix the line, or remove it with `sed -i {number}d {quoted_path(path)}`.",
            ) from None
        data = line if line_version(line, version) == VERSION else encode(entry)
        entries.append(CassetteLine(entry, data, number))
    # A file in an older format is not mixed: the next recording converts all of it.
    is_mixed = version == VERSION and any(
        line.startswith(_HEADER_START) or line_version(line) < VERSION
        for line in lines[header_index + 1 :]
    )
    is_arranged = not is_mixed and not any(line.startswith(_REPLACEMENT_START) for line in lines)
    return CassetteContent(tuple(entries), problem, is_arranged, version)


def _is_valid(line: bytes, version: int) -> bool:
    try:
        decode(line, version)
    except ValueError:
        return False
    return True


def replacement_line(old_line: bytes, new_line: bytes) -> bytes:
    """Return a line that, when appended, replaces an old line if the file contains it."""
    return _REPLACEMENT_START + _line_digest(old_line) + b'",' + new_line.removeprefix(b"{")


def append(path: Path, *lines: bytes, root: Path | None = None, sync: bool = True) -> None:
    """Append lines; `arrange` puts them in order.

    A file in an older format is converted first.

    Args:
        path: The cassette.
        lines: Encoded entries, or results of `replacement_line`.
        root: The project folder, below which no symlink is followed, even if it has just replaced
            the file or its folder.
        sync: Whether to flush the file to disk, so that the lines survive a power failure; they
            survive a crash of the process in any case.

    Raises:
        ConfigError: If the lines cannot be written; the file then has the same entries as before.
    """
    data = b"\n".join([*lines, b""])
    cassette_file.refuse_links(path, root)
    with cassette_file.locked(path):
        with _opened_in_current_format(path, root) as (file, is_new):
            data = _HEADER + b"\n" + data if is_new else data
            cassette_file.write_at_end(file, data, sync=sync)
        # A new file is on disk only after its folder is flushed.
        if is_new:
            fsync_directory(path.parent)


def arrange(  # noqa: PLR0913 - most callers omit most arguments
    path: Path,
    calls: Sequence[bytes] = (),
    added_lines: Collection[bytes] = (),
    unwanted_lines: Collection[bytes] = (),
    root: Path | None = None,
    *,
    drop_markers: bool = False,
) -> None:
    """Move each replacement to the place of the line that it replaces.

    Then put the added lines in the order of their calls. A file in an older format is converted
    first.

    Args:
        path: The cassette.
        calls: The lines of this session's calls, in the order in which the calls were made.
        added_lines: The lines in ``calls`` that were appended in this session and do not replace an
            older line.
        unwanted_lines: Lines to remove.
        root: The project folder, below which no symlink is followed.
        drop_markers: Whether to remove the markers of a merge conflict.

    Raises:
        ConfigError: If the file cannot be read or written; no entry is lost.
    """
    cassette_file.refuse_links(path, root)
    with cassette_file.locked(path):
        if drop_markers and read(path, allow_markers=True).markers:
            cassette_file.set_aside(path, cassette_file.read_bytes(path))
            valid_lines = [line.data for line in read(path, allow_markers=True).lines]
            _write_lines(path, valid_lines, root)
        with _opened_in_current_format(path, root):
            pass
        old_lines = [line.rstrip(b"\r") for line in cassette_file.read_bytes(path).split(b"\n")[1:]]
        old_lines = [line for line in old_lines if line.strip()]
        current_lines = [
            _in_current_format(line) for line in old_lines if not line.startswith(_HEADER_START)
        ]
        wanted_lines = [
            line
            for _, line in _apply_replacements(enumerate(current_lines))
            if line not in unwanted_lines
        ]
        # A merge may have kept the same line from both sides.
        lines = list(dict.fromkeys(wanted_lines))
        lines = _in_order_of_calls(lines, calls, added_lines)
        if lines != old_lines:
            _write_lines(path, lines, root)


@contextlib.contextmanager
def _opened_in_current_format(path: Path, root: Path | None) -> Iterator[tuple[FileIO, bool]]:
    """Open a file in the current format; yield it, and whether its header is missing.

    A file in an older format is converted first. An unfinished last line is completed or set aside.
    """
    with cassette_file.opened(path, root) as file:
        header, newline, _ = file.read(_MAX_HEADER_BYTES).partition(b"\n")
        version = _header_version(path, header.strip()) if newline else VERSION
        is_new = _repair_end(path, file, version)
        if version == VERSION:
            yield file, is_new
            return
    _write_lines(path, [line.data for line in read(path).lines], root)
    with cassette_file.opened(path, root) as file:
        yield file, False


def _write_lines(path: Path, lines: Iterable[bytes], root: Path | None) -> None:
    cassette_file.replace(path, b"\n".join([_HEADER, *lines, b""]), root)


def _repair_end(path: Path, file: FileIO, version: int) -> bool:
    """Complete an unfinished last line or set it aside; return whether the header is missing.

    A line is unfinished if the process that was writing it was killed.
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


def _apply_replacements(lines: Iterable[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return numbered lines, with each replacement moved to the place of the line it replaces."""
    numbered_lines = list(lines)
    if not any(line.startswith(_REPLACEMENT_START) for _, line in numbered_lines):
        return numbered_lines
    ordered_lines: list[tuple[int, bytes]] = []
    position_by_digest: dict[bytes, int] = {}
    for number, line in numbered_lines:
        new_line, position = line, len(ordered_lines)
        if line.startswith(_REPLACEMENT_START):
            replaced_digest, _, fields = line.removeprefix(_REPLACEMENT_START).partition(b'",')
            new_line, position = b"{" + fields, position_by_digest.get(replaced_digest, position)
        ordered_lines[position : position + 1] = [(number, new_line)]
        position_by_digest[_line_digest(_in_current_format(new_line))] = position
    return ordered_lines


def _in_current_format(line: bytes) -> bytes:
    """Return a line in the current format, converting a valid line of an older format."""
    if line_version(line) < VERSION:
        with contextlib.suppress(ValueError):
            return encode(decode(line))
    return line


def _in_order_of_calls(
    lines: list[bytes], calls: Sequence[bytes], added_lines: Collection[bytes]
) -> list[bytes]:
    """Return the lines, with each added line placed after that of the previous call.

    If there is no previous call, the line is placed before that of the next call.
    """
    inserted_lines = set(calls).intersection(added_lines, lines)
    kept_lines = [line for line in lines if line not in inserted_lines]
    fixed_lines = set(kept_lines)
    lines_after: dict[bytes | None, list[bytes]] = {}
    previous_line = None
    for line in calls:
        if line in inserted_lines:
            lines_after.setdefault(previous_line, []).append(line)
        elif line in fixed_lines:
            previous_line = line
    first_added_lines = lines_after.pop(None, [])
    first_fixed_line = next((line for line in calls if line in fixed_lines), None)
    ordered_lines = []
    for line in kept_lines:
        if line == first_fixed_line:
            ordered_lines += first_added_lines
            first_fixed_line, first_added_lines = None, []
        ordered_lines += [line, *lines_after.pop(line, [])]
    return ordered_lines + first_added_lines


def _line_digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=8).hexdigest().encode()


def _header_version(path: Path, line: bytes) -> int:
    """Return the format version of a file, from its first line.

    Raises:
        ConfigError: If the line is not a header, or the version is not supported.
    """
    try:
        header = _decode_header(line)
    except ValueError:
        raise ConfigError(
            f"{str(path)!r} is not a cassette: its first line is not {_HEADER.decode()}.",
            hint="Use another file; this one was not changed.",
        ) from None
    _check_version(path, header)
    return header.version


def _decode_header(line: bytes) -> _Header:
    """Parse a header.

    Raises:
        ValueError: If the line is not a header.
    """
    line = line.removeprefix(b"\xef\xbb\xbf")  # some editors add a byte order mark
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        header = msgspec.json.decode(line, type=_Header)
        if header.format == FORMAT:
            return header
    raise ValueError(f"it is not {_HEADER.decode()}")


def _check_version(path: Path, header: _Header) -> None:
    if header.version > VERSION:
        raise ConfigError(
            f"the cassette {str(path)!r} has format version {header.version}, but this version of"
            f" gatewayx-nb supports at most {VERSION}.",
            hint="Run `pip install --upgrade gatewayx-nb`.",
        )
