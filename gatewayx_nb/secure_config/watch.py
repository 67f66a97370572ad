"""Tells whether a file or folder has changed since it was read."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config.places import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayx_nb.secure_config.places import Stamp

_TICK = 50_000_000
"""Nanoseconds within which two changes may carry one time: Linux before 6.13 stamps by a clock that
ticks every 1 to 10 ms."""


class Watch:
    """A file or folder as it stood when this was made; make it before reading.

    What changed within the last tick of the clock may change again without a new stamp, so that of
    such a one the content is compared too; once it has come to rest, its stamp alone. No lock: two
    threads that look at once come to the same answer.

    Attributes:
        path: What is watched; it need not be there.
    """

    __slots__ = ("_content", "_stamp", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = stamp(path)
        self._content = _content(path) if _is_young(self._stamp) else None

    @property
    def exists(self) -> bool:
        """Whether it was there."""
        return self._stamp is not None

    def changed(self) -> bool:
        """Tell whether it is not what it was."""
        if stamp(self.path) != self._stamp:
            return True
        if self._content is None:
            return False
        at_rest = not _is_young(self._stamp)
        if _content(self.path) != self._content:
            return True
        if at_rest:
            self._content = None
        return False


def _is_young(at: Stamp | None) -> bool:
    return at is not None and abs(time.time_ns() - max(at[:2])) < _TICK


def _content(path: Path) -> bytes:
    """Give a digest of a file's bytes or a folder's names; of anything else, nothing."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            text = "\0".join(sorted(os.listdir(path))).encode(errors="replace")  # noqa: PTH208
        else:
            text = path.read_bytes() if stat.S_ISREG(mode) else b""
    except OSError:
        return b""
    return hashlib.blake2b(text, digest_size=16).digest()
