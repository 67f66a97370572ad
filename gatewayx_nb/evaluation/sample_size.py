"""Computes the number of rows that a comparison of two variants needs."""

from __future__ import annotations

import math
from numbers import Real
from statistics import NormalDist

from gatewayx_nb.errors import UsageError

_DEFAULT_DISAGREEMENT = 0.25
"""The share of rows on which two variants are assumed to differ.

If each variant is right on half of the rows, the share is 0.5 without a correlation, and 0.25 at
a correlation of 0.5. At any other share of right answers, variants differ on fewer rows.
"""


def rows_needed(
    difference: float = 0.05,
    *,
    disagreement: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> int:
    """Return the number of rows needed to detect a difference between two shares.

    Both variants answer the same rows, and McNemar's two-sided exact test compares how many each
    gets right. Only the rows on which they differ count, so the less they differ, the fewer rows
    are needed. Several comparisons with one baseline need more rows, because their p-values are
    corrected: for four, ``alpha=0.05 / 4`` is enough.

    The formula is Connor's ("Sample size for testing differences in proportions for the paired-
    sample design", 1987), with Edwards's continuity correction, without which the exact test would
    find the difference less often than stated. With it, the test reaches the stated power up to a
    disagreement of 0.7.

    Args:
        difference: The difference between the shares of right answers, from -1 to 1 and not 0:
            0.05 is five percentage points.
        disagreement: The share of rows on which only one of the variants is right; at least the
            difference. If omitted, 0.25, or the difference if that is larger: 0.25 is the
            disagreement of two variants that are each right on half of the rows, with a correlation
            of 0.5. A small run of both variants shows their actual disagreement.
        power: The probability of detecting the difference.
        alpha: The significance level: the largest p-value at which a difference counts as real.

    Raises:
        UsageError: If an argument is out of its range.

    >>> rows_needed(0.05)
    823
    >>> rows_needed(0.05, disagreement=0.1)
    351
    """
    difference = abs(_check_number("difference", difference, -1, 1))
    if difference == 0:
        raise UsageError(
            "difference must not be 0, because no number of rows could detect it.",
            hint="Pass the smallest difference that matters, such as 0.05.",
        )
    if disagreement is None:
        disagreement = max(_DEFAULT_DISAGREEMENT, difference)
    disagreement = _check_number("disagreement", disagreement, 0, 1)
    if disagreement < difference:
        raise UsageError(
            f"disagreement must be at least the difference, {difference:g}, got {disagreement:g}.",
            hint="It is the share of rows on which the variants differ, in either direction.",
        )
    alpha = _check_exclusive("alpha", alpha, 0)
    power = _check_exclusive("power", power, alpha)
    critical_term = NormalDist().inv_cdf(1 - alpha / 2) * math.sqrt(disagreement)
    spread = math.sqrt(disagreement - difference * difference)
    row_count = ((critical_term + NormalDist().inv_cdf(power) * spread) / difference) ** 2
    # The continuity correction reduces the difference in counts by 1.
    corrected = row_count / 4 * (1 + math.sqrt(1 + 4 / (row_count * difference))) ** 2
    return math.ceil(corrected)


def _check_number(name: str, value: object, low: float, high: float) -> float:
    # Real includes NumPy scalars, and also bool; NaN is never between the limits.
    if not isinstance(value, bool) and isinstance(value, Real) and low <= float(value) <= high:
        return float(value)
    raise UsageError(
        f"{name} must be a number from {low:g} to {high:g}, got {value!r}.",
        hint="A share of 5 % is 0.05.",
    )


def _check_exclusive(name: str, value: object, low: float) -> float:
    number = _check_number(name, value, low, 1)
    if low < number < 1:
        return number
    raise UsageError(
        f"{name} must be above {low:g} and below 1, got {number:g}.",
        hint="Usual values are alpha=0.05 and power=0.8.",
    )
