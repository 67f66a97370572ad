"""Locks folders, and creates temporary staging folders inside a locked folder."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

LOCK_NAME = ".lock"

_FOLDER_PREFIX = ".staging-"
_POLL_INTERVAL = 0.1  # seconds; a blocking lock would delay an interrupt


@contextmanager
def staging(folder: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Yield an empty folder inside ``folder``, and remove it at the end.

    ``folder`` stays locked in the meantime, so that a second process waits and then finds the first
    process's result. Staging folders left by killed processes are removed.

    Args:
        folder: The parent folder; created if missing.
        on_wait: Called once if another process holds the lock.
    """
    with locked(folder, on_wait):
        for stale_folder in folder.glob(f"{_FOLDER_PREFIX}*"):
            shutil.rmtree(stale_folder, ignore_errors=True)
        staging_folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=folder))
        try:
            yield staging_folder
        finally:
            shutil.rmtree(staging_folder, ignore_errors=True)


def locked(folder: Path, on_wait: Callable[[], None]) -> AbstractContextManager[object]:
    """Wait for the lock of a folder and return it; the system releases it if the process dies.

    Args:
        folder: The folder; created if missing.
        on_wait: Called once if another process holds the lock.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    # The first attempt does not wait, so that the user is informed before a long wait.
    lock = FileLock(folder / LOCK_NAME)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        return lock.acquire(poll_interval=_POLL_INTERVAL)
