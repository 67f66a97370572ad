"""Scores answers while an evaluation is running, for its progress display."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Table
from gatewayx_nb.evaluation.evaluation_report import summary_html
from gatewayx_nb.evaluation.score_summary import (
    SUMMARY_COLUMNS,
    answer_statistics,
    number_text,
    summarize,
)
from gatewayx_nb.evaluation.score_values import score_names, score_values
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gatewayx_nb.batch import MapFigures
    from gatewayx_nb.errors import GatewayError
    from gatewayx_nb.evaluation.grid_cell import GridCell
    from gatewayx_nb.evaluation.score_summary import VariantScore
    from gatewayx_nb.evaluation.score_values import Kind
    from gatewayx_nb.evaluation.scoring import Scoring
    from gatewayx_nb.replies import Reply

    Outcomes = Iterable[tuple[int, Reply | GatewayError]]

_MAX_TIME_SHARE = 0.1
"""Maximum share of the elapsed time that scorers may take while answers arrive."""

_EXTRA_SCORING_SECONDS = 0.05
"""Seconds that scorers may take in addition to that share."""

_MAX_NOTE_LENGTH = 150


class LiveScores:
    """Scores answers as they arrive, and shows the scores so far in the map's progress display.

    The map waits while a scorer runs, so slow scorers score only some of the answers here. The
    remaining answers are scored after the last answer has arrived.

    Args:
        scoring: Runs the scorers.
        cells: All cells of the evaluation: one for each row, variant and sample.
        figures: The map's progress figures, whose note and HTML are set here.
        mask: Returns a string with its API keys masked.
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
        self._clock, self._start_time, self._scoring_seconds = clock, clock(), 0.0
        self._unscored_cells: deque[GridCell] = deque()
        self._scored_cells: list[GridCell] = []
        self._variants = list(dict.fromkeys(cell.variant.name for cell in cells))
        figures.detail_html = self._summary_html
        self._sums_and_counts_by_score: dict[str, dict[str, tuple[float, int]]] = {}
        self._has_only_bools_by_score: dict[str, bool] = {}

    async def add_in_thread(self, outcomes: Outcomes) -> None:
        """Store answers in their cells, and score them in another thread; see `add`."""
        add_task = asyncio.ensure_future(asyncio.to_thread(self.add, outcomes))
        try:
            await asyncio.shield(add_task)
        except asyncio.CancelledError:
            await add_task  # the same cell must not be scored by two threads
            raise

    def add(self, outcomes: Outcomes) -> None:
        """Store answers in their cells, and score as many of them as time permits.

        Args:
            outcomes: Positions of cells, each with its answer or error.
        """
        for position, outcome in outcomes:
            cell = self._cells[position]
            cell.set_outcome(outcome)
            self._unscored_cells.append(cell)
        while self._unscored_cells and self._has_time:
            start = self._clock()
            self._score_cell(self._unscored_cells.popleft())
            self._scoring_seconds += self._clock() - start
        self._figures.note = self._mask(self._note_text())

    @property
    def _has_time(self) -> bool:
        max_seconds = _EXTRA_SCORING_SECONDS + _MAX_TIME_SHARE * (self._clock() - self._start_time)
        return self._scoring_seconds <= max_seconds

    def _score_cell(self, cell: GridCell) -> None:
        self._scoring.score(cell)
        self._scored_cells.append(cell)
        for name, score in cell.scores.items():
            if isinstance(score.value, bool | int | float):
                sums_by_variant = self._sums_and_counts_by_score.setdefault(name, {})
                total, count = sums_by_variant.get(cell.variant.name, (0.0, 0))
                sums_by_variant[cell.variant.name] = total + score.value, count + 1
                is_bool = isinstance(score.value, bool)
                self._has_only_bools_by_score[name] = (
                    self._has_only_bools_by_score.get(name, True) and is_bool
                )

    def _note_text(self) -> str:
        parts = []
        for name, sums_by_variant in self._sums_and_counts_by_score.items():
            kind: Kind = "bool" if self._has_only_bools_by_score[name] else "number"
            means = [
                f"{variant} {number_text(total / count, kind)}"
                for variant, (total, count) in sums_by_variant.items()
            ]
            parts.append(f"{name}: {', '.join(means)}")
        return shorten(f"So far, {'; '.join(parts)}", _MAX_NOTE_LENGTH) if parts else ""

    def _summary_html(self) -> str:
        """Return the summary of the cells scored so far as HTML; empty if there are none."""
        cells = self._scored_cells
        clusters = self._scoring.rows.clusters
        values = [
            score_values(name, cells, self._variants, clusters) for name in score_names(cells)
        ]
        summary_rows = summarize(values, answer_statistics(cells, self._variants))
        table = Table(map(self._mask_row, summary_rows), SUMMARY_COLUMNS)
        return summary_html(table) if cells else ""

    def _mask_row(self, row: VariantScore) -> VariantScore:
        labels = {self._mask(label): count for label, count in row.labels.items()}
        variant, score = self._mask(row.variant), self._mask(row.score)
        return replace(row, variant=variant, score=score, labels=labels)
