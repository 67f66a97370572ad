"""Locks jobs, so that only one process runs a job; other processes can follow its progress."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import BaseFileLock

_ACQUIRE_TIMEOUT = 0.2
"""Seconds to wait for a lock, because another process may hold it to check whether it is free."""


class JobLock:
    """A lock file in a folder beside the results; the system releases it if the process dies.

    Args:
        results: The file of results.
        digest: The digest of the job.
    """

    def __init__(self, results: Path, digest: bytes) -> None:
        self._path = results.with_name(f"{results.stem}.locks") / f"{digest.hex()[:40]}.lock"
        self._lock: BaseFileLock | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock is not None

    def acquire(self) -> bool:
        """Take the lock; return whether this object holds it.

        Raises:
            OSError: If the lock file cannot be created, or if the file or its folder is a symlink.
        """
        if not self.is_held:
            self._lock = lock = self._try_acquire(_ACQUIRE_TIMEOUT)
            if lock is not None:  # an existing stop request was for an earlier holder
                self._clear_stop()
        return self.is_held

    def _try_acquire(self, timeout: float) -> BaseFileLock | None:
        from filelock import FileLock, Timeout

        for path in (self._path.parent, self._path):
            if path.is_symlink():
                raise OSError(f"{path.name} is a symlink")
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        # If other users could open the lock file, they could hold the lock.
        lock = FileLock(self._path, timeout=timeout, poll_interval=0.02, mode=0o600)
        with _process_lock:  # on some network file systems, a lock belongs to the whole process
            if self._path in _held_locks:
                return None
            try:
                lock.acquire()
            except Timeout:
                return None
            _held_locks[self._path] = lock
            _holder_threads[self._path] = threading.get_ident()
        return lock

    @property
    def is_held_by_this_thread(self) -> bool:
        """Whether this thread has taken the lock, with this or another object."""
        return (
            self._path in _held_locks and _holder_threads.get(self._path) == threading.get_ident()
        )

    def request_stop(self) -> None:
        """Ask the process that holds the lock to stop; it checks about once a second.

        Raises:
            OSError: If the request cannot be written.
        """
        flags = os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
        os.close(os.open(self._stop_path, flags, 0o600))

    def _clear_stop(self) -> None:
        with contextlib.suppress(OSError):  # it may be another user's file, or a folder
            self._stop_path.unlink(missing_ok=True)

    @property
    def is_stop_requested(self) -> bool:
        """Whether a process has requested a stop."""
        return os.path.exists(self._stop_path)

    @property
    def _stop_path(self) -> Path:
        return self._path.with_suffix(".stop")

    def is_free(self) -> bool:
        """Return whether no process, including this process, holds the lock."""
        if not os.path.exists(self._path):
            return True
        try:
            lock = self._try_acquire(0)
        except OSError:  # another user's folder
            return True
        if lock is None:
            return False
        self._release(lock)
        return True

    def release(self, *, is_forgotten: bool = False) -> None:
        """Release the lock, if this object holds it.

        Args:
            is_forgotten: Whether the job no longer exists, so that its lock file is removed.
        """
        lock, self._lock = self._lock, None
        if lock is not None:
            self._clear_stop()
            if is_forgotten:
                with contextlib.suppress(OSError):  # Windows does not remove an open file
                    self._path.unlink()
            self._release(lock)

    def _release(self, lock: BaseFileLock) -> None:
        with _process_lock:
            _held_locks.pop(self._path, None)
            lock.release()


def this_process() -> str:
    """Return the name under which other processes show this process."""
    return f"process {os.getpid()} on {socket.gethostname()}"


_held_locks: dict[Path, BaseFileLock] = {}
"""The locks that this process holds."""

_holder_threads: dict[Path, int] = {}
"""The thread that took each lock."""

_process_lock = threading.Lock()
_inherited_locks: list[BaseFileLock] = []


def _forget_parents_locks() -> None:
    """Forget the locks in a forked child, which must not release the locks of its parent."""
    global _process_lock  # noqa: PLW0603 - another thread may have held it at the fork
    _inherited_locks.extend(_held_locks.values())
    _held_locks.clear()
    _process_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_locks)
