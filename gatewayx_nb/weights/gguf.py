"""Reads the format and the chat templates of a GGUF file without loading it.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import functools
import mmap
import re
import struct
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"GGUF"

_TEMPLATE_KEYS = ("tokenizer.chat_template", "tokenizer.chat_template.tool_use")
"""The keys of chat templates; llama.cpp uses the second template for calls with tools."""

_MAX_METADATA_BYTES = 1 << 26
"""Maximum number of bytes to search for a chat template; a vocabulary takes a few megabytes."""

_MAX_TEMPLATE_BYTES = 1 << 20
"""Maximum number of bytes to read from a chat template."""

_STRING_TYPE = 8  # the type of a metadata value

_TEMPLATE_TAG = re.compile(r"(\{\{|\{%|\}\}|%\})")
_STRING_LITERAL = re.compile(r"""'(?:[^'\\]|\\.)*+(?:'|$)|"(?:[^"\\]|\\.)*+(?:"|$)""", re.DOTALL)
_TOOLS_VARIABLE = re.compile(r"\btools\b")


def check_gguf(path: Path, origin: str) -> Path:
    """Return the path if it is a readable GGUF file.

    Args:
        path: The file.
        origin: The setting that contains the path, for the error.

    Raises:
        ConfigError: If the file cannot be read or has another format.
    """
    hint = f"Set {origin} to the path of a GGUF file, or unset it."
    try:
        # A device or a pipe is not opened, because that could block.
        magic = b""
        if path.is_file() or not path.exists():
            with path.open("rb") as file:
                magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError(
            f"{origin}: {str(path)!r} cannot be read: {error.strerror}.", hint=hint
        ) from error
    if magic != _MAGIC:
        raise ConfigError(f"{origin} must be a GGUF file, got {str(path)!r}.", hint=hint)
    return path


def takes_tools(path: Path) -> bool:
    """Return whether the chat template of a GGUF file supports tools.

    Args:
        path: The file; for a split model, the first part. If it cannot be read, the result is
            False.
    """
    try:
        stat = path.stat()
        return _takes_tools(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, ValueError):  # `mmap` raises `ValueError` for an empty file
        return False


@functools.lru_cache(maxsize=32)
def _takes_tools(path: Path, _mtime_ns: int, _size: int) -> bool:
    return any(map(_has_tools, _templates(path)))


def _templates(path: Path) -> Iterator[str]:
    """Yield the chat templates of a file.

    The metadata is searched, not parsed, because a vocabulary has hundreds of thousands of entries.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for key in _TEMPLATE_KEYS:
            start = struct.pack("<Q", len(key)) + key.encode() + struct.pack("<I", _STRING_TYPE)
            position = data.find(start, 0, _MAX_METADATA_BYTES) + len(start)
            if position >= len(start):
                (size,) = struct.unpack("<Q", data[position : position + 8].ljust(8, b"\0"))
                template = data[position + 8 : position + 8 + min(size, _MAX_TEMPLATE_BYTES)]
                yield template.decode(errors="replace")


def _has_tools(template: str) -> bool:
    """Return whether a Jinja template uses the variable ``tools``, not only the word in text."""
    is_code = False
    for piece in _TEMPLATE_TAG.split(template):
        if _TEMPLATE_TAG.fullmatch(piece):
            is_code = piece[0] == "{"
        elif is_code and _TOOLS_VARIABLE.search(_STRING_LITERAL.sub("", piece)):
            return True
    return False
