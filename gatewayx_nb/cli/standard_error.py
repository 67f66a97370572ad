"""Writes messages to standard error."""

from __future__ import annotations

import contextlib
import sys


def warn(text: str) -> None:
    """Flush standard output, and write a line to standard error."""
    sys.stdout.flush()
    with contextlib.suppress(OSError):  # the exit status also reports the failure
        sys.stderr.write(f"gatewayx: {text}\n")
        sys.stderr.flush()
