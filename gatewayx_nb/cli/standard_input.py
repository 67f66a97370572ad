"""Reads text that is piped into a command."""

from __future__ import annotations

import os
import stat
import sys

from gatewayx_nb.errors import UsageError

_MAX_INPUT_BYTES = 64 << 20


def has_piped_text() -> bool:
    """Return whether standard input is a pipe, a socket or a file, such as ``< notes.txt``."""
    if sys.stdin is None:  # closed by the parent process
        return False
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # replaced by an object without a file
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def piped_text() -> str:
    """Return the text on standard input, without line breaks at its end.

    Raises:
        UsageError: If the text is not UTF-8, or is larger than 64 MiB.
    """
    if sys.stdin is None:
        return ""
    data = sys.stdin.buffer.read(_MAX_INPUT_BYTES + 1)
    if len(data) > _MAX_INPUT_BYTES:
        raise UsageError(
            f"standard input is larger than {_MAX_INPUT_BYTES >> 20} MiB.",
            hint="Pipe in less text.",
        )
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"standard input is not text in UTF-8: byte {error.start:,} is invalid.",
            hint="Convert it, for example with `iconv -t UTF-8`; for an image, use `--image FILE`.",
        ) from None
