"""One file of keys, ``.env.local``: read under a cap, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import keytext
from gatewayx_nb.secure_config.permissions import narrow, open_private
from gatewayx_nb.secure_config.whole import held, sweep, write_whole, writing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MOST_BYTES = 1 << 20
MOST_LINES = 10_000
"""A longer file is none of keys, and python-dotenv reads 20,000 lines a second."""

_PATIENCE = 10.0
"""Seconds to wait for another process that writes the file."""

_IGNORE_ALL = "# made by gatewayx: nothing in this folder is ever committed\n*\n"


@dataclass(frozen=True, slots=True)
class Content:
    """What a key file says.

    Attributes:
        values: The values by their names, as they stand: ``${…}`` is not expanded.
        problems: What of the file does not serve, a line each with what mends it; no value.
    """

    values: Mapping[str, str]
    problems: tuple[str, ...] = ()


def read(path: Path) -> Content:
    """Read a key file, narrowed to 0600 first; a missing one says nothing.

    A line that sets nothing is reported by its number, and every other line is read.

    Raises:
        ConfigError: It cannot be read, or is a link, somebody else's, or too long.
    """
    if not _is_there(path):
        return Content({})
    text, warning = _text(path, own=True)
    lines = keytext.lines(text)
    faults = (f"the key file {str(path)!r} {fault}" for fault in keytext.faults(lines))
    return Content(keytext.values(lines), (*filter(None, [warning]), *faults))


def read_foreign(path: Path) -> str:
    """Give the text of somebody else's key file, whatever its mode and owner; nothing is changed.

    Raises:
        ConfigError: It cannot be read, or is too long.
    """
    return _text(path, own=False)[0]


def write(path: Path, values: Mapping[str, str]) -> None:
    """Set names in a key file; comments, order and unknown lines stay as they are.

    Raises:
        ConfigError: A value has a character that is not printable ASCII, or the file cannot be
            read or written; it stays as it was.
    """
    for name, value in values.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(
                f"the value of {name} holds characters that are not printable ASCII.",
                mend="Nothing was written; copy the key again, without what is around it.",
            )
    with _changing(path):
        text = _text(path, own=True)[0] if _is_there(path) else ""
        _replace(path, keytext.with_values(text, values))


def remove(path: Path, name: str) -> bool:
    """Take one name out of a key file; tell whether it was there.

    Raises:
        ConfigError: The file cannot be read or written; it stays as it was.
    """
    if not _is_there(path):
        return False
    with _changing(path):
        text = _text(path, own=True)[0]
        kept = keytext.without(text, name)
        if kept != text:
            _replace(path, kept)
        return kept != text


def make_folder(folder: Path) -> None:
    """Make a folder for keys: 0700, and with a ``.gitignore`` of everything in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":
        folder.chmod(0o700)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_IGNORE_ALL, encoding="utf-8")


def _is_there(path: Path) -> bool:
    """Tell whether there is something of that name; what must not be looked at counts."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _text(path: Path, *, own: bool) -> tuple[str, str | None]:
    """Give a file's text, bytes that are no UTF-8 as surrogates, and a warning of its mode."""
    handle = open_private(path, own=own)
    with os.fdopen(handle, "rb") as file:
        warning = narrow(handle, path) if own else None
        data = file.read(MOST_BYTES + 1)
    ends = data.count(b"\n") + data.count(b"\r") - data.count(b"\r\n")
    if len(data) > MOST_BYTES or ends > MOST_LINES:
        raise ConfigError(
            f"the key file {str(path)!r} is not read: it has more than {MOST_LINES:,} lines"
            f" or {MOST_BYTES >> 20} MiB.",
            mend=f"`mv {path} {path}.off`, then `%gatewayx key set NAME`.",
        )
    return data.decode("utf-8", "surrogateescape"), warning


def _replace(path: Path, text: str) -> None:
    sweep(path)
    write_whole(path, text.encode("utf-8", "surrogateescape"))


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[None]:
    """Keep other processes and threads from writing meanwhile, or one of two keys would be lost."""
    mend = (
        f"`chmod u+w {path.parent}` if it is yours; else `%gatewayx key set NAME --user` writes"
        " into a folder of your own."
    )
    with writing(path, mend):
        make_folder(path.parent)
        with held(path, path.with_name(f"{path.name}.lock"), _PATIENCE):
            yield
