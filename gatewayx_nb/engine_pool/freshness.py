"""Check of the user's files for changes, at most once per interval."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between checks by plain calls; commands and magics always check."""


class ThrottledCheck:
    """Runs a check on demand, or if the last one is out of date.

    Args:
        look: The check.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self, look: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._last = clock()

    def run(self) -> None:
        """Run the check now."""
        self._last = self._clock()
        self._look()

    def run_if_due(self) -> None:
        """Run the check unless it ran within `INTERVAL`."""
        if self._clock() - self._last >= INTERVAL:
            self.run()
