"""Computes Cohen's kappa, the agreement between two raters, such as a judge and a person."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.evaluation.intervals import Interval, check_counts, normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa: agreement between two raters beyond that expected by chance.

    Attributes:
        value: 1 if the raters always agree, 0 if they agree as often as by chance; ``None`` if
            undefined, because nothing was rated or both raters gave every item the same label.
        interval: The confidence interval, within -1 and 1; ``None`` if ``value`` is ``None``.
    """

    value: float | None
    interval: Interval | None


def cohen_kappa(table: Sequence[Sequence[int]], confidence: float = 0.95) -> Kappa:
    """Return Cohen's kappa of two raters, with its asymptotic confidence interval.

    The interval is from Fleiss, Cohen and Everitt, "Large sample standard errors of kappa and
    weighted kappa", 1969. It is too narrow for small samples, and its width is 0 if the raters
    always agree.

    Args:
        table: The confusion table: in row i and column j, the number of items to which the first
            rater gave label i and the second rater label j.
        confidence: The confidence level of the interval.

    Raises:
        ValueError: If the table is not square, or a count is negative or not an integer.
    """
    z = normal_quantile(confidence)
    counts = [
        check_counts(**{str(column): count for column, count in enumerate(row)}) for row in table
    ]
    size = len(counts)
    if any(len(row) != size for row in counts):
        raise ValueError(f"a confusion table must be square, got {[len(row) for row in counts]}.")
    n = sum(map(sum, counts))
    if n == 0:
        return Kappa(None, None)
    first_shares = [sum(row) / n for row in counts]
    second_shares = [sum(column) / n for column in zip(*counts, strict=True)]
    if any(sum(row) == row[label] == n for label, row in enumerate(counts)):
        return Kappa(None, None)
    observed = sum(counts[label][label] for label in range(size)) / n
    expected = math.fsum(a * b for a, b in zip(first_shares, second_shares, strict=True))
    kappa = (observed - expected) / (1 - expected)
    half_width = z * math.sqrt(_variance(counts, first_shares, second_shares, kappa))
    return Kappa(kappa, Interval(max(-1.0, kappa - half_width), min(1.0, kappa + half_width)))


def _variance(
    counts: Sequence[Sequence[int]],
    first_shares: Sequence[float],
    second_shares: Sequence[float],
    kappa: float,
) -> float:
    """Return the asymptotic variance of kappa: equation 13 of Fleiss, Cohen and Everitt."""
    n = sum(map(sum, counts))
    labels = range(len(counts))
    expected = math.fsum(first_shares[label] * second_shares[label] for label in labels)
    agreement_terms = math.fsum(
        counts[i][i] / n * (1 - (first_shares[i] + second_shares[i]) * (1 - kappa)) ** 2
        for i in labels
    )
    disagreement_terms = (1 - kappa) ** 2 * math.fsum(
        counts[i][j] / n * (second_shares[i] + first_shares[j]) ** 2
        for i in labels
        for j in labels
        if i != j
    )
    correction = (kappa - expected * (1 - kappa)) ** 2
    return max(0.0, agreement_terms + disagreement_terms - correction) / (1 - expected) ** 2 / n
