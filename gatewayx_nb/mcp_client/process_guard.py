"""Runs a command, and terminates it when the parent process ends, even if the parent is killed.

This file is run as a script. The first argument is the file descriptor of an inherited pipe. Only
the parent has the other end, so the pipe closes when the parent ends for any reason. The remaining
arguments are the command, which inherits the standard streams. The script and the command have
their own process group, so that all processes that the command has started end with it. On Linux,
processes that have moved to other groups or sessions also end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

GRACE_SECONDS = 2.0
"""Seconds to wait between SIGTERM and SIGKILL."""

NOT_FOUND = 127
"""Exit status if the command does not exist, as in a shell."""

NOT_EXECUTABLE = 126
"""Exit status if the command cannot be executed, as in a shell."""


_PR_SET_CHILD_SUBREAPER = 36
"""See https://man7.org/linux/man-pages/man2/pr_set_child_subreaper.2const.html."""


def _end_with_parent(pipe: int) -> None:
    os.read(pipe, 1)  # nothing is ever written, so this returns when the parent has ended
    _signal_group(signal.SIGTERM)
    _end_other_groups()
    time.sleep(GRACE_SECONDS)
    _signal_group(signal.SIGKILL)


def _signal_group(number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(0, number)


def _adopt_orphans() -> None:
    """Become the parent of processes that the command leaves behind, so that they can be found."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # without the C library's symbols
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_other_groups() -> None:
    """End the processes that have moved to other groups, without waiting for their end."""
    if sys.platform != "linux":
        return
    # Unlike a process ID, a handle never refers to a later process.
    handles: list[int] = []
    for process in _descendants_in_other_groups():
        with contextlib.suppress(OSError, AttributeError):  # an old kernel or C library
            handles.append(os.pidfd_open(process))
    _signal_each(handles, signal.SIGTERM)
    if handles and os.fork() == 0:
        os.setsid()  # this process must outlive the group
        time.sleep(GRACE_SECONDS)
        _signal_each(handles, signal.SIGKILL)
        os._exit(0)


def _descendants_in_other_groups() -> list[int]:
    """Return the descendants of this process that are not in its group."""
    children_by_parent: dict[int, list[int]] = {}
    group_by_process: dict[int, int] = {}
    for process in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - pathlib would delay the start
        with contextlib.suppress(OSError), open(f"/proc/{process}/stat", "rb") as file:  # noqa: PTH123
            # The name, which may contain spaces and parentheses, is followed by the state.
            _, parent, group, *_ = file.read().rpartition(b")")[2].split()
            children_by_parent.setdefault(int(parent), []).append(int(process))
            group_by_process[int(process)] = int(group)
    family = [os.getpid()]
    for ancestor in family:  # the list grows in the loop
        family += children_by_parent.get(ancestor, [])
    return [number for number in family[1:] if group_by_process[number] != os.getpgrp()]


def _signal_each(handles: list[int], number: int) -> None:
    for handle in handles:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(handle, number)


def main() -> int:
    """Run the command and return its exit status."""
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    # This process must outlive the signals to its own group.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _adopt_orphans()
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
    status = _wait_for_command(child.pid)
    _end_remaining_processes()
    return status if status >= 0 else 128 - status


def _wait_for_command(child: int) -> int:
    """Wait for the command and return its exit status; also reap adopted processes."""
    while True:
        process, status = os.wait()
        if process == child:
            return os.waitstatus_to_exitcode(status)


def _end_remaining_processes() -> None:
    """End the processes that the server has left behind, without delaying the exit."""
    _signal_group(signal.SIGTERM)
    _end_other_groups()
    if os.fork() == 0:
        time.sleep(GRACE_SECONDS)
        _signal_group(signal.SIGKILL)  # also kills this process


def _restore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    # `sys.exit` would flush the streams, which are closed: from Python 3.12 on, the status is 120.
    os._exit(main())
