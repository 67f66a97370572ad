"""A temporary folder for one process at a time; leftovers of killed processes are removed."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PREFIX = ".staging-"
_POLL_INTERVAL = 0.1  # seconds; a blocking lock would delay an interrupt


@contextmanager
def staging(folder: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``, which is removed at the end.

    The folder is locked throughout, so a second process waits and then finds the first one's
    result. Older staging folders belong to no running process and are removed.

    Args:
        folder: The parent folder; created if missing.
        on_wait: Called once if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as lock:
        _acquire(lock, on_wait)
        for stale in folder.glob(f"{_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        try:
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _acquire(lock: IO[bytes], on_wait: Callable[[], None]) -> None:
    """Wait for the lock. The system releases it when the file closes or its process dies."""
    if not _try_lock(lock):
        on_wait()
        while not _try_lock(lock):
            time.sleep(_POLL_INTERVAL)


if sys.platform == "win32":  # pragma: no cover - the suite runs on POSIX
    import msvcrt

    def _try_lock(lock: IO[bytes]) -> bool:
        lock.seek(0)
        try:
            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(lock: IO[bytes]) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
