"""Compares two variants on the same rows, and adjusts p-values for several comparisons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.evaluation.distributions import sign_test
from gatewayx_nb.evaluation.intervals import Interval, check_counts, share_interval
from gatewayx_nb.evaluation.means import MeanEstimate

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The difference between two variants on the same rows.

    Attributes:
        difference: The first variant's share or mean minus the second's; NaN if there are no rows.
        interval: Its 95 % confidence interval.
        p: The two-sided p-value of no difference, not adjusted for other comparisons.
    """

    difference: float
    interval: Interval
    p: float


def paired_shares(both: int, only_first: int, only_second: int, neither: int) -> PairedDifference:
    """Return the difference between two shares of successes on the same rows.

    The p-value is that of McNemar's exact test. The interval is Newcombe's ("Improved confidence
    intervals for the difference between binomial proportions based on paired data", 1998, method
    10). The test is more conservative than the interval, which may therefore exclude 0 although the
    p-value is slightly above 0.05.

    The coverage of the interval is 95 to 98 % on average. For differences of up to 0.3 between
    variants whose outcomes are not negatively correlated, and each of which is better on some rows,
    it is at least 94 % with 25 or more rows, and 92.5 % with 10 to 24. For other differences, it
    can be as low as 85 % with 15 rows and 89 % with 40.

    Args:
        both: Number of rows on which both variants succeed.
        only_first: Number of rows on which only the first succeeds.
        only_second: Number of rows on which only the second succeeds.
        neither: Number of rows on which neither succeeds.

    Raises:
        ValueError: If a count is negative or not an integer.
    """
    both, only_first, only_second, neither = check_counts(
        both=both, only_first=only_first, only_second=only_second, neither=neither
    )
    n = both + only_first + only_second + neither
    if n == 0:
        return PairedDifference(math.nan, Interval(-1.0, 1.0), 1.0)
    return PairedDifference(
        (only_first - only_second) / n,
        _newcombe_interval(both, only_first, only_second, neither),
        sign_test(only_first, only_first + only_second),
    )


def paired_means(differences: Sequence[float], seed: int = 0) -> PairedDifference:
    """Return the mean difference between two variants on the same rows.

    The p-value is that of the paired t test. For fewer than 30 rows, or if the differences are
    skewed, the interval and the p-value are the more conservative of those of Student's t and of a
    bootstrap over rows: see `MeanEstimate`.

    Args:
        differences: The first variant's score minus the second's, one per row. For fewer than two,
            the interval is unbounded and p is 1. If all are equal, p is that of the sign test, and
            the width of the interval is 0 unless they are too few to exclude 0.
        seed: Seed of the bootstrap: equal differences and seeds give equal results.

    Raises:
        ValueError: If a difference is not a finite number.
        ConfigError: If a bootstrap is required, but numpy is not installed.
    """
    estimate = MeanEstimate.of(differences, seed)
    interval, p = estimate.interval(_CONFIDENCE), estimate.p_value()
    if p > 1 - _CONFIDENCE:
        interval = Interval(min(interval.low, 0.0), max(interval.high, 0.0))
    return PairedDifference(estimate.mean, interval, p)


def paired_difference(
    pairs: Sequence[tuple[float, float]], *, are_binary: bool
) -> PairedDifference:
    """Return the difference between two variants from the scores of both on each row.

    Args:
        pairs: The first and the second variant's score on each row.
        are_binary: Whether every score is 0 or 1; then the scores are compared as shares.

    Raises:
        ValueError: If a score is not a finite number.
        ConfigError: If a bootstrap is required, but numpy is not installed.
    """
    if not are_binary:
        return paired_means([first - second for first, second in pairs])
    outcomes = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    return paired_shares(*(pairs.count(outcome) for outcome in outcomes))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the number of comparisons.

    If every difference with an adjusted p-value of at most 0.05 is taken as real, the probability
    of any false positive is at most 5 %, whether or not the comparisons share a baseline (Holm, "A
    simple sequentially rejective multiple test procedure", 1979).

    Args:
        p_values: The p-values of all comparisons; the result has the same order.

    Raises:
        ValueError: If a p-value is not between 0 and 1.
    """
    values = [float(p) for p in p_values]
    for p in values:
        if not 0 <= p <= 1:
            raise ValueError(f"p-values must be between 0 and 1, got {p!r}.")
    adjusted_values = [0.0] * len(values)
    largest_value = 0.0
    for rank, position in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest_value = min(1.0, max(largest_value, values[position] * (len(values) - rank)))
        adjusted_values[position] = largest_value
    return adjusted_values


def _newcombe_interval(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Return Newcombe's interval: Wilson's intervals of both shares, combined."""
    n = both + only_first + only_second + neither
    successes = both + only_first, both + only_second
    first, second = (count / n for count in successes)
    first_interval, second_interval = (share_interval(count, n) for count in successes)
    phi = _corrected_phi(both, only_first, only_second, neither)
    below = _distance(first - first_interval.low, second_interval.high - second, phi)
    above = _distance(first_interval.high - first, second - second_interval.low, phi)
    difference = (only_first - only_second) / n
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def _corrected_phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return the correlation of the two outcomes, with Newcombe's continuity correction."""
    n = both + only_first + only_second + neither
    first, second = both + only_first, both + only_second
    margins = first * (n - first) * second * (n - second)
    if margins == 0:
        return 0.0
    product = both * neither - only_first * only_second
    # Only a positive correlation, which narrows the interval, is corrected.
    corrected = max(product - n / 2, 0.0) if product > 0 else product
    return corrected / math.sqrt(margins)


def _distance(first: float, second: float, phi: float) -> float:
    """Return the distance from the difference to a limit, given the distances of both shares."""
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))
