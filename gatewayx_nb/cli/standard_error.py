"""Messages on standard error."""

from __future__ import annotations

import contextlib
import sys


def warn(text: str) -> None:
    """Write a line to standard error, after what standard output has received so far."""
    sys.stdout.flush()
    with contextlib.suppress(OSError):  # the exit status says the same
        sys.stderr.write(f"gatewayx: {text}\n")
        sys.stderr.flush()
