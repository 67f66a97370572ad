import itertools
import math

import pytest
from scipy import stats

from gatewayx_nb.evaluation.distributions import (
    sign_test,
    student_t_cdf,
    student_t_quantile,
    student_t_two_sided_p,
)

DEGREES = (1, 2, 3, 4, 9, 29, 99, 100, 101, 999, 99_999, 1_000_000)
VALUES = (1e-3, 0.1, 0.5, 1, 1.5, 1.96, 2, 3, 5, 10, 37, 1e4)
PROBABILITIES = (1e-12, 1e-6, 0.005, 0.025, 0.3, 0.499, 0.5, 0.6, 0.9, 0.975, 0.9999)


@pytest.mark.parametrize("df", DEGREES)
def test_student_t_equals_scipy(df):
    """The probabilities and quantiles of Student's t equal scipy's, also far in the tails."""
    for t in VALUES:
        tail = 2 * stats.t.sf(t, df)
        if tail > 1e-290:
            assert student_t_two_sided_p(t, df) == pytest.approx(tail, rel=1e-9)
        assert student_t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-9)
        assert student_t_cdf(-t, df) == pytest.approx(stats.t.cdf(-t, df), abs=1e-9)
    for probability in PROBABILITIES:
        expected = stats.t.ppf(probability, df)
        assert student_t_quantile(probability, df) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_student_t_at_its_limits():
    """At 0 and infinity, probabilities are exact; NaN and 0 degrees of freedom are errors."""
    assert student_t_two_sided_p(0, 5) == 1
    assert student_t_cdf(0, 5) == 0.5
    assert student_t_two_sided_p(math.inf, 5) == 0
    assert student_t_two_sided_p(-math.inf, 1) == 0
    assert student_t_cdf(-math.inf, 5) == 0
    assert student_t_quantile(0.5, 5) == 0
    for t, df in ((math.nan, 5), (1, 0)):
        with pytest.raises(ValueError, match="df at least 1"):
            student_t_two_sided_p(t, df)
    for probability in (0, 1, -0.1, math.nan):
        with pytest.raises(ValueError, match="greater than 0 and less than 1"):
            student_t_quantile(probability, 5)
    for probability in (0.3, 0.5):
        with pytest.raises(ValueError, match="df must be at least 1, got 0"):
            student_t_quantile(probability, 0)


def test_the_sign_test_equals_the_exact_binomial_test():
    """The p-value equals that of scipy's exact test with success probability 1/2."""
    for n, part in itertools.product(
        (1, 2, 3, 6, 11, 50, 101, 1000, 20_001), (0, 0.3, 0.47, 0.5, 1)
    ):
        successes = int(n * part)
        expected = stats.binomtest(successes, n, 0.5).pvalue
        assert sign_test(successes, n) == pytest.approx(expected, rel=1e-9)
    assert sign_test(0, 0) == 1


def test_the_sign_test_of_a_million_rows_is_fast_and_normal():
    """Of a million rows, the p-value is that of the normal approximation."""
    z = (2 * 1_500 - 1) / 1_000  # with the correction for continuity
    normal = 2 * stats.norm.sf(z)
    assert sign_test(500_000 - 1_500, 1_000_000) == pytest.approx(normal, rel=1e-4)
    assert sign_test(0, 1_000_000) == 0


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2)])
def test_the_sign_test_refuses_more_successes_than_trials(successes, n):
    with pytest.raises(ValueError, match="successes must be from 0 to 2"):
        sign_test(successes, n)
