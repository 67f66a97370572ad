"""Safety checks before code in a file is executed: whether other users could have written it."""

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

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_MODES_UNRELIABLE = (
    "is on a file system without reliable modes: other users may be able to change it"
)


def is_safe_entry(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a safe file, with a single ``stat``.

    It is safe if it is a regular file, belongs to the user or root, and is not writable by others.
    """
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # removed in the meantime
        return False
    return (
        sys.platform != "win32"
        and stat.S_ISREG(status.st_mode)
        and status.st_uid in (os.getuid(), 0)
        and not status.st_mode & _WRITABLE_BY_OTHERS
    )


def code_refusal_reason(path: Path, folder: Path) -> str | None:
    """Return why a file must not be executed; ``None`` if it may."""
    return _reason_if_modes_reliable(permission_problem(path, folder), path, folder)


def folder_refusal_reason(folder: Path) -> str | None:
    """Return why a folder's files must not be executed; ``None`` if they may."""
    return _reason_if_modes_reliable(ownership_problem(folder), folder, folder)


def engine_table_refusal_reason(path: Path) -> str | None:
    """Return why an engines.toml must be ignored, or ``None``; symlinks are allowed."""
    return _reason_if_modes_reliable(ownership_problem(path), path, path.parent)


def permission_warning(path: Path, folder: Path) -> str:
    """Return a one-line warning about a file that may be executed; usually empty."""
    if sys.platform == "win32":
        return _MODES_UNRELIABLE
    for location in (path, folder):
        status = location.stat()
        if status.st_mode & stat.S_IWOTH:
            return _MODES_UNRELIABLE
        if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
            subject = "" if location == path else "is in a folder that "
            return f"{subject}is writable by its group; `chmod g-w {location}`"
    return ""


def _reason_if_modes_reliable(reason: str | None, path: Path, folder: Path) -> str | None:
    is_mode_only = reason is not None and _is_refused_for_mode_only(path, reason)
    device = folder.stat().st_dev if is_mode_only else 0
    return None if is_mode_only and not _are_modes_reliable_on(device, folder) else reason


def _is_refused_for_mode_only(path: Path, reason: str) -> bool:
    """Return whether a file is refused only because of its mode.

    Otherwise it is a symlink or has another owner.
    """
    try:
        return path.stat().st_uid in (os.getuid(), 0) and reason == ownership_problem(path)
    except OSError:
        return False


@functools.cache
def _are_modes_reliable_on(_device: int, folder: Path) -> bool:
    """Return whether a new private file stays private, which fails on FAT and some mounts."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gatewayx-") as file:
            return not os.fstat(file.fileno()).st_mode & _WRITABLE_BY_OTHERS
    except OSError:
        # In a folder that cannot be written nothing can be tested, so the stricter rule applies.
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
