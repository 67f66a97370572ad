"""Safety checks before code in a file is executed: who else could have written it."""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import ownership_problem, permission_problem

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_MODES_UNRELIABLE = (
    "is on a file system without reliable modes: other users may be able to change it"
)


def is_safe_entry(entry: os.DirEntry[str]) -> bool:
    """Return whether a single ``stat`` shows a safe file.

    It is safe if it is a regular file, belongs to the user or root, and is closed to others.
    """
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # removed in the meantime
        return False
    return (
        sys.platform != "win32"
        and stat.S_ISREG(status.st_mode)
        and status.st_uid in (os.getuid(), 0)
        and not status.st_mode & _OTHERS
    )


def code_refusal_reason(path: Path, folder: Path) -> str | None:
    """Return why a file must not be executed; ``None`` if it may."""
    return _unless_modes_fail(permission_problem(path, folder), path, folder)


def folder_refusal_reason(folder: Path) -> str | None:
    """Return why the files of a folder must not be executed; ``None`` if they may."""
    return _unless_modes_fail(ownership_problem(folder), folder, folder)


def rows_refusal_reason(path: Path) -> str | None:
    """Return why a file of rows must be ignored, else ``None``; symlinks are allowed."""
    return _unless_modes_fail(ownership_problem(path), path, path.parent)


def permission_warning(path: Path, folder: Path) -> str:
    """Return a one-line warning about a file that may be executed; usually empty."""
    if sys.platform == "win32":
        return _MODES_UNRELIABLE
    for place in (path, folder):
        status = place.stat()
        if status.st_mode & stat.S_IWOTH:
            return _MODES_UNRELIABLE
        if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
            subject = "" if place == path else "is in a folder that "
            return f"{subject}is writable by its group; `chmod g-w {place}`"
    return ""


def _unless_modes_fail(why: str | None, path: Path, folder: Path) -> str | None:
    return None if why and _is_only_mode(path, why) and not _are_modes_reliable(folder) else why


def _is_only_mode(path: Path, why: str) -> bool:
    """Return whether a file is refused only for its mode, not as a link or for its owner."""
    try:
        return path.stat().st_uid in (os.getuid(), 0) and why == ownership_problem(path)
    except OSError:
        return False


def _are_modes_reliable(folder: Path) -> bool:
    return _are_modes_reliable_on(folder.stat().st_dev, folder)


@functools.cache
def _are_modes_reliable_on(_device: int, folder: Path) -> bool:
    """Return whether a new private file stays private; on FAT and some mounts it does not."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gatewayx-") as file:
            return not os.fstat(file.fileno()).st_mode & _OTHERS
    except OSError:
        return True


@functools.cache
def _is_own_group(group: int) -> bool:
    """Return whether a group is the user's private group, as on most Linux systems."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        name, info = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    # Named after the user and without other members: https://wiki.debian.org/UserPrivateGroups
    return info.gr_name == name and set(info.gr_mem) <= {name}
