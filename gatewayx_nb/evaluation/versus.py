"""Compares variants with a baseline, row by row."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gatewayx_nb.calls import TableColumn
from gatewayx_nb.evaluation.paired_tests import holm, paired_difference, paired_shares
from gatewayx_nb.evaluation.sample_size import rows_needed
from gatewayx_nb.evaluation.score_summary import MIN_VERDICT_ROWS, number_text
from gatewayx_nb.evaluation.score_values import are_binary
from gatewayx_nb.text import counted

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from gatewayx_nb.evaluation.score_values import Kind, ScoreValues

_ALPHA = 0.05
_MIN_SHOWN_P = 0.001
_POWER_FACTOR = (1.959964 + 0.841621) ** 2
"""``(z(0.975) + z(0.8)) ** 2``: for a two-sided test at 5 % with a power of 80 %."""

_MAX_ROWS_NEEDED = 1_000_000
"""Maximum number of needed rows that is shown."""


@dataclass(frozen=True, slots=True)
class VariantDifference:
    """One score of a variant compared with that of the baseline, on the rows that have both.

    Attributes:
        variant: Name of the variant.
        baseline: Name of the baseline.
        score: Name of the score.
        kind: ``"bool"`` or ``"number"``.
        n: Number of rows, or clusters, with both scores.
        difference: The mean of the differences: variant minus baseline. For a preference, the share
            of rows won minus the share of rows lost.
        low: Lower end of its 95 % interval; ``None`` with fewer than 10 rows.
        high: Upper end of its 95 % interval.
        p: The p-value, adjusted by Holm's method for all comparisons; ``None`` with fewer than 10
            rows.
        won: Number of rows on which the variant is better.
        lost: Number of rows on which the baseline is better.
        equal: Number of rows on which both are equal.
        verdict: ``"better"``, ``"worse"``, ``"not told apart"`` or ``"too few rows"``.
        rows_needed: Number of rows that would probably tell the variants apart, if the true
            difference is the one found; ``None`` if they are told apart, or do not differ.
        unit: What is counted: ``"row"`` or ``"cluster"``.
    """

    variant: str
    baseline: str
    score: str
    kind: Kind
    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    won: int
    lost: int
    equal: int
    verdict: str = "too few rows"
    rows_needed: int | None = None
    unit: str = "row"

    @property
    def text(self) -> str:
        """The verdict in a sentence."""
        names, counts = (
            f"{self.variant!r} and {self.baseline!r}",
            f"{self.won} won, {self.lost} lost",
        )
        if self.verdict == "too few rows":
            return (
                f"{names} on {self.score}: {counts}, {self.equal} equal;"
                f" {counted(self.n, self.unit)} of the {MIN_VERDICT_ROWS} that a verdict needs."
            )
        if self.verdict == "not told apart":
            row_count = self.rows_needed
            rows_note = f"; about {row_count:,} {self.unit}s would be needed" if row_count else ""
            return f"{names} are not told apart on {self.score} ({counts}){rows_note}."
        size, low, high = self._size_texts()
        sign = "" if self.p is not None and self.p < _MIN_SHOWN_P else "= "
        return (
            f"{self.variant!r} is {self.verdict} than {self.baseline!r} on {self.score} by {size}"
            f" (95 % interval {low} to {high}, p {sign}{p_text(self.p)}; {counts})."
        )

    def _size_texts(self) -> tuple[str, str, str]:
        """Return the absolute difference and the limits of its interval, as strings."""
        sign = -1 if self.difference < 0 else 1
        low, high = sorted((sign * (self.low or 0), sign * (self.high or 0)))
        if self.kind == "bool":
            size, low_text, high_text = (
                f"{100 * share:.1f}" for share in (abs(self.difference), low, high)
            )
            return f"{size} points", low_text, high_text
        return number_text(abs(self.difference)), number_text(low), number_text(high)


def p_text(p: float | None) -> str:
    """Return a p-value as text."""
    if p is None:
        return ""
    return f"< {_MIN_SHOWN_P}" if p < _MIN_SHOWN_P else f"{p:.3f}"


def compare_with_baseline(
    scores: Sequence[ScoreValues], variants: Sequence[str], baseline: str
) -> list[VariantDifference]:
    """Return a row for each score of each variant that is not the baseline.

    Labels are left out, and so are scores for which the two variants have no row in common.
    """
    rows = []
    for score in scores:
        for variant in variants:
            if variant != baseline and score.kind != "label":
                row = _compare_variant(score, variant, baseline)
                if row is not None:
                    rows.append(row)
    p_values = [row.p for row in rows if row.p is not None]
    adjusted = iter(holm(p_values))
    lower_is_better = {score.name: score.lower_is_better for score in scores}
    return [
        row
        if row.p is None
        else _with_verdict(row, next(adjusted), lower_is_better=lower_is_better[row.score])
        for row in rows
    ]


def _compare_variant(score: ScoreValues, variant: str, baseline: str) -> VariantDifference | None:
    units, base_units = score.variants[variant].units, score.variants[baseline].units
    is_preference = score.is_preference and baseline == next(iter(score.variants))
    pairs = (
        [(value, 0.5) for value in units.values()]
        if is_preference
        else _paired_values(units, base_units)
    )
    if not pairs:
        return None
    gains = [(b - a if score.lower_is_better else a - b) for a, b in pairs]
    won, lost = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    scale = 2 if is_preference else 1
    differences = [scale * (a - b) for a, b in pairs]
    row = VariantDifference(
        variant=variant,
        baseline=baseline,
        score=score.name,
        kind=score.kind,
        n=len(pairs),
        difference=sum(differences) / len(pairs),
        low=None,
        high=None,
        p=None,
        won=won,
        lost=lost,
        equal=len(pairs) - won - lost,
        unit=score.unit,
    )
    if len(pairs) < MIN_VERDICT_ROWS:
        return row
    is_binary = are_binary(score.kind, itertools.chain.from_iterable(pairs))
    if is_preference and set(differences) <= {-1.0, 0.0, 1.0}:
        half_of_ties = row.equal // 2  # a tie does not say whether both answers are good or bad
        result = paired_shares(half_of_ties, won, lost, row.equal - half_of_ties)
    else:
        scaled_pairs = [(scale * first, scale * second) for first, second in pairs]
        result = paired_difference(scaled_pairs, are_binary=is_binary)
    row_count = _rows_needed(differences, result.difference, is_binary=is_binary)
    return replace(
        row, low=result.interval.low, high=result.interval.high, p=result.p, rows_needed=row_count
    )


def _paired_values(
    units: Mapping[Hashable, float], base_units: Mapping[Hashable, float]
) -> list[tuple[float, float]]:
    return [(value, base_units[unit]) for unit, value in units.items() if unit in base_units]


def _rows_needed(differences: Sequence[float], difference: float, *, is_binary: bool) -> int | None:
    """Return the number of rows needed to detect a mean difference with a power of 80 %."""
    if not difference:
        return None
    if is_binary:
        differing_count = sum(bool(row_difference) for row_difference in differences)
        row_count = rows_needed(abs(difference), disagreement=differing_count / len(differences))
    else:
        ratio = _POWER_FACTOR * statistics.variance(differences) / difference**2
        row_count = math.ceil(ratio) if math.isfinite(ratio) else _MAX_ROWS_NEEDED + 1
    return row_count if row_count <= _MAX_ROWS_NEEDED else None


def _with_verdict(row: VariantDifference, p: float, *, lower_is_better: bool) -> VariantDifference:
    if p >= _ALPHA:
        # More rows than there are, because the formula ignores the adjustment of p-values.
        row_count = None if row.rows_needed is None else max(row.rows_needed, row.n + 1)
        return replace(row, p=p, verdict="not told apart", rows_needed=row_count)
    is_better = (row.difference < 0) is lower_is_better
    return replace(row, p=p, verdict="better" if is_better else "worse", rows_needed=None)


def _signed_points(share: float) -> str:
    """Return a difference of shares in percentage points."""
    points = round(100 * share, 1)
    return f"{points:+.1f}" if points else "0.0"


def _difference_text(row: VariantDifference) -> str:
    if row.kind == "bool":
        return f"{_signed_points(row.difference)} points"
    return f"{'+' if row.difference > 0 else ''}{number_text(row.difference)}"


def _interval_text(row: VariantDifference) -> str:
    if row.low is None or row.high is None:
        return ""
    if row.kind == "bool":
        return f"{_signed_points(row.low)} to {_signed_points(row.high)}"
    return f"{number_text(row.low)} to {number_text(row.high)}"


DIFFERENCE_COLUMNS: tuple[TableColumn[VariantDifference], ...] = (
    TableColumn("variant", lambda row: row.variant),
    TableColumn("baseline", lambda row: row.baseline),
    TableColumn("score", lambda row: row.score),
    TableColumn("n", lambda row: f"{row.n:,}", "right"),
    TableColumn("difference", _difference_text, "right"),
    TableColumn("95 % interval", _interval_text, "right", optional=True),
    TableColumn("p", lambda row: p_text(row.p), "right", optional=True),
    TableColumn("won", lambda row: f"{row.won:,}", "right"),
    TableColumn("lost", lambda row: f"{row.lost:,}", "right"),
    TableColumn("equal", lambda row: f"{row.equal:,}", "right"),
    TableColumn("verdict", lambda row: row.verdict),
)
