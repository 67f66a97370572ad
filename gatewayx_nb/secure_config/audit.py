"""Permissions and git status of the files that hold keys and code."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayx_nb.files import ConfigDir, Owner

Kind = Literal["keys", "keys folder", "settings", "engines folder"]

_PATIENCE = 0.5
"""Seconds for git to answer one of two questions, about at most two files."""


@dataclass(frozen=True, slots=True)
class FileSecurity:
    """Security status of a file or folder, without user names or paths outside its place.

    Attributes:
        place: The folder that ``path`` is relative to.
        kind: What it contains.
        path: Its path, with ``/``.
        exists: Whether it exists.
        link: Whether it is a symlink.
        mode: Its permissions in octal, such as ``"0600"``; ``None`` if it has none.
        yours: Whether it belongs to the user of this process.
        root: Whether it belongs to root.
        others_read: Whether others may read it, its group included.
        others_write: Whether others may write it, its group included.
        ignored: Whether git ignores it; ``None`` if unknown or not checked.
        tracked: Whether git tracks it; ``None`` if unknown or not checked.
    """

    place: Owner
    kind: Kind
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


def files(place: ConfigDir) -> Iterator[FileSecurity]:
    """Inspect a place's files and folders; git is queried only about the key file."""
    looked: list[tuple[Kind, Path]] = [
        ("keys", place.keys),
        ("keys folder", place.keys.parent),
        ("settings", place.settings),
        ("engines folder", place.engines),
    ]
    for kind, path in looked:
        yield _look(place, kind, path)


def tracked_by_git(path: Path) -> bool:
    """Return whether git tracks a file."""
    return bool(_git(path, "ls-files", "--error-unmatch"))


def _look(place: ConfigDir, kind: Kind, path: Path) -> FileSecurity:
    relative = path.relative_to(place.root).as_posix()
    found = FileSecurity(place.owner, kind, relative, exists=os.path.lexists(path))
    if kind == "keys":
        ignored = _git(path, "check-ignore", "--quiet", "--no-index")
        found = replace(found, ignored=ignored, tracked=_git(path, "ls-files", "--error-unmatch"))
    try:
        status = path.lstat()
    except OSError:
        return found
    found = replace(found, link=stat.S_ISLNK(status.st_mode))
    if sys.platform == "win32":  # modes and owners have no meaning there
        return found
    mode = stat.S_IMODE(status.st_mode)
    return replace(
        found,
        mode=f"{mode:04o}",
        yours=status.st_uid == os.getuid(),
        root=status.st_uid == 0,
        others_read=bool(mode & 0o044),
        others_write=bool(mode & 0o022),
    )


def _git(path: Path, *question: str) -> bool | None:
    """Query git about a file; return ``None`` without git, a repository or an answer.

    Nothing from another user's repository is run: its file monitor is disabled. Git gets no
    variables that may hold keys.
    """
    folder = next(parent for parent in path.parents if parent.is_dir())
    kept = ("PATH", "HOME", "SYSTEMROOT", "XDG_CONFIG_HOME")
    try:
        answer = subprocess.run(  # noqa: S603 - fixed words, and a path after `--`
            ["git", "-c", "core.fsmonitor=false", *question, "--", str(path)],  # noqa: S607
            cwd=folder,
            env={name: os.environ[name] for name in kept if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: True, 1: False}.get(answer.returncode)  # 128 outside a repository
