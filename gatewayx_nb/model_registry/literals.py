"""What an engine file says of itself before it is run, read from its text."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import Watch

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 1 << 14
"""Bytes that are read at once; engine files are smaller."""

_KEYLESS = re.compile(rb"^[ \t]+requires_key\b[^=\n]*=[ \t]*False\b", re.MULTILINE)
_MODEL = re.compile(
    rb"""^[ \t]+(?:self\.)?model_name\b[^=\n]*=[ \t]*["']([^"'\n]+)["']""", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Literals:
    """The literal attributes of an engine class.

    Attributes:
        requires_key: False where the text has ``requires_key = False``.
        model_name: The first ``model_name = "…"``, empty where there is none.
    """

    requires_key: bool = True
    model_name: str = ""


class LiteralReader:
    """Reads literals, each file once while it stays as it is."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Watch, Literals]] = {}

    def read(self, path: Path) -> Literals:
        """Give the literals of an engine file; the defaults where it cannot be read."""
        known = self._read.get(path)
        if known and not known[0].changed():
            return known[1]
        watch = Watch(path)
        literals = _literals(path)
        self._read[path] = (watch, literals)
        return literals


def _read(path: Path) -> bytes:
    """Read a file; without a file object, as a thousand are read for one list."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        text = os.read(file, _PIECE)
    finally:
        os.close(file)
    return text if len(text) < _PIECE else path.read_bytes()


def _literals(path: Path) -> Literals:
    try:
        text = _read(path)
    except OSError:
        return Literals()
    model = _MODEL.search(text)
    return Literals(
        requires_key=not _KEYLESS.search(text),
        model_name=model.group(1).decode(errors="replace") if model else "",
    )
