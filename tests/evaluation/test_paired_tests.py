import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from gatewayx_nb.evaluation.intervals import Interval
from gatewayx_nb.evaluation.paired_tests import holm, paired_means, paired_shares

PUBLISHED = {
    "Cavo 2012, in Fagerland, Lydersen and Laake, 2017": ((59, 6, 16, 80), -0.1186, -0.0046),
    "Bentur 2009, in the same": ((1, 1, 7, 12), -0.5069, -0.0256),
}
"""Newcombe's intervals of published tables, to four digits."""


@pytest.mark.parametrize(("table", "low", "high"), PUBLISHED.values(), ids=PUBLISHED)
def test_the_interval_of_paired_shares_equals_published_ones(table, low, high):
    interval = paired_shares(*table).interval
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def newcombe(table):
    """Return Newcombe's interval, written as in his paper, with cells e, f, g and h."""
    e, f, g, h = table
    n = sum(table)
    z = stats.norm.ppf(0.975)

    def wilson(k):
        root = z * math.sqrt(z * z + 4 * k * (n - k) / n)
        return (2 * k + z * z - root) / 2 / (n + z * z), (2 * k + z * z + root) / 2 / (n + z * z)

    (l2, u2), (l3, u3) = wilson(e + f), wilson(e + g)
    d2, e2 = (e + f) / n - l2, u2 - (e + f) / n
    d3, e3 = (e + g) / n - l3, u3 - (e + g) / n
    margins = (e + f) * (g + h) * (e + g) * (f + h)
    numerator = e * h - f * g
    if numerator > n / 2:
        numerator -= n / 2
    elif numerator >= 0:
        numerator = 0
    phi = numerator / math.sqrt(margins) if margins else 0
    delta = math.sqrt(max(0, d2 * d2 - 2 * phi * d2 * e3 + e3 * e3))
    epsilon = math.sqrt(max(0, d3 * d3 - 2 * phi * d3 * e2 + e2 * e2))
    return (f - g) / n - delta, (f - g) / n + epsilon


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_all_paired_shares_of_few_rows(n):
    """Of every table: difference, interval and p-value; swapped variants have opposite signs."""
    tables = [table for table in itertools.product(range(n + 1), repeat=4) if sum(table) == n]
    for both, first, second, neither in tables:
        result = paired_shares(both, first, second, neither)
        assert result.difference == (first - second) / n
        interval = (result.interval.low, result.interval.high)
        assert interval == pytest.approx(newcombe((both, first, second, neither)), abs=1e-9)
        assert result.difference in result.interval
        test = mcnemar([[both, first], [second, neither]], exact=True)
        assert result.p == pytest.approx(test.pvalue, abs=1e-9)
        swapped = paired_shares(both, second, first, neither)
        assert (-swapped.interval.high, -swapped.interval.low) == pytest.approx(interval)


def test_paired_shares_of_many_rows_equal_statsmodels():
    for table in ((100, 30, 12, 58), (70_000, 9_000, 8_500, 12_500), (0, 200, 100, 0)):
        both, first, second, neither = table
        test = mcnemar([[both, first], [second, neither]], exact=True)
        assert paired_shares(*table).p == pytest.approx(test.pvalue, rel=1e-9)


def test_no_rows_have_no_difference():
    """Without rows, the difference is NaN, each difference is possible, and p is 1."""
    result = paired_shares(0, 0, 0, 0)
    assert (math.isnan(result.difference), result.interval, result.p) == (True, Interval(-1, 1), 1)
    result = paired_means([])
    assert math.isnan(result.difference)
    assert (result.interval, result.p) == (Interval(-math.inf, math.inf), 1)


def test_counts_may_be_of_numpy_and_are_not_negative():
    assert paired_shares(*np.array([5, 3, 1, 4])) == paired_shares(5, 3, 1, 4)
    with pytest.raises(ValueError, match="counts must be integers >= 0, got both=5, only_first=-3"):
        paired_shares(5, -3, 1, 4)


@pytest.mark.parametrize("n", [40, 100, 5000])
def test_paired_means_of_a_large_sample_equal_scipy(n):
    """The paired t test of 30 or more differences that are not skewed equals scipy's."""
    random = np.random.default_rng(n)
    first, second = random.normal(0.2, 1, n), random.normal(size=n)
    test = stats.ttest_rel(first, second)
    result = paired_means(first - second)
    assert result.p == pytest.approx(test.pvalue, rel=1e-9)
    limits = test.confidence_interval(0.95)
    assert (result.interval.low, result.interval.high) == pytest.approx(limits, abs=1e-9)
    assert result.difference == pytest.approx((first - second).mean(), abs=1e-12)


def test_the_p_value_of_few_differences_is_not_below_that_of_the_t_test():
    for seed in range(20):
        differences = np.random.default_rng(seed).exponential(size=12) - 0.5
        assert paired_means(differences).p >= stats.ttest_1samp(differences, 0).pvalue - 1e-9


@pytest.mark.parametrize(
    ("differences", "interval", "p"),
    [
        ([0.0] * 10, Interval(0, 0), 1),
        ([0.5] * 10, Interval(0.5, 0.5), 2**-9),
        ([0.5] * 3, Interval(0, 0.5), 0.25),
        ([-0.5] * 3, Interval(-0.5, 0), 0.25),
        ([0.5], Interval(-math.inf, math.inf), 1),
        ([-1, 1], Interval(-math.inf, math.inf), 1),
    ],
    ids=str,
)
def test_differences_without_spread(differences, interval, p):
    """Equal differences have the p-value of the sign test, and an interval that agrees with it."""
    result = paired_means(differences)
    assert result.p == p
    if differences != [-1, 1]:
        assert result.interval == interval
    assert (0 in result.interval) == (p > 0.05)


def test_a_difference_is_a_finite_number():
    with pytest.raises(ValueError, match="values must be finite"):
        paired_means([0, math.nan])


def test_holm_equals_statsmodels():
    """The corrected p-values equal statsmodels', in the order of the comparisons."""
    random = np.random.default_rng(0)
    for count in (1, 2, 4, 9, 30):
        p_values = random.random(count) ** 3
        expected = multipletests(p_values, method="holm")[1]
        assert holm(p_values) == pytest.approx(expected, abs=1e-12)
        assert holm(p_values.tolist()) == holm(p_values)
    assert holm([0.01, 0.01, 1, 0]) == [0.03, 0.03, 1, 0]
    assert holm([]) == []


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_a_p_value_is_from_0_to_1(p):
    with pytest.raises(ValueError, match="p-values must be between 0 and 1"):
        holm([0.5, p])
