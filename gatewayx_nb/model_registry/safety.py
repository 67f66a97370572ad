"""Checks, before a file's code is executed, that other users cannot have written it."""

from __future__ import annotations

import functools
import os
import stat
import sys
from typing import TYPE_CHECKING

from gatewayx_nb.files import (
    drop_reason_if_modes_unreliable,
    endpoint_file_problem,
    ownership_problem,
    permission_problem,
    quoted_path,
)

if TYPE_CHECKING:
    from pathlib import Path

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_MODES_UNRELIABLE = (
    "is on a file system without reliable modes: other users may be able to change it"
)


def is_safe_file(path: Path) -> bool:
    """Return whether a path is a safe file, with a single ``stat``.

    It is safe if it is a regular file, belongs to the user or root, and is not writable by others.
    """
    try:
        status = os.lstat(path)
    except OSError:  # removed in the meantime
        return False
    return (
        sys.platform != "win32"
        and stat.S_ISREG(status.st_mode)
        and status.st_uid in (os.getuid(), 0)
        and not status.st_mode & _WRITABLE_BY_OTHERS
    )


def code_refusal_reason(path: Path, folder: Path) -> str | None:
    """Return why a file must not be executed; ``None`` if it may be executed."""
    return drop_reason_if_modes_unreliable(permission_problem(path, folder), path, folder)


def folder_refusal_reason(folder: Path) -> str | None:
    """Return why a folder's files must not be executed; ``None`` if they may be executed."""
    return drop_reason_if_modes_unreliable(ownership_problem(folder), folder, folder)


def engine_table_refusal_reason(path: Path) -> str | None:
    """Return why a project's or user's ``config/engines.toml`` must be ignored, or ``None``."""
    return endpoint_file_problem(path, path.parent.parent)


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
            return f"{subject}is writable by its group; `chmod g-w {quoted_path(location)}`"
    return ""


@functools.cache
def _is_own_group(group: int) -> bool:
    """Return whether a group is the user's private group, as on most Linux systems."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        name, group_entry = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    # A private group is named after its user and has no other members:
    # https://wiki.debian.org/UserPrivateGroups
    return group_entry.gr_name == name and set(group_entry.gr_mem) <= {name}
