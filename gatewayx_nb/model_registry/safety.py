"""Whether the code in a file may be run: who else could have written it."""

from __future__ import annotations

import functools
import os
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import why_foreign, why_refused

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_NO_MODES = "lies where file modes do not hold: nothing tells who may change it"


def is_plain(entry: os.DirEntry[str]) -> bool:
    """Tell by one look whether a file is the user's, no link, and closed to others."""
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # it was removed meanwhile
        return False
    return (
        sys.platform != "win32"
        and stat.S_ISREG(status.st_mode)
        and status.st_uid in (os.getuid(), 0)
        and not status.st_mode & _OTHERS
    )


def refusal(path: Path, folder: Path) -> str | None:
    """Tell why a file must not be run; ``None`` if it may."""
    return _unless_modes_fail(why_refused(path, folder), path, folder)


def folder_refusal(folder: Path) -> str | None:
    """Tell why no file of a folder must be run; ``None`` if they may."""
    return _unless_modes_fail(why_foreign(folder), folder, folder)


def data_refusal(path: Path) -> str | None:
    """Tell why a file of rows must not be heeded; ``None`` if it may: it may be a link."""
    return _unless_modes_fail(why_foreign(path), path, path.parent)


def doubt(path: Path, folder: Path) -> str:
    """Tell what is to be warned of in a file that may be run, in one line; mostly nothing."""
    if sys.platform == "win32":
        return _NO_MODES
    for place in (path, folder):
        status = place.stat()
        if status.st_mode & stat.S_IWOTH:
            return _NO_MODES
        if status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid):
            what = "" if place == path else "lies in a folder that "
            return f"{what}may be changed by its group; `chmod g-w {place}`"
    return ""


def _unless_modes_fail(why: str | None, path: Path, folder: Path) -> str | None:
    return None if why and _is_only_mode(path, why) and not _modes_hold(folder) else why


def _is_only_mode(path: Path, why: str) -> bool:
    """Tell whether a refusal is for its mode alone: not for its owner, nor as a link."""
    try:
        return path.stat().st_uid in (os.getuid(), 0) and why == why_foreign(path)
    except OSError:
        return False


def _modes_hold(folder: Path) -> bool:
    return _modes_hold_on(folder.stat().st_dev, folder)


@functools.cache
def _modes_hold_on(_device: int, folder: Path) -> bool:
    """Tell whether a new file, made for its owner alone, is that: not so on FAT and some mounts."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".gatewayx-") as file:
            return not os.fstat(file.fileno()).st_mode & _OTHERS
    except OSError:
        return True


@functools.cache
def _is_own_group(group: int) -> bool:
    """Tell whether a group is the user's alone, as most Linux systems make one for each user."""
    if sys.platform == "win32":
        return False
    import grp
    import pwd

    try:
        name, found = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return found.gr_name == name and set(found.gr_mem) <= {name}
