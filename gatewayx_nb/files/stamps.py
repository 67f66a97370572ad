"""Detects changes to files and folders that have been read."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from gatewayx_nb.files.locations import stat_stamp
from gatewayx_nb.files.reading import read_limited

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayx_nb.files.locations import StatStamp

_TICK_NS = 50_000_000
"""Nanoseconds within which two changes may get the same timestamp.

Linux before 6.13 takes timestamps from a clock that ticks every 1 to 10 ms.
"""


class FileStamp:
    """The state of a file or folder at the creation of this object; create it before reading.

    A file that changed within the last clock tick may change again without a new stamp, so its
    content is also compared. After the tick, the stamp is sufficient. No lock is needed, because
    two threads that check at the same time get the same result.

    Args:
        path: The file or folder, which need not exist.
        descriptor: The descriptor of the file if it is open already, which is faster.

    Attributes:
        path: The file or folder.
    """

    __slots__ = ("_content", "_stamp", "path")

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path = path
        self._stamp = stat_stamp(path if descriptor is None else descriptor)
        self._content = _content(path) if _is_within_tick(self._stamp) else None

    @property
    def exists(self) -> bool:
        """Whether the path existed."""
        return self._stamp is not None

    def has_changed(self) -> bool:
        """Return whether the file or folder has changed."""
        if stat_stamp(self.path) != self._stamp:
            return True
        if self._content is None:
            return False
        # Determine the age before reading: if the stamp is at least a tick old, a later change gets
        # a new stamp.
        is_young = _is_within_tick(self._stamp)
        if _content(self.path) != self._content:
            return True
        if not is_young:
            self._content = None
        return False


def _is_within_tick(stamp: StatStamp | None) -> bool:
    return stamp is not None and abs(time.time_ns() - max(stamp[:2])) < _TICK_NS


def _content(path: Path) -> bytes:
    """Return a digest of a file's bytes or a folder's file names; empty if it cannot be used."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            content = "\0".join(sorted(os.listdir(path))).encode(errors="replace")  # noqa: PTH208
        else:  # special files and larger files are never used
            content = read_limited(path) if stat.S_ISREG(mode) else b""
    except (OSError, ValueError):
        return b""
    return hashlib.blake2b(content, digest_size=16).digest()
