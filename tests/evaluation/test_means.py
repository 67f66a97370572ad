import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.evaluation.intervals import Interval
from gatewayx_nb.evaluation.means import MeanEstimate, mean_interval
from gatewayx_nb.evaluation.paired_tests import paired_means

UNBOUNDED = Interval(-math.inf, math.inf)


def limits(interval):
    """Return the limits as a pair."""
    return interval.low, interval.high


def t_limits(values, confidence=0.95):
    """Return Student's t interval of scipy."""
    return stats.t.interval(confidence, len(values) - 1, np.mean(values), stats.sem(values))


@pytest.mark.parametrize("n", [40, 100, 5000])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_interval_of_a_large_sample_is_student_t(n, confidence):
    """The interval of 30 or more values that are not skewed equals scipy's."""
    values = np.random.default_rng(1).normal(3, 2, n)
    interval = mean_interval(values, confidence)
    assert limits(interval) == pytest.approx(t_limits(values, confidence), rel=1e-9)


@pytest.mark.parametrize("n", [2, 5, 29, 40])
def test_the_interval_of_a_small_or_skewed_sample_includes_student_t(n):
    """A bootstrap extends Student's t interval, most of all toward the long tail."""
    values = np.random.default_rng(1).lognormal(0, 1.5, n)
    interval, (low, high) = mean_interval(values), t_limits(values)
    assert interval.low <= low + 1e-9
    assert interval.high >= high - 1e-9
    if n > 2:
        assert interval.high - high > 2 * (low - interval.low)


def test_a_sample_is_skewed_by_the_rule_for_its_size():
    """A sample of n values is resampled if n is below 28 + 25 g², where g is its skewness."""
    values = np.random.default_rng(2).exponential(size=400)
    needed = 28 + 25 * stats.skew(values) ** 2
    assert needed < 400
    assert MeanEstimate.of(values).t_statistics == ()
    values = [*values, 12]
    needed = 28 + 25 * stats.skew(values) ** 2
    assert (len(MeanEstimate.of(values).t_statistics) > 0) == (needed > 401)
    assert len(MeanEstimate.of([*values, 50]).t_statistics) == 9_999


def test_fewer_than_30_values_are_resampled():
    assert MeanEstimate.of(range(29)).t_statistics != ()
    assert MeanEstimate.of(range(30)).t_statistics == ()


def test_resamples_are_the_studentized_bootstrap():
    """The quantiles of the resamples equal those of a plain computation of the bootstrap."""
    values = np.random.default_rng(3).exponential(size=6)
    random = np.random.default_rng(4)
    drawn = random.choice(values, (100_000, len(values)))
    drawn = drawn[np.ptp(drawn, axis=1) > 0]
    expected = (drawn.mean(axis=1) - values.mean()) / stats.sem(drawn, axis=1)
    found = MeanEstimate.of(values).t_statistics
    quantiles = (0.1, 0.25, 0.75, 0.9)
    factor = math.sqrt(len(values) / (len(values) - 1))
    assert np.quantile(found, quantiles) == pytest.approx(
        np.quantile(expected, quantiles) * factor, rel=0.04
    )


def test_the_interval_depends_on_values_and_seed_alone():
    """The order of the rows changes nothing; another seed changes the interval a little."""
    values = np.random.default_rng(1).exponential(size=20)
    interval = mean_interval(values)
    assert mean_interval(values[::-1]) == interval
    assert mean_interval(values.tolist()) == interval
    other = mean_interval(values, seed=1)
    assert other != interval
    assert limits(other) == pytest.approx(limits(interval), rel=0.1)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40),
    st.floats(0.001, 1000),
    st.floats(-100, 100),
)
def test_the_interval_contains_the_mean_and_follows_the_scale(values, scale, shift):
    """Scaled and shifted values have a scaled and shifted interval, which contains the mean."""
    interval = mean_interval(values)
    mean, tolerance = math.fsum(values) / len(values), 1e-9 * max(map(abs, values)) + 1e-99
    assert interval.low - tolerance <= mean <= interval.high + tolerance
    changed = mean_interval([value * scale + shift for value in values])
    size = max(map(abs, values)) * scale + abs(shift)
    expected = (interval.low * scale + shift, interval.high * scale + shift)
    # A rounding error may move a sample over the bound of skewness, or create a spread.
    if np.ptp(values) > 1e-3 * max(map(abs, values)) and len(values) < 30:
        assert limits(changed) == pytest.approx(expected, rel=1e-6, abs=1e-6 * size)


@pytest.mark.parametrize("n", [8, 20, 35])
def test_the_p_value_is_that_of_the_interval_that_ends_at_0(n):
    """An interval excludes 0 if and only if its p-value is at most 1 minus the confidence."""
    random = np.random.default_rng(n)
    excluded = 0
    for mean in np.linspace(-1, 1, 101):
        result = paired_means(random.exponential(size=n) - 1 + mean)
        assert (0 not in result.interval) == (result.p <= 0.05)
        excluded += result.p <= 0.05
    assert 10 < excluded < 90


def test_fewer_than_two_values_have_no_bounds():
    """The interval of no value or one is unbounded."""
    assert mean_interval([]) == UNBOUNDED
    assert mean_interval([3]) == UNBOUNDED


@pytest.mark.parametrize("n", [2, 10, 100])
def test_equal_values_have_an_interval_without_width(n):
    assert mean_interval([0.1] * n) == Interval(0.1, 0.1)
    assert mean_interval([np.float32(2)] * n) == Interval(2, 2)


def test_two_values_have_a_finite_interval():
    """Resamples without spread do not make the limits infinite."""
    for values in ([0, 1], [0] * 9 + [1], [1e-99, 2e-99], [1e99, -1e99], [5e-100, 0, 0]):
        low, high = limits(mean_interval(values))
        assert -math.inf < low < math.fsum(values) / len(values) < high < math.inf


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 1e300, np.float32("inf")], ids=repr
)
def test_a_value_is_a_finite_number(value):
    with pytest.raises(ValueError, match="values must be finite"):
        mean_interval([1, value, 2])


def test_a_large_skewed_sample_takes_little_memory():
    """Resamples are drawn a part at a time."""
    values = np.random.default_rng(0).lognormal(0, 3, 100_000)
    assert stats.skew(values) > 60
    tracemalloc.start()
    interval = mean_interval(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6
    assert interval.high > t_limits(values)[1]


def test_only_resampling_requires_numpy(monkeypatch):
    """Without numpy, large samples have intervals, and small ones an error that says what to do."""
    values = [math.sin(number) for number in range(100)]
    expected = mean_interval(values)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert mean_interval(values) == expected
    assert mean_interval([2, 2]) == Interval(2, 2)
    with pytest.raises(ConfigError, match=r"requires numpy.*gatewayx-nb\[data\]"):
        mean_interval(values[:10])
