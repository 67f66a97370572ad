"""Writes a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, 0600: a reader, or a crash, sees the old bytes or the new ones.

    Raises:
        OSError: It cannot be written; the old one stays.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    sync(path.parent)


def sweep(path: Path) -> None:
    """Remove what writes of this file that were killed have left; nobody else may be writing."""
    for part in path.parent.glob(f".{path.name}.*.part"):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path, mend: str) -> Iterator[None]:
    """Tell in one line why a file cannot be written.

    Raises:
        ConfigError: In the place of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        at = Path(os.fsdecode(error.filename)) if error.filename else path
        elsewhere = "" if at.parent == path.parent else f" (at {str(at)!r})"
        why = error.strerror or type(error).__name__
        raise ConfigError(
            f"{str(path)!r} cannot be written: {why}{elsewhere}.", mend=mend
        ) from None


@contextlib.contextmanager
def held(path: Path, lock: Path, patience: float) -> Iterator[None]:
    """Keep other kernels and threads from writing a file meanwhile.

    Args:
        path: The file.
        lock: What is locked in its place, by filelock, which knows the locks of Windows and of
            network drives; it stays there, and a process that is killed leaves it open.
        patience: Seconds to wait for another process.

    Raises:
        ConfigError: Another process has held it for so long.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=patience, mode=0o600):
            yield
    except Timeout:
        raise ConfigError(
            f"{str(path)!r} has been held by another process for {patience:g} s.",
            mend="Run it again when that one is done.",
        ) from None


def sync(folder: Path) -> None:
    """Have a folder's new entry outlive a power cut, where folders can be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
