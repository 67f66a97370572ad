"""Limits how often a display is updated, by the duration and size of the updates."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERVAL = 0.1
"""Minimum number of seconds between two updates of a display."""

_CHARS_PER_INTERVAL = 20_000
"""Number of characters of HTML that add one `INTERVAL` to the minimum time between updates.

Each update sends the whole HTML, so its cost grows with the length of the HTML.
"""


class Throttle:
    """Limits the rate at which a display is updated.

    Args:
        clock: Returns monotonic seconds.
        pause_factor: Pause after an update, as a multiple of the update's duration; a factor of 10
            limits rendering to a tenth of a core, whatever the length of the answer.

    Attributes:
        html_length: Number of characters of HTML in the last update.
    """

    def __init__(self, clock: Callable[[], float], pause_factor: int) -> None:
        self.html_length = 0
        self._clock = clock
        self._pause_factor = pause_factor
        self._next_update_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether the next update is due."""
        return self._clock() >= self._next_update_at

    @contextlib.contextmanager
    def measure(self) -> Iterator[None]:
        """Measure the update in the ``with`` block, and delay the next update in proportion."""
        start = self._clock()
        yield
        now = self._clock()
        # The pause limits the rendering in this process. The minimum pause limits the work of the
        # page, which is not measured.
        minimum_pause = INTERVAL * (1 + self.html_length / _CHARS_PER_INTERVAL)
        self._next_update_at = now + max(minimum_pause, self._pause_factor * (now - start))
