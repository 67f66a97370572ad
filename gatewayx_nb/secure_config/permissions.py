"""Whose a file is, and who may change it."""

from __future__ import annotations

import logging
import os
import stat
import sys
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("gatewayx_nb")


def why_foreign(path: Path) -> str | None:
    """Tell why code or keys in a file or folder cannot be the user's own; ``None`` if they can.

    Modes tell nothing on Windows, where everything passes.
    """
    if sys.platform == "win32":
        return None
    status = path.stat()
    if status.st_uid not in (os.getuid(), 0):
        return f"belongs to another user (id {status.st_uid})"
    if status.st_mode & stat.S_IWOTH:
        return "may be changed by everyone; mend it with `chmod o-w`"
    return None


def why_refused(path: Path, folder: Path) -> str | None:
    """Tell why an engine file must not be run; ``None`` if it may."""
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            return "is a link that leaves its folder"
        return why_foreign(path) if path.is_file() else "is no plain file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except RuntimeError:  # Python 3.11 and 3.12
        return "is a link to itself"


def keep_private(path: Path) -> None:
    """Make sure that a file of keys is the user's and readable by the user alone.

    Raises:
        ConfigError: It is a link, no file, or somebody else's.
    """
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise ConfigError(
            f"the key file {str(path)!r} is a link; keys are read from a plain file only.",
            mend="Replace it by the file that it points to.",
        )
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"the key file {str(path)!r} is not a file.",
            mend="Move it away, then `%gatewayx key set NAME`.",
        )
    if sys.platform == "win32":
        return
    if status.st_uid not in (os.getuid(), 0):
        raise ConfigError(
            f"the key file {str(path)!r} belongs to another user (id {status.st_uid}).",
            mend="Own it, or move it away and run `%gatewayx key set NAME`.",
        )
    if status.st_mode & 0o077:
        path.chmod(0o600)
        log.warning("%s was readable by others; it is 0600 now.", path)
