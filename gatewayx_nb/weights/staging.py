"""A temporary folder for one process at a time; leftovers of killed processes are removed."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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
    with _acquire(folder / ".lock", on_wait):
        for stale in folder.glob(f"{_PREFIX}*"):
            shutil.rmtree(stale, ignore_errors=True)
        stage = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        try:
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def _acquire(path: Path, on_wait: Callable[[], None]) -> AbstractContextManager[object]:
    """Wait for the lock and return it; the system releases it if the process dies."""
    from filelock import FileLock, Timeout

    # Tried once without waiting, to tell the user before a wait that may take minutes.
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        return lock.acquire(poll_interval=_POLL_INTERVAL)
