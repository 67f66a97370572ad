"""Finds the scores of an evaluation that are worse than in a baseline, and their rows."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation.checks import Failure, WorseRow, check_share
from gatewayx_nb.evaluation.paired_tests import paired_difference
from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.evaluation.score_values import are_binary
from gatewayx_nb.hints import Hint, as_hint

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.baseline import Baseline, BaselineScore
    from gatewayx_nb.evaluation.score_values import Kind

_MIN_PAIRS = 2


def check_no_worse(
    baseline: Baseline,
    current: Baseline,
    variants: Sequence[str],
    margin: float,
    clusters: Mapping[str, Hashable] | None = None,
) -> list[Failure]:
    """Return the scores that are worse than in a baseline by more than a margin.

    A score fails if the whole 95 % interval of its paired difference is worse than the margin, so
    a difference that chance could explain does not fail.

    Args:
        baseline: The earlier scores.
        current: The scores of the evaluation.
        variants: The names of the variants that are checked.
        margin: The largest acceptable loss, in the unit of the score.
        clusters: The cluster of each row, by ID; ``None`` if rows have no clusters.

    Raises:
        UsageError: If the baseline lacks a variant, or the evaluation lacks a score of the
            baseline.
    """
    failures: list[Failure] = []
    missing_names = [name for name in baseline.scores if name not in current.scores]
    if missing_names or not baseline.scores:
        raise UsageError(
            "the evaluation lacks scores that the baseline has:"
            f" {', '.join(missing_names) or 'none'}.",
            hint=as_hint("Add their scorers.") | Hint("save_baseline"),
        )
    for name, old_score in baseline.scores.items():
        score = current.scores[name]
        check_share("margin", margin, cast("Kind", score.kind))
        for variant in variants:
            before, after = _values_of_variant(old_score, variant), score.values.get(variant, {})
            text = _regression_text(before, after, score, margin, clusters)
            if text:
                worse_rows = _worse_rows(before, after, lower_is_better=score.lower_is_better)
                failures.append(Failure(variant, name, f"{name} {text}", worse_rows))
    return failures


def _values_of_variant(score: BaselineScore, variant: str) -> Mapping[str, float]:
    """Return the values of a variant; a baseline of one variant applies to every variant."""
    if variant in score.values:
        return score.values[variant]
    if len(score.values) == 1:
        (values,) = score.values.values()
        return values
    raise UsageError(
        f"the baseline has no variant {variant!r}.",
        hint=Hint("name_variant", known=", ".join(score.values)) | Hint("save_baseline"),
    )


def _regression_text(
    before: Mapping[str, float],
    after: Mapping[str, float],
    score: BaselineScore,
    margin: float,
    clusters: Mapping[str, Hashable] | None,
) -> str:
    """Return a description of a regression; empty if there is none or chance may explain it."""
    shared_ids = [row_id for row_id in after if row_id in before]
    missing_count = len(before) - len(shared_ids)
    if missing_count > len(shared_ids):
        # Numeric scores have no value for errors, so comparing the other rows would hide errors.
        return f"has no value on {missing_count:,} of {len(before):,} rows of the baseline."
    pairs = _mean_pairs(shared_ids, after, before, clusters)
    if len(pairs) < _MIN_PAIRS:
        return ""
    kind: Any = score.kind
    # The first value of each pair is the one that should be higher.
    ordered_pairs = [(old, new) for new, old in pairs] if score.lower_is_better else pairs
    is_binary = are_binary(kind, itertools.chain.from_iterable(pairs))
    if paired_difference(ordered_pairs, are_binary=is_binary).interval.high >= -margin:
        return ""
    means = [number_text(sum(values) / len(pairs), kind) for values in zip(*pairs, strict=True)]
    margin_text = f"{100 * margin:g} points" if kind == "bool" else number_text(margin)
    excess_text = f" by more than {margin_text}" if margin else ""
    worse_count = sum(first < second for first, second in ordered_pairs)
    better_count = sum(first > second for first, second in ordered_pairs)
    unit = "rows" if clusters is None else "clusters"
    return (
        f"is worse than the baseline{excess_text}: {means[0]}, before {means[1]}"
        f" ({worse_count} {unit} worse, {better_count} better, of {len(pairs)})."
    )


def _mean_pairs(
    row_ids: Iterable[str],
    after: Mapping[str, float],
    before: Mapping[str, float],
    clusters: Mapping[str, Hashable] | None,
) -> list[tuple[float, float]]:
    """Return the new and the old value of each row or, with clusters, their means per cluster."""
    ids_by_unit: dict[Hashable, list[str]] = {}
    for row_id in row_ids:
        unit = row_id if clusters is None else clusters[row_id]
        ids_by_unit.setdefault(unit, []).append(row_id)
    return [
        (
            statistics.fmean(after[row_id] for row_id in unit_ids),
            statistics.fmean(before[row_id] for row_id in unit_ids),
        )
        for unit_ids in ids_by_unit.values()
    ]


def _worse_rows(
    before: Mapping[str, float], after: Mapping[str, float], *, lower_is_better: bool
) -> list[WorseRow]:
    rows = [WorseRow(row_id, before[row_id], after[row_id]) for row_id in before if row_id in after]
    sign = -1 if lower_is_better else 1
    worse_rows = [row for row in rows if sign * (row.now - row.before) < 0]
    return sorted(worse_rows, key=lambda row: sign * (row.now - row.before))
