"""Summarizes an evaluation: each score of each variant, with its interval."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb.calls import TableColumn
from gatewayx_nb.evaluation.intervals import Interval, share_interval
from gatewayx_nb.evaluation.means import mean_interval
from gatewayx_nb.evaluation.score_values import are_binary
from gatewayx_nb.text import dollars, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.grid_cell import GridCell
    from gatewayx_nb.evaluation.score_values import Kind, ScoreValues, VariantValues

_MAX_LABEL_LENGTH = 40
"""Maximum number of characters of a label in a table."""

_NONNEGATIVE_SCORES = ("cost", "latency")
"""Built-in scores that cannot be negative, although a bootstrap interval may begin below 0."""

MIN_VERDICT_ROWS = 10
"""Minimum number of rows for an interval or a verdict; with fewer, there are only counts."""


@dataclass(frozen=True, slots=True)
class VariantScore:
    """One score of one variant.

    Attributes:
        variant: Name of the variant.
        score: Name of the score; empty if the evaluation has no scorer.
        kind: ``"bool"``, ``"number"`` or ``"label"``.
        n: Number of rows with the score, or of clusters; an error counts as a row if the score is a
            bool.
        errors: Number of cells that have no answer because of an error, or could not be scored.
        mean: The share of True, or the mean; ``None`` for a label, or if there is no value.
        low: Lower end of the 95 % interval; ``None`` with fewer than 10 rows.
        high: Upper end of the 95 % interval.
        labels: Number of cells with each label, most frequent first.
        cost: US dollars of all answers of the variant; ``None`` if no price is known.
        latency: Median seconds of the answers; ``None`` if there is no answer.
        missing: Number of cells that were not asked, because the evaluation was stopped.
    """

    variant: str
    score: str
    kind: Kind
    n: int
    errors: int
    mean: float | None
    low: float | None
    high: float | None
    labels: Mapping[str, int]
    cost: float | None
    latency: float | None
    missing: int = 0

    def to_dict(self) -> dict[str, object]:
        """Return the fields as the columns of a DataFrame."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "labels": dict(self.labels) or None}


@dataclass(frozen=True, slots=True)
class AnswerStatistics:
    """The cost, the latency and the counts of a variant's answers; see `VariantScore`."""

    cost: float | None
    latency: float | None
    errors: int
    missing: int
    answers: int


def answer_statistics(
    cells: Iterable[GridCell], variants: Sequence[str]
) -> dict[str, AnswerStatistics]:
    """Return the statistics of the answers, by name of the variant."""
    cells_by_variant: dict[str, list[GridCell]] = {variant: [] for variant in variants}
    for cell in cells:
        cells_by_variant[cell.variant.name].append(cell)
    answer_stats = {}
    for variant, variant_cells in cells_by_variant.items():
        costs = [cell.cost for cell in variant_cells if cell.cost is not None]
        seconds = [cell.seconds for cell in variant_cells if cell.seconds is not None]
        answer_stats[variant] = AnswerStatistics(
            cost=math.fsum(costs) if costs else None,
            latency=statistics.median(seconds) if seconds else None,
            errors=sum(bool(cell.error) for cell in variant_cells),
            missing=sum(not cell.was_asked for cell in variant_cells),
            answers=sum(cell.has_answer for cell in variant_cells),
        )
    return answer_stats


def summarize(
    scores: Iterable[ScoreValues], answer_stats: Mapping[str, AnswerStatistics]
) -> list[VariantScore]:
    """Return a row for each score of each variant, or for each variant if there are no scores."""
    rows = [
        _variant_score(score, variant, values, answer_stats[variant])
        for score in scores
        for variant, values in score.variants.items()
    ]
    return rows or [
        VariantScore(
            *(variant, "", "bool", stats.answers, stats.errors, None, None, None, {}),
            stats.cost,
            stats.latency,
            stats.missing,
        )
        for variant, stats in answer_stats.items()
    ]


def _variant_score(
    score: ScoreValues, variant: str, values: VariantValues, answer_stats: AnswerStatistics
) -> VariantScore:
    units = list(values.units.values())
    interval = _interval(score, units)
    labels = dict(sorted(values.labels.items(), key=lambda item: (-item[1], item[0])))
    return VariantScore(
        variant=variant,
        score=score.name,
        kind=score.kind,
        n=values.cells if score.kind == "label" else len(units),
        errors=values.errors,
        mean=sum(units) / len(units) if units else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        labels=labels,
        cost=answer_stats.cost,
        latency=answer_stats.latency,
        missing=answer_stats.missing,
    )


def _interval(score: ScoreValues, units: Sequence[float]) -> Interval | None:
    if len(units) < MIN_VERDICT_ROWS:
        return None
    if are_binary(score.kind, units):
        return share_interval(round(sum(units)), len(units))
    interval = mean_interval(units)
    if score.kind == "bool":
        return Interval(max(interval.low, 0.0), min(interval.high, 1.0))
    if score.name in _NONNEGATIVE_SCORES:
        return Interval(max(interval.low, 0.0), interval.high)
    return interval


def number_text(value: float | None, kind: Kind = "number") -> str:
    """Return a score as text: a share in per cent, a number with three significant digits."""
    if value is None:
        return ""
    if kind == "bool":
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004


def cost_text(cost: float | None) -> str:
    """Return a cost in US dollars as text."""
    return "unpriced" if cost is None else dollars(Decimal(str(round(cost, 6))))


def _mean_text(row: VariantScore) -> str:
    if row.kind == "label":
        labels = [(" ".join(label.split()), count) for label, count in row.labels.items()]
        texts = [f"{shorten(label, _MAX_LABEL_LENGTH)}: {count}" for label, count in labels[:4]]
        return ", ".join([*texts, *(["…"] if len(row.labels) > len(texts) else [])])
    if row.kind == "bool" and row.mean is not None and row.low is None:
        return f"{row.mean * row.n:g} of {row.n}"
    return number_text(row.mean, row.kind)


def _interval_text(row: VariantScore) -> str:
    if row.low is None or row.high is None:
        return ""
    if row.kind == "bool":
        return f"{100 * row.low:.1f} to {100 * row.high:.1f} %"
    return f"{number_text(row.low)} to {number_text(row.high)}"


def _cost_text(row: VariantScore) -> str:
    return cost_text(row.cost)


def _count_text(count: int) -> str:
    return f"{count:,}" if count else ""


SUMMARY_COLUMNS: tuple[TableColumn[VariantScore], ...] = (
    TableColumn("variant", lambda row: row.variant),
    TableColumn("score", lambda row: row.score, optional=True),
    TableColumn("n", lambda row: f"{row.n:,}", "right"),
    TableColumn("errors", lambda row: _count_text(row.errors), "right", optional=True),
    TableColumn("not asked", lambda row: _count_text(row.missing), "right", optional=True),
    TableColumn("mean", _mean_text, "right", optional=True),
    TableColumn("95 % interval", _interval_text, "right", optional=True),
    TableColumn("cost", _cost_text, "right"),
    TableColumn(
        "latency", lambda row: "" if row.latency is None else f"{row.latency:.2f} s", "right"
    ),
)
