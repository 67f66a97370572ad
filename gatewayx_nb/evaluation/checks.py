"""The test of an evaluation in CI: bounds of its scores, and no regression from a baseline."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.calls import Table
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.evaluation.differing_cells import FAILURE_COLUMNS
from gatewayx_nb.evaluation.paired_tests import paired_difference
from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.evaluation.score_values import are_shares
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.baseline import Baseline, BaselineScore
    from gatewayx_nb.evaluation.evaluation import Evaluation
    from gatewayx_nb.evaluation.score_summary import VariantScore
    from gatewayx_nb.evaluation.score_values import Kind

_FEW_PAIRS = 2
_SHOWN = 5
"""Maximum number of failing rows in the message."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed.

    Attributes:
        variant: Name of the variant.
        score: Name of the score.
        text: What was found and what was expected.
    """

    variant: str
    score: str
    text: str


def check_bounds(
    rows: Sequence[VariantScore],
    bounds: Mapping[str, float],
    parameter: str,
    *,
    is_minimum: bool,
) -> list[Failure]:
    """Return the failures of bounds on means.

    Args:
        rows: The summary's rows of the variants that are checked.
        bounds: The bound of each score; ``latency`` is also the median of the answers' seconds,
            and ``cost`` the sum of their costs, unless a scorer has this name.
        parameter: Name of the parameter, for an error.
        is_minimum: Whether the bounds are minimums.

    Raises:
        UsageError: If a bound is not a number, or names no score.
    """
    failures: list[Failure] = []
    for score, bound in bounds.items():
        is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if not is_number or not math.isfinite(bound):
            raise UsageError(
                f"{parameter}[{score!r}] must be a number, got {short_repr(bound)}.",
                hint=f'For example, `{parameter}={{"{score}": 0.9}}`.',
            )
        for row in _rows_of(rows, score, parameter):
            value, kind = _value(row, score)
            is_met = value is not None and (value >= bound if is_minimum else value <= bound)
            _check_share(f"{parameter}[{score!r}]", bound, kind)
            if kind == "number" and row.score == score and row.errors > row.n:
                # Errors are left out of the mean, which would be that of a few rows.
                text = f"{score} has more errors ({row.errors:,}) than values ({row.n:,})."
                failures.append(Failure(row.variant, score, text))
            elif not is_met:
                text = _bound_text(value, float(bound), kind, is_minimum=is_minimum)
                failures.append(Failure(row.variant, score, f"{score} is {text}."))
    return failures


def _check_share(name: str, value: float, kind: Kind) -> None:
    if kind == "bool" and value > 1:
        raise UsageError(
            f"{name} must be at most 1, because the score is a share, got {value:g}.",
            hint="A share of 90 % is 0.9.",
        )


def _rows_of(rows: Sequence[VariantScore], score: str, parameter: str) -> Iterable[VariantScore]:
    found = [row for row in rows if row.score == score]
    if not found and score in ("cost", "latency"):
        return {row.variant: row for row in rows}.values()
    if not found:
        known = list(dict.fromkeys(row.score for row in rows if row.score))
        raise UsageError(
            f"{parameter} names the score {score!r}, which the evaluation does not have."
            f"{did_you_mean(score, known)}",
            hint=f"The scores are {', '.join([*known, 'cost', 'latency'])}.",
        )
    if found[0].kind == "label":
        raise UsageError(
            f"{parameter} names the score {score!r}, which is a label and has no mean.",
            hint="Let the scorer return a bool: `lambda text: text == 'good'`.",
        )
    return found


def _value(row: VariantScore, score: str) -> tuple[float | None, Kind]:
    if row.score == score:
        return row.mean, row.kind
    return (row.cost if score == "cost" else row.latency), "number"


def _bound_text(value: float | None, bound: float, kind: Kind, *, is_minimum: bool) -> str:
    if value is None:
        return "unknown: no row has it"
    found, expected = number_text(value, kind), number_text(bound, kind)
    if found == expected:
        found, expected = f"{value!r}", f"{bound!r}"
    return f"{found}, expected {'at least' if is_minimum else 'at most'} {expected}"


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
            hint="Pass their scorers, or save the baseline again: `result.save_baseline(path)`.",
        )
    for name, then in baseline.scores.items():
        current = now.scores[name]
        _check_share("margin", margin, cast("Kind", current.kind))
        for variant in variants:
            before, after = _variant_of(then, variant), current.values.get(variant, {})
            text = _regression(before, after, current, margin, clusters)
            if text:
                failures.append(Failure(variant, name, f"{name} {text}"))
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
        hint=f"Name one with `variant=`; it has {', '.join(score.values)}.",
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
    if before and not rows:
        return "has no value on the rows of the baseline."
    pairs = _mean_pairs(rows, after, before, clusters)
    if len(pairs) < _FEW_PAIRS:
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


def failure_text(evaluation: Evaluation, failures: Sequence[Failure]) -> str:
    """Return the message of a failed check: the failures, the summary and the first rows."""
    lines = []
    for failure in failures:
        has_others = bool(failure.variant) and len(evaluation.variants) > 1
        lines.append(f"{failure.variant}: {failure.text}" if has_others else failure.text)
    wanted = {(failure.variant, failure.score) for failure in failures}
    cells = [
        cell
        for cell in evaluation.failures()
        if (cell.variant, cell.score) in wanted or not cell.score
    ]
    shown = Table(cells[:_SHOWN], FAILURE_COLUMNS)
    parts = ["\n".join(lines), repr(evaluation.summary())]
    if cells:
        more = len(cells) - len(shown)
        parts.append(f"{shown!r}\n… {more:,} more" if more else repr(shown))
    return "\n\n".join(parts)
