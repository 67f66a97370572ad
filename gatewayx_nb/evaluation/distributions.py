"""Student's t distribution and the exact binomial test, without SciPy.

The standard library has the normal distribution: `statistics.NormalDist`.
"""

from __future__ import annotations

import math
from statistics import NormalDist

_MAX_FRACTION_TERMS = 100_000
_TINY = 1e-300
"""Smallest absolute value of a divisor."""


def student_t_cdf(t: float, df: int) -> float:
    """Return the probability that Student's t is at most ``t``.

    Args:
        t: The value; infinities are valid.
        df: The degrees of freedom, at least 1.

    Raises:
        ValueError: If ``t`` is NaN, or ``df`` is below 1.
    """
    tail = student_t_two_sided_p(t, df) / 2
    return tail if t < 0 else 1 - tail


def student_t_two_sided_p(t: float, df: int) -> float:
    """Return the probability that the absolute value of Student's t is at least ``|t|``.

    This is the regularized incomplete beta function I_x(df/2, 1/2) at x = df / (df + t²)
    (Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.5.27 and 26.7.1). Its
    relative error is below 1e-9, even far in the tails, if |t| is at most 1e150.

    Args:
        t: The value; infinities are valid.
        df: The degrees of freedom, at least 1.

    Raises:
        ValueError: If ``t`` is NaN, or ``df`` is below 1.
    """
    if math.isnan(t) or df < 1:
        raise ValueError(f"t must be a number and df at least 1, got {t!r} and {df!r}.")
    if math.isinf(t):
        return 0.0
    # The square of a larger t might overflow, and its probability is practically 0.
    t = min(abs(t), 1e150)
    if t == 0:
        return 1.0
    ratio = t * t / df
    log_x, log_y = -math.log1p(ratio), -math.log1p(1 / ratio) if ratio > _TINY else math.log(ratio)
    a, b = df / 2, 0.5
    log_front = a * log_x + b * log_y - _log_beta_half(a)
    x = 1 / (1 + ratio)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log_front) * _beta_fraction(a, b, x) / a
    return 1 - math.exp(log_front) * _beta_fraction(b, a, ratio / (1 + ratio)) / b


def student_t_quantile(probability: float, df: int) -> float:
    """Return the value below which Student's t lies with a given probability.

    Args:
        probability: Between 0 and 1, exclusive.
        df: The degrees of freedom, at least 1.

    Raises:
        ValueError: If the probability is not greater than 0 and less than 1, or ``df`` is below 1.
    """
    if not 0 < probability < 1:
        raise ValueError(
            f"a probability must be greater than 0 and less than 1, got {probability!r}."
        )
    if df < 1:
        raise ValueError(f"df must be at least 1, got {df!r}.")
    tail = 2 * min(probability, 1 - probability)
    if tail == 1:
        return 0.0
    # Newton's method for the logarithms of t and its tail probability converges from any start,
    # because the latter is a concave function of the former.
    t = -NormalDist().inv_cdf(tail / 2)
    for _ in range(100):
        current_tail = student_t_two_sided_p(t, df)
        slope = -2 * t * _student_t_density(t, df) / current_tail
        step = (math.log(tail) - math.log(current_tail)) / slope
        t *= math.exp(max(-2.0, min(2.0, step)))
        if abs(step) < 1e-14:  # noqa: PLR2004 - the precision of a float
            break
    return -t if probability < 1 / 2 else t


def sign_test(successes: int, n: int) -> float:
    """Return the two-sided p-value of the exact binomial test with success probability 1/2.

    This is the sign test, and McNemar's exact test on the rows on which two variants differ.

    Args:
        successes: Number of successes, from 0 to ``n``.
        n: Number of trials; if it is 0, the p-value is 1.

    Raises:
        ValueError: If ``successes`` is not from 0 to ``n``.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be from 0 to {n}, got {successes!r}.")
    smaller_count = min(successes, n - successes)
    if 2 * smaller_count >= n - 1:
        return 1.0
    term = tail = _half_binomial(smaller_count, n)
    for count in range(smaller_count, 0, -1):
        term *= count / (n - count + 1)
        tail += term
        if term < tail * 1e-18:  # below the precision of a float
            break
    return min(1.0, 2 * tail)


def _half_binomial(count: int, n: int) -> float:
    """Return the binomial probability of ``count`` successes in ``n`` trials with p = 1/2."""
    if n <= 10_000:  # noqa: PLR2004 - larger integers take too long
        return math.comb(n, count) / (1 << n)
    if count == 0:
        return 0.0
    # Loader, "Fast and accurate computation of binomial probabilities", 2000. `log1p` of
    # `excess`, which is small unless the probability is practically 0, avoids cancellation. One
    # term of Stirling's series is enough: the other terms are below 1e-12.
    excess = 1 - 2 * count / n
    deviance = (1 - excess) * math.log1p(-excess) + (1 + excess) * math.log1p(excess)
    stirling_correction = (1 / n - 1 / count - 1 / (n - count)) / 12
    log_root = math.log(2 * math.pi * count * (n - count) / n) / 2
    return math.exp(stirling_correction - n / 2 * deviance - log_root)


def _student_t_density(t: float, df: int) -> float:
    exponent = -(df + 1) / 2 * math.log1p(t * t / df) - _log_beta_half(df / 2)
    return math.exp(exponent) / math.sqrt(df)


def _log_beta_half(a: float) -> float:
    """Return the logarithm of the beta function B(a, 1/2)."""
    log_of_root_pi = math.log(math.pi) / 2
    if a < 50:  # noqa: PLR2004 - below this, `lgamma` is precise; above it, the series is
        return math.lgamma(a) + log_of_root_pi - math.lgamma(a + 0.5)
    # log Γ(a + 1/2) - log Γ(a), from Stirling's series; the next term is below 1e-16.
    series = -1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5) + 17 / (14336 * a**7)
    return log_of_root_pi - math.log(a) / 2 - series


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method.

    Press et al., "Numerical Recipes", 3rd ed., 2007, section 6.4.
    """
    c, d = 1.0, 1 / _nonzero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MAX_FRACTION_TERMS):
        even_coefficient = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd_coefficient = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for coefficient in (even_coefficient, odd_coefficient):
            d = 1 / _nonzero(1 + coefficient * d)
            c = _nonzero(1 + coefficient / c)
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:  # noqa: PLR2004 - the precision of a float
            break
    return fraction


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
