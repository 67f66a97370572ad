"""One file of keys, ``.env.local``: read by python-dotenv, written whole or not at all."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config.permissions import keep_private
from gatewayx_nb.secure_config.whole import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PLAIN_VALUE = re.compile(r"[\w./:+=@-]+", re.ASCII)
_IGNORE_ALL = "# made by gatewayx: nothing in this folder is ever committed\n*\n"


def read(path: Path) -> dict[str, str]:
    """Read the names and values of a key file, as they stand: ``${…}`` is not expanded.

    A file that others could read is narrowed to 0600 first.

    Raises:
        ConfigError: The file is a link, somebody else's, or no text.
    """
    if not path.is_symlink() and not path.exists():
        return {}
    keep_private(path)
    text = _text(path)
    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def write(path: Path, name: str, value: str) -> None:
    """Set one name in a key file; comments, order and unknown lines stay as they are."""
    line = f"{name}={_quoted(value)}\n"
    lines, found = [], False
    for key, original in _lines(path):
        if key != name:
            lines.append(original)
        elif not found:
            lines.append(line)
            found = True
    if lines and not lines[-1].endswith("\n"):
        lines.append("\n")
    _replace(path, "".join(lines if found else [*lines, line]))


def remove(path: Path, name: str) -> bool:
    """Take one name out of a key file; tell whether it was there."""
    lines = list(_lines(path))
    kept = [original for key, original in lines if key != name]
    if len(kept) == len(lines):
        return False
    _replace(path, "".join(kept))
    return True


def make_folder(folder: Path) -> None:
    """Make a folder for keys: 0700, and with a ``.gitignore`` of everything in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "posix":
        folder.chmod(0o700)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_IGNORE_ALL, encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the key file {str(path)!r} cannot be read: {error}.",
            mend="Move it away, then `%gatewayx key set NAME`.",
        ) from None


def _lines(path: Path) -> Iterator[tuple[str | None, str]]:
    """Yield the name that each binding sets, if any, and its text."""
    if not path.is_symlink() and not path.exists():
        return
    keep_private(path)
    for binding in parse_stream(io.StringIO(_text(path))):
        yield binding.key, binding.original.string


def _quoted(value: str) -> str:
    if _PLAIN_VALUE.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _replace(path: Path, text: str) -> None:
    make_folder(path.parent)
    write_whole(path, text)
