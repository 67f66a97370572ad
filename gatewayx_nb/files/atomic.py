"""Writes files atomically, locks them, and creates private folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayx_nb.hints import Hint


def atomic_write(path: Path, data: bytes, *, keep_mode: bool = False) -> None:
    """Write a file atomically with mode 0600: readers see either the old or the new bytes.

    Args:
        path: The file.
        data: The new content.
        keep_mode: Whether an existing file keeps its mode.

    Raises:
        OSError: If the file cannot be written; the old file is kept.
    """
    # The temporary file is in the same folder, because a rename is atomic only within a file
    # system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            # Without this, a power cut after the rename may leave an empty file under the new name.
            os.fsync(file.fileno())
        if keep_mode and path.exists():
            Path(temporary).chmod(stat.S_IMODE(path.stat().st_mode))
        Path(temporary).replace(path)
    except BaseException:  # even an interrupt must not leave a temporary file
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    fsync_directory(path.parent)


def remove_stale_temporaries(path: Path) -> None:
    """Remove temporary files left by killed writers of this file; the caller must hold the lock."""
    for temporary in path.parent.glob(f".{path.name}.*.part"):
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def write_errors_as_config_error(path: Path, hint: Hint | str) -> Iterator[None]:
    """Convert an error in the ``with`` block to a one-line error about the file.

    Raises:
        ConfigError: Instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        failed_path = Path(os.fsdecode(error.filename)) if error.filename else path
        location = "" if failed_path.parent == path.parent else f" (at {str(failed_path)!r})"
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{str(path)!r} cannot be written: {reason}{location}.", hint=hint
        ) from None


@contextlib.contextmanager
def file_lock(path: Path, lock: Path, timeout: float) -> Iterator[None]:
    """Lock a file against writing by other kernels and threads.

    Args:
        path: The file.
        lock: The lock file, locked with filelock, which also supports Windows and network
            drives. The lock file is not removed; the system releases the lock of a killed process.
        timeout: Seconds to wait for another process.

    Raises:
        ConfigError: If another process holds the lock for longer than the timeout.
    """
    from filelock import FileLock, Timeout

    try:
        # If other users could open the lock file, they could hold the lock.
        with FileLock(lock, timeout=timeout, mode=0o600):
            yield
    except Timeout:
        raise ConfigError(
            f"{str(path)!r} has been locked by another process for {timeout:g} s.",
            hint="Try again when that process has finished.",
        ) from None


def make_ignored_folder(folder: Path, rules: str = "*\n") -> None:
    """Create a private folder with a ``.gitignore`` for all its contents; keep existing files.

    An empty ``.gitignore`` is replaced: a full disk may have left it, and git would then track what
    the folder contains.

    Args:
        folder: The folder.
        rules: The text of the ``.gitignore``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / ".gitignore"
    try:
        status = path.lstat()
    except FileNotFoundError:
        write_new(path, rules.encode())
    else:
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            atomic_write(path, rules.encode(), keep_mode=True)


def write_new(path: Path, data: bytes) -> bool:
    """Write a file unless it exists; return whether it was written. An incomplete file is removed.

    Raises:
        OSError: If the file cannot be written.
    """
    try:
        # Unlike "w", the mode "x" does not follow a symlink with this name.
        file = path.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(data)
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return True


def write_new_folder(folder: Path, files: Mapping[str, bytes]) -> bool:
    """Write a folder of files at once, unless it exists; return whether it was written.

    Only the owner can write to the folder and the files, whatever the umask.

    Args:
        folder: The folder, whose parent exists.
        files: The content of each file, by name.

    Raises:
        OSError: If the folder, which the error names, cannot be written; nothing is left behind.
    """
    if os.path.lexists(folder):
        return False
    temporary = None
    try:
        temporary = Path(
            tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part")
        )
        for name, data in files.items():
            path = temporary / name
            path.write_bytes(data)
            path.chmod(0o644)
        temporary.chmod(0o755)
        # If another process has created the folder since, this fails, or replaces an empty folder.
        temporary.rename(folder)
    except BaseException as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise
    return True


def fsync_directory(folder: Path) -> None:
    """Sync a folder to disk, so that a new entry survives a power cut; ignore any failure."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
