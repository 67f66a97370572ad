"""Scores answers while an evaluation is running, for the display of its progress."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatewayx_nb.batch import MapFigures
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.evaluation.grid_cell import GridCell
    from gatewayx_nb.evaluation.score_values import Kind
    from gatewayx_nb.evaluation.scoring import Scoring
    from gatewayx_nb.replies import Reply

_SHARE = 0.1
"""Maximum share of the time that scorers may take while answers arrive."""

_FREE = 0.05
"""Seconds that they may take in any case."""

_LENGTH = 150


class LiveScores:
    """Scores answers as they arrive, and notes the means in the figures of the map.

    The map waits while a scorer runs, so slow scorers score only some answers here, and the others
    after the last answer.

    Args:
        scoring: Runs the scorers.
        cells: All cells.
        figures: The figures of the map, whose note is set.
        mask: Masks keys in a text.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        scoring: Scoring,
        cells: Sequence[GridCell],
        figures: MapFigures,
        mask: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scoring, self._cells, self._figures, self._mask = scoring, cells, figures, mask
        self._clock, self._started, self._spent = clock, clock(), 0.0
        self._waiting: deque[GridCell] = deque()
        self._sums: dict[str, dict[str, tuple[float, int]]] = {}
        self._are_bools: dict[str, bool] = {}

    def add(self, outcomes: Iterable[tuple[int, Reply | GatewayError]]) -> None:
        """Set the answers of cells, and score them as far as there is time.

        Args:
            outcomes: Positions of cells with their answers.
        """
        for position, outcome in outcomes:
            cell = self._cells[position]
            cell.set_outcome(outcome)
            self._waiting.append(cell)
        while self._waiting and self._spent <= _FREE + _SHARE * (self._clock() - self._started):
            started = self._clock()
            self._score(self._waiting.popleft())
            self._spent += self._clock() - started
        self._figures.note = self._mask(self._text())

    def _score(self, cell: GridCell) -> None:
        self._scoring.score(cell)
        for name, score in cell.scores.items():
            if isinstance(score.value, bool | int | float):
                sums = self._sums.setdefault(name, {})
                total, count = sums.get(cell.variant.name, (0.0, 0))
                sums[cell.variant.name] = total + score.value, count + 1
                is_bool = isinstance(score.value, bool)
                self._are_bools[name] = self._are_bools.get(name, True) and is_bool

    def _text(self) -> str:
        texts = []
        for name, sums in self._sums.items():
            kind: Kind = "bool" if self._are_bools[name] else "number"
            means = [
                f"{variant} {number_text(total / count, kind)}"
                for variant, (total, count) in sums.items()
            ]
            texts.append(f"{name}: {', '.join(means)}")
        return shorten(f"So far, {'; '.join(texts)}", _LENGTH) if texts else ""
