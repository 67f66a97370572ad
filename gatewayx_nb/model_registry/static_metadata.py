"""Static attributes of an engine file, read from its text before it is executed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import FileStamp

if TYPE_CHECKING:
    from pathlib import Path

_READ_SIZE = 1 << 14
"""Bytes per read; engine files are smaller."""

# Indented, because only the attributes of a class count.
_KEYLESS = re.compile(rb"^[ \t]+requires_key\b[^=\n]*=[ \t]*False\b", re.MULTILINE)
_MODEL = re.compile(
    rb"""^[ \t]+(?:self\.)?model_name\b[^=\n]*=[ \t]*["']([^"'\n]+)["']""", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class StaticMetadata:
    """The literal attributes of an engine class.

    Attributes:
        requires_key: False if the text contains ``requires_key = False``.
        model_name: The value of the first ``model_name = "…"``; empty if there is none.
    """

    requires_key: bool = True
    model_name: str = ""


class StaticMetadataReader:
    """Reader that caches the metadata of each file until the file changes."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[FileStamp, StaticMetadata]] = {}

    def read(self, path: Path) -> StaticMetadata:
        """Return the metadata of an engine file; the defaults if it cannot be read."""
        cached = self._read.get(path)
        if cached is None or cached[0].has_changed():
            # The stamp is taken first, so that a change during the read is noticed.
            cached = self._read[path] = (FileStamp(path), _parse(path))
        return cached[1]


def _read(path: Path) -> bytes:
    """Read a file with `os.read`, which is faster than `open` for a thousand files."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        text = os.read(file, _READ_SIZE)
    finally:
        os.close(file)
    return text if len(text) < _READ_SIZE else path.read_bytes()


def _parse(path: Path) -> StaticMetadata:
    try:
        text = _read(path)
    except OSError:
        return StaticMetadata()
    model = _MODEL.search(text)
    return StaticMetadata(
        requires_key=not _KEYLESS.search(text),
        model_name=model.group(1).decode(errors="replace") if model else "",
    )
