"""How often a display is updated: by the clock, by what an update costs, and by its length."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL = 0.1
"""Least seconds between two updates of a display."""

_DOUBLING = 20_000
"""Characters of HTML by which the least time between updates grows as long again: each update is
sent whole, and costs the kernel and the page by its length."""


class Throttle:
    """Says when the next update is due.

    Args:
        clock: Gives seconds that never go back.
        share: An update is followed by at least so many times its own cost, which bounds rendering
            to that part of a core however long an answer grows.

    Attributes:
        length: Characters of HTML that the last update sent.
    """

    def __init__(self, clock: Callable[[], float], share: int) -> None:
        self.length = 0
        self._clock = clock
        self._share = share
        self._due = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the last update is long enough ago."""
        return self._clock() >= self._due

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Put the next update off by what this one costs."""
        start = self._clock()
        yield
        least = INTERVAL * (1 + self.length / _DOUBLING)
        self._due = self._clock() + max(least, self._share * (self._clock() - start))
