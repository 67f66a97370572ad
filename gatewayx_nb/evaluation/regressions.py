"""Compares an evaluation with a baseline: the scores that are worse, and their rows."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation.checks import Failure, WorseRow, check_share
from gatewayx_nb.evaluation.paired_tests import paired_difference
from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.evaluation.score_values import are_shares
from gatewayx_nb.hints import Hint, as_hint

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.baseline import Baseline, BaselineScore
    from gatewayx_nb.evaluation.score_values import Kind

_MIN_PAIRS = 2


def check_no_worse(
    baseline: Baseline,
    now: Baseline,
    variants: Sequence[str],
    margin: float,
    clusters: Mapping[str, Hashable] | None = None,
) -> list[Failure]:
    """Return the scores that are worse than in a baseline by more than a margin.

    A score fails if the 95 % interval of its paired difference is below the margin: a difference
    that chance could explain does not fail.

    Args:
        baseline: The baseline.
        now: The evaluation.
        variants: The names of the variants that are checked.
        margin: The difference that is accepted, in the unit of the score.
        clusters: The cluster of each row, by ID; ``None`` if each row is a unit of its own.

    Raises:
        UsageError: If a variant is missing in the baseline, or a score of it in the evaluation.
    """
    failures: list[Failure] = []
    lost = [name for name in baseline.scores if name not in now.scores]
    if lost or not baseline.scores:
        raise UsageError(
            f"the evaluation lacks scores that the baseline has: {', '.join(lost) or 'none'}.",
            hint=as_hint("Add their scorers.") | Hint("save_baseline"),
        )
    for name, then in baseline.scores.items():
        current = now.scores[name]
        check_share("margin", margin, cast("Kind", current.kind))
        for variant in variants:
            before, after = _variant_of(then, variant), current.values.get(variant, {})
            text = _regression(before, after, current, margin, clusters)
            if text:
                worse = _worse_rows(before, after, lower_is_better=current.lower_is_better)
                failures.append(Failure(variant, name, f"{name} {text}", worse))
    return failures


def _variant_of(score: BaselineScore, variant: str) -> Mapping[str, float]:
    """Return the values of a variant; a baseline of one variant is that of every variant."""
    if variant in score.values:
        return score.values[variant]
    if len(score.values) == 1:
        (values,) = score.values.values()
        return values
    raise UsageError(
        f"the baseline has no variant {variant!r}.",
        hint=Hint("name_variant", known=", ".join(score.values)) | Hint("save_baseline"),
    )


def _regression(
    before: Mapping[str, float],
    after: Mapping[str, float],
    score: BaselineScore,
    margin: float,
    clusters: Mapping[str, Hashable] | None,
) -> str:
    """Return what has become worse; empty if nothing has, or if chance could explain it."""
    rows = [key for key in after if key in before]
    lost = len(before) - len(rows)
    if lost > len(rows):
        # Errors are left out of numbers, so the others would be compared as if these were equal.
        return f"has no value on {lost:,} of {len(before):,} rows of the baseline."
    pairs = _mean_pairs(rows, after, before, clusters)
    if len(pairs) < _MIN_PAIRS:
        return ""
    kind: Any = score.kind
    # The first of each pair is the one that has to be higher.
    ordered = [(old, new) for new, old in pairs] if score.lower_is_better else pairs
    are_counts = are_shares(kind, itertools.chain.from_iterable(pairs))
    if paired_difference(ordered, are_shares=are_counts).interval.high >= -margin:
        return ""
    means = [number_text(sum(values) / len(pairs), kind) for values in zip(*pairs, strict=True)]
    points = f"{100 * margin:g} points" if kind == "bool" else number_text(margin)
    allowed = f" by more than {points}" if margin else ""
    worse = sum(first < second for first, second in ordered)
    better = sum(first > second for first, second in ordered)
    return (
        f"is worse than the baseline{allowed}: {means[0]}, before {means[1]}"
        f" ({worse} {'rows' if clusters is None else 'clusters'} worse, {better} better,"
        f" of {len(pairs)})."
    )


def _mean_pairs(
    rows: Iterable[str],
    after: Mapping[str, float],
    before: Mapping[str, float],
    clusters: Mapping[str, Hashable] | None,
) -> list[tuple[float, float]]:
    """Return the value of each row now and before, or the means of the rows of each cluster."""
    grouped: dict[Hashable, list[str]] = {}
    for row in rows:
        grouped.setdefault(row if clusters is None else clusters[row], []).append(row)
    return [
        (statistics.fmean(after[row] for row in own), statistics.fmean(before[row] for row in own))
        for own in grouped.values()
    ]


def _worse_rows(
    before: Mapping[str, float], after: Mapping[str, float], *, lower_is_better: bool
) -> list[WorseRow]:
    rows = [WorseRow(key, before[key], after[key]) for key in before if key in after]
    sign = -1 if lower_is_better else 1
    worse = [row for row in rows if sign * (row.now - row.before) < 0]
    return sorted(worse, key=lambda row: sign * (row.now - row.before))
