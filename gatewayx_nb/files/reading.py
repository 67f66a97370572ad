"""Reads project files within limits: refuses special files, large files and deeply nested TOML."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MAX_TEXT_BYTES = 1 << 20
"""Maximum size of a settings file, a file of engine entries or an engine file."""

_MAX_KEY_PARTS = 50
"""Maximum number of parts in a dotted key; tomllib's memory use grows quadratically with it."""

# An unterminated string extends to the end of the text, so each character is scanned only once.
_STRING_OR_COMMENT = re.compile(
    r'''"""(?:[^"\\]|\\.?|"(?!""))*+"{0,5}'''
    r"""|'''(?:[^']|'(?!''))*+'{0,5}"""
    r"""|"(?:[^"\\\n]|\\.?)*+"?"""
    r"""|'[^'\n]*+'?"""
    r"|\#[^\n]*+",
    re.DOTALL,
)
_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{_MAX_KEY_PARTS}}}", re.ASCII)


def read_limited(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Return the content of a regular file; the size is checked before anything is read.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not a regular file, or is larger than ``max_bytes``.
    """
    # Without O_NONBLOCK, opening a pipe would wait for a writer; with O_NOCTTY, opening a terminal
    # has no effect.
    optional_flags = ("O_NONBLOCK", "O_NOCTTY", "O_BINARY")
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in optional_flags)
    handle = os.open(path, flags)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        with open(handle, "rb", closefd=False) as file:
            data = b"" if status.st_size > max_bytes else file.read(max_bytes + 1)
    finally:
        os.close(handle)
    if max(len(data), status.st_size) > max_bytes:
        raise ValueError(f"it is larger than {max_bytes >> 20} MiB")
    return data


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; a byte order mark, which editors may add, is skipped.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not valid TOML in UTF-8, or exceeds a limit.
    """
    return parse_toml(read_limited(path).decode("utf-8-sig"))


def parse_toml(text: str) -> dict[str, Any]:
    """Return the tables of a TOML document.

    Raises:
        ValueError: If it is not valid TOML, or a key or value is nested too deeply.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")  # as `Path.read_text` does
    if _LONG_KEY.search(_STRING_OR_COMMENT.sub(_replace_token, text)):
        raise ValueError(f"a key has more than {_MAX_KEY_PARTS} parts")
    try:
        return tomllib.loads(text)
    except (RecursionError, MemoryError):
        raise ValueError("a value is nested too deeply") from None


def _replace_token(match: re.Match[str]) -> str:
    """Return nothing for a comment, and a bare key for a string, which may be part of a key."""
    return "" if match[0].startswith("#") else "_"
