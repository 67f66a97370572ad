"""Update rate of a display, by time, by the cost of an update and by its length."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL = 0.1
"""Minimum number of seconds between two updates of a display."""

_DOUBLING = 20_000
"""Characters of HTML that lengthen the interval between updates by its minimum.

Each update sends the whole HTML, and costs the kernel and the page in proportion.
"""


class Throttle:
    """Rate limiter for the updates of a display.

    Args:
        clock: Returns monotonic seconds.
        share: Pause after an update, as a multiple of its own cost; this bounds rendering to that
            share of a core, however long an answer grows.

    Attributes:
        length: Characters of HTML in the last update.
    """

    def __init__(self, clock: Callable[[], float], share: int) -> None:
        self.length = 0
        self._clock = clock
        self._share = share
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next update is due."""
        return self._clock() >= self._due

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Delay the next update by the cost of this one."""
        start = self._clock()
        yield
        now = self._clock()
        minimum = INTERVAL * (1 + self.length / _DOUBLING)
        self._due = now + max(minimum, self._share * (now - start))
