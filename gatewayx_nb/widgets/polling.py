"""Polls for changes in a thread as long as there are followers."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Protocol

log = logging.getLogger("gatewayx_nb")

POLL_INTERVAL = 2.0
"""Seconds between polls; a poll takes about a millisecond."""


class Follower(Protocol):
    """An object that is notified at each poll."""

    def follow(self) -> None:
        """Check for changes and show them; called in the polling thread."""


class ChangePoller:
    """A thread that calls its followers periodically, and keeps only weak references to them.

    The thread starts with the first follower and ends after the last follower is gone. It is a
    daemon, because it has no work that must be completed.

    Args:
        interval: Seconds between calls.
    """

    def __init__(self, interval: float = POLL_INTERVAL) -> None:
        self._interval = interval
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()
        self._lock = threading.Lock()  # prevents adding a follower while the thread is ending
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, follower: Follower) -> None:
        """Add a follower."""
        with self._lock:
            self._followers.add(follower)
            if self._thread is None:
                # The event is still set if the last follower was discarded.
                self._wake.clear()
                self._thread = threading.Thread(
                    target=self._run_until_unused, name="gatewayx-watch", daemon=True
                )
                self._thread.start()

    def discard(self, follower: Follower) -> None:
        """Remove a follower."""
        with self._lock:
            self._followers.discard(follower)
            if not self._followers:
                self._wake.set()

    def _run_until_unused(self) -> None:
        while not self._wake.wait(self._interval):
            self._notify()
            with self._lock:
                if not self._followers:
                    break
        with self._lock:
            self._thread = None

    def _notify(self) -> None:
        # This is a separate method, because a local variable in the thread's loop would keep the
        # last follower alive.
        for follower in list(self._followers):  # a copy, because other threads change the set
            try:
                follower.follow()
            except Exception:  # the failure of one follower must not stop the updates of others
                log.debug("a check for changes failed", exc_info=True)


poller = ChangePoller()
"""The instance shared by all pickers of a process."""
