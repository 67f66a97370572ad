"""One thread that looks for changes, for as long as anything is shown that follows them."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger("gatewayx_nb")

EVERY = 2.0
"""Seconds between looks; one takes about a millisecond."""


class Follower(Protocol):
    """What follows changes."""

    def follow(self) -> None:
        """Look, and show what has changed; called on the thread of the watch."""


class Watch:
    """Calls its followers every so often; they are held weakly.

    The thread begins with the first follower and ends after the last one is gone. A daemon: it
    holds nothing that has to be finished.

    Args:
        every: Seconds between.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()
        self._lock = threading.Lock()  # for the end of the thread and a new follower at once
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, follower: Follower) -> None:
        """Let it follow."""
        with self._lock:
            self._followers.add(follower)
            if self._thread is None:
                self._wake.clear()
                self._thread = threading.Thread(
                    target=self._run, name="gatewayx-watch", daemon=True
                )
                self._thread.start()

    def discard(self, follower: Follower) -> None:
        """Let it follow no longer."""
        with self._lock:
            self._followers.discard(follower)
            if not self._followers:
                self._wake.set()

    def _run(self) -> None:
        while not self._wake.wait(self._every):
            self._tell(list(self._followers))
            with self._lock:
                if not self._followers:
                    break
        with self._lock:
            self._thread = None

    def _tell(self, followers: Iterable[Follower]) -> None:
        for follower in followers:
            try:
                follower.follow()
            except Exception:
                log.debug("a look for changes failed", exc_info=True)


watch = Watch()
"""The one that all pickers of a process share."""
