"""When to look whether the user's files have changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL = 1.0
"""Seconds between looks of plain calls; commands and magics always look."""


class Freshness:
    """Runs a check on demand, or when the last one is old.

    Args:
        look: The check.
        clock: Gives seconds that never go back.
    """

    def __init__(
        self, look: Callable[[], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._last = clock()

    def check(self) -> None:
        """Look now."""
        self._last = self._clock()
        self._look()

    def check_if_due(self) -> None:
        """Look unless that was done within `INTERVAL`."""
        if self._clock() - self._last >= INTERVAL:
            self.check()
