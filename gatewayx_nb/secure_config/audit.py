"""Inspects the permissions and the git status of files that contain keys and code."""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.secure_config import git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayx_nb.files import ConfigDir, Owner

FileKind = Literal["keys", "keys folder", "settings", "engines folder"]


@dataclass(frozen=True, slots=True)
class FileSecurity:
    """Security status of a file or folder; contains no user names, and no paths outside its folder.

    Attributes:
        place: The owner of the folder to which ``path`` is relative.
        kind: What the file or folder contains.
        path: The path, with forward slashes.
        exists: Whether the path exists.
        link: Whether the path is a symlink.
        mode: The permissions in octal, such as ``"0600"``; ``None`` if there are none.
        yours: Whether the path belongs to the user of this process.
        root: Whether the path belongs to root.
        others_read: Whether the group or other users have permission to read.
        others_write: Whether the group or other users have permission to write.
        ignored: Whether git ignores the path; ``None`` if unknown or not checked.
        tracked: Whether git tracks the path; ``None`` if unknown or not checked.
    """

    place: Owner
    kind: FileKind
    path: str
    exists: bool
    link: bool = False
    mode: str | None = None
    yours: bool | None = None
    root: bool | None = None
    others_read: bool | None = None
    others_write: bool | None = None
    ignored: bool | None = None
    tracked: bool | None = None


def audit_files(config_dir: ConfigDir) -> Iterator[FileSecurity]:
    """Yield the status of the files in a config folder; query git only about the key file."""
    yield _inspect(config_dir, "keys", config_dir.keys)
    yield _inspect(config_dir, "keys folder", config_dir.keys.parent)
    yield _inspect(config_dir, "settings", config_dir.settings)
    yield _inspect(config_dir, "engines folder", config_dir.engines)


def tracked_by_git(path: Path) -> bool:
    """Return whether git is known to track a file."""
    return bool(git.is_tracked(path))


def may_be_committed(path: Path) -> bool:
    """Return whether ``git add`` may add a file: git does not ignore it, or tracks it already."""
    return git.is_ignored(path) is False or bool(git.is_tracked(path))


def _inspect(config_dir: ConfigDir, kind: FileKind, path: Path) -> FileSecurity:
    relative = path.relative_to(config_dir.root).as_posix()
    # `Path.exists` would report a broken symlink as missing.
    status = FileSecurity(config_dir.owner, kind, relative, exists=os.path.lexists(path))
    if kind == "keys":
        status = replace(status, ignored=git.is_ignored(path), tracked=git.is_tracked(path))
    try:
        file_status = path.lstat()
    except OSError:
        return status
    status = replace(status, link=stat.S_ISLNK(file_status.st_mode))
    if sys.platform == "win32":  # modes and owners have no meaning there
        return status
    mode = stat.S_IMODE(file_status.st_mode)
    return replace(
        status,
        mode=f"{mode:04o}",
        yours=file_status.st_uid == os.getuid(),
        root=file_status.st_uid == 0,
        others_read=bool(mode & 0o044),
        others_write=bool(mode & 0o022),
    )
