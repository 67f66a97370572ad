"""Run a command, and terminate it when the parent process ends, even if the parent is killed.

This file is run as a script. The first argument is the file descriptor of an inherited pipe. Only
the parent has the other end, so the pipe closes when the parent ends for any reason. The remaining
arguments are the command, which inherits the standard streams. The script and the command have
their own process group, so that all processes that the command has started end with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

NOT_FOUND = 127
"""Status if the command does not exist, as in a shell."""

NOT_EXECUTABLE = 126
"""Status if the command cannot be executed, as in a shell."""


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)  # nothing is ever written, so this returns when the parent has ended
    _signal_group(signal.SIGTERM)
    time.sleep(GRACE)
    _signal_group(signal.SIGKILL)


def _signal_group(number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(0, number)


def main() -> int:
    """Run the command and return its status."""
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    # This process must outlive the signals to its own group.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, restore_signals=True, preexec_fn=_restore_signals)  # noqa: S603, PLW1509 - the user's own command; there are no threads yet
    except FileNotFoundError:
        return NOT_FOUND
    except OSError:
        return NOT_EXECUTABLE
    # Otherwise, the pipes to the parent would stay open when the command ends.
    for stream in (0, 1, 2):
        os.close(stream)
    threading.Thread(target=_end_with_parent, args=(pipe,), daemon=True).start()
    status = child.wait()
    _end_rest()
    return status if status >= 0 else 128 - status


def _end_rest() -> None:
    """End the processes that the server has left behind, without delaying this one's end."""
    _signal_group(signal.SIGTERM)
    if os.fork() == 0:
        time.sleep(GRACE)
        _signal_group(signal.SIGKILL)  # this process, too


def _restore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    # `sys.exit` would flush the streams, which are closed: from Python 3.12 on, the status is 120.
    os._exit(main())
