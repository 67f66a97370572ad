"""Reads and writes the key file ``.env.local``, with a size limit and atomic writes."""

from __future__ import annotations

import codecs
import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    atomic_write,
    file_lock,
    make_ignored_folder,
    open_private,
    quoted_path,
    refuse_links,
    remove_stale_temporaries,
    restrict_to_owner,
    write_errors_as_config_error,
)
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.secrets import NotPicklable
from gatewayx_nb.secure_config import dotenv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_BYTES = 1 << 20
MAX_LINES = 10_000
"""Larger files are refused: python-dotenv parses only 20,000 lines per second."""

_LOCK_TIMEOUT = 10.0
"""Seconds to wait for another process that is writing the file."""

_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, because it begins with the same bytes
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
    (rb"{\rtf", "rich text"),
)
"""The first bytes of files that were saved in another encoding."""

_IGNORE_ALL = "# made by gatewayx: nothing in this folder is ever committed\n*\n"


@dataclass(frozen=True, slots=True)
class KeyFileContent(NotPicklable):
    """The content of a key file.

    Attributes:
        values: The unchanged values by name; ``${…}`` is not expanded.
        problems: Invalid parts of the file, one line each, with the fix but without values.
    """

    values: Mapping[str, str] = field(repr=False)
    problems: tuple[str, ...] = ()


def read(path: Path) -> KeyFileContent:
    """Set a key file's mode to 0600 and read it; a missing file has no values.

    Invalid lines are reported by number; all other lines are read.

    Raises:
        ConfigError: If the file cannot be read, is a symlink, belongs to another user, is too long,
            or is not encoded in UTF-8.
    """
    if not _exists(path):
        return KeyFileContent({})
    text, warning = _read_text(path, is_own=True)
    lines = dotenv.parse_lines(text)
    problems = (f"the key file {str(path)!r} {problem}" for problem in dotenv.line_problems(lines))
    return KeyFileContent(dotenv.values(lines), (*filter(None, [warning]), *problems))


def read_foreign(path: Path) -> str:
    """Return the content of another tool's key file, whatever its mode and owner.

    Raises:
        ConfigError: If the file cannot be read, is too long, or is not encoded in UTF-8.
    """
    return _read_text(path, is_own=False)[0]


def write(path: Path, values: Mapping[str, str]) -> None:
    """Set names in a key file; comments, order and unknown lines are kept.

    Raises:
        ConfigError: If a value contains a character that is not printable ASCII, or the file is a
            symlink or cannot be read or written. The file is then unchanged.
    """
    # All values are checked before any is written.
    for name, value in values.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"the value of {name} must be printable ASCII.",
                hint="Nothing was written. Copy the key again, without the characters around it.",
            )
    with _locked_for_writing(path):
        text = _read_text(path, is_own=True)[0] if _exists(path) else ""
        _replace(path, dotenv.with_values(text, values))


def remove(path: Path, name: str) -> bool:
    """Remove a name from a key file; return whether it was present.

    Raises:
        ConfigError: If the file cannot be read or written; it is then unchanged.
    """
    if not _exists(path):
        return False
    with _locked_for_writing(path):
        text, _ = _read_text(path, is_own=True)
        text_without_key = dotenv.without_name(text, name)
        if text_without_key != text:
            _replace(path, text_without_key)
        return text_without_key != text


def make_folder(folder: Path) -> None:
    """Create a folder for keys: mode 0700, with a ``.gitignore`` for all its contents."""
    make_ignored_folder(folder, _IGNORE_ALL)
    # An existing folder may have a wider mode.
    if os.name == "posix" and folder.stat().st_uid == os.getuid():
        folder.chmod(0o700)


def _exists(path: Path) -> bool:
    """Return whether a path exists; an inaccessible path counts as existing."""
    try:
        path.lstat()
    except OSError as error:
        return not isinstance(error, (FileNotFoundError, NotADirectoryError))
    return True


def _read_text(path: Path, *, is_own: bool) -> tuple[str, str | None]:
    """Return a file's text, with surrogates for non-UTF-8 bytes, and a warning about its mode."""
    handle = open_private(path, is_own=is_own)
    with os.fdopen(handle, "rb") as file:
        warning = restrict_to_owner(handle, path) if is_own else None
        data = file.read(MAX_BYTES + 1)  # one byte more than allowed, to detect a larger file
    line_count = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")  # LF, CR or CRLF
    if len(data) > MAX_BYTES or line_count > MAX_LINES:
        shell_path = quoted_path(path)
        raise ConfigError(
            f"the key file {str(path)!r} is not read: it has more than {MAX_LINES:,} lines"
            f" or {MAX_BYTES >> 20} MiB.",
            hint=f"Move it away with `mv {shell_path} {shell_path}.off`, then set the keys again.",
        )
    if encoding := _other_encoding(data):
        raise ConfigError(
            f"the key file {str(path)!r} is not read: it must be encoded in UTF-8, got {encoding}.",
            hint="Save it as plain text in UTF-8; PowerShell's `Out-File` has `-Encoding utf8`.",
        )
    return data.decode("utf-8", "surrogateescape"), warning


def _other_encoding(data: bytes) -> str:
    """Return the encoding of a file that is not UTF-8, if it can be detected."""
    for byte_order_mark, name in _ENCODINGS:
        if data.startswith(byte_order_mark):
            return name
    # In UTF-16 without a byte order mark, every other byte of ASCII text is zero.
    is_utf16 = data and max(data[::2].count(0), data[1::2].count(0)) > len(data) // 4
    return "UTF-16" if is_utf16 else ""


def _replace(path: Path, text: str) -> None:
    remove_stale_temporaries(path)
    atomic_write(path, text.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def _locked_for_writing(path: Path) -> Iterator[None]:
    """Lock out other writers, so that no change is lost."""
    refuse_links(path)
    hint = as_hint(f"Run `chmod u+w {quoted_path(path.parent)}` if the folder is yours.")
    with write_errors_as_config_error(path, hint | Hint("set_key_for_user", engine="NAME")):
        make_folder(path.parent)
        with file_lock(path, path.with_name(f"{path.name}.lock"), _LOCK_TIMEOUT):
            yield
