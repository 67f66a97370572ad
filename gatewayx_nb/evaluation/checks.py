"""Checks the scores of an evaluation against bounds, for tests in CI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.evaluation.score_summary import number_text
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gatewayx_nb.evaluation.score_summary import VariantScore
    from gatewayx_nb.evaluation.score_values import Kind


@dataclass(frozen=True, slots=True)
class WorseRow:
    """A row whose score is worse than in a baseline.

    Attributes:
        id: The ID of the row, as text.
        before: The score in the baseline.
        now: The score in the evaluation.
    """

    id: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that failed.

    Attributes:
        variant: Name of the variant.
        score: Name of the score.
        text: What was found and what was expected.
        worse_rows: The rows that are worse than in the baseline, the largest difference first.
    """

    variant: str
    score: str
    text: str
    worse_rows: Sequence[WorseRow] = ()


def check_bounds(
    rows: Sequence[VariantScore],
    bounds: Mapping[str, float],
    parameter: str,
    *,
    is_minimum: bool,
) -> list[Failure]:
    """Return the scores whose means are out of bounds.

    Args:
        rows: The summary's rows of the variants that are checked.
        bounds: The bound of each score, by name. Unless a scorer has that name, ``latency`` is the
            median latency of the answers in seconds, and ``cost`` their total cost in US dollars.
        parameter: Name of the parameter, for errors.
        is_minimum: Whether the bounds are minimums.

    Raises:
        UsageError: If a bound is invalid, or the evaluation does not have its score.
    """
    failures: list[Failure] = []
    for score, bound in bounds.items():
        is_number = isinstance(bound, int | float) and not isinstance(bound, bool)
        if not is_number or not math.isfinite(bound):
            raise UsageError(
                f"{parameter}[{score!r}] must be a number, got {short_repr(bound)}.",
                hint=f'For example, `{parameter}={{"{score}": 0.9}}`.',
            )
        for row in _rows_of_score(rows, score, parameter):
            value, kind = _value_and_kind(row, score)
            is_met = value is not None and (value >= bound if is_minimum else value <= bound)
            check_share(f"{parameter}[{score!r}]", bound, kind)
            if kind == "number" and row.score == score and row.errors > row.n:
                # The mean does not include errors, so it would be the mean of few rows.
                text = f"{score} has more errors ({row.errors:,}) than values ({row.n:,})."
                failures.append(Failure(row.variant, score, text))
            elif not is_met:
                text = _bound_text(value, float(bound), kind, is_minimum=is_minimum)
                failures.append(Failure(row.variant, score, f"{score} is {text}."))
    return failures


def check_share(name: str, value: float, kind: Kind) -> None:
    """Check that a bound or margin of a share is at most 1.

    Raises:
        UsageError: If it is greater.
    """
    if kind == "bool" and value > 1:
        raise UsageError(
            f"{name} must be at most 1, because the score is a share, got {value:g}.",
            hint="A share of 90 % is 0.9.",
        )


def _rows_of_score(
    rows: Sequence[VariantScore], score: str, parameter: str
) -> Iterable[VariantScore]:
    matching_rows = [row for row in rows if row.score == score]
    if not matching_rows and score in ("cost", "latency"):
        return {row.variant: row for row in rows}.values()
    if not matching_rows:
        known_names = list(dict.fromkeys(row.score for row in rows if row.score))
        raise UsageError(
            f"{parameter} names the score {score!r}, which the evaluation does not have."
            f"{did_you_mean(score, known_names)}",
            hint=f"The scores are {', '.join([*known_names, 'cost', 'latency'])}.",
        )
    if matching_rows[0].kind == "label":
        raise UsageError(
            f"{parameter} names the score {score!r}, which is a label and has no mean.",
            hint="Let the scorer return a bool: `lambda text: text == 'good'`.",
        )
    return matching_rows


def _value_and_kind(row: VariantScore, score: str) -> tuple[float | None, Kind]:
    if row.score == score:
        return row.mean, row.kind
    return (row.cost if score == "cost" else row.latency), "number"


def _bound_text(value: float | None, bound: float, kind: Kind, *, is_minimum: bool) -> str:
    if value is None:
        return "unknown: no row has it"
    value_text, bound_text = number_text(value, kind), number_text(bound, kind)
    if value_text == bound_text:
        value_text, bound_text = f"{value!r}", f"{bound!r}"
    return f"{value_text}, expected {'at least' if is_minimum else 'at most'} {bound_text}"
