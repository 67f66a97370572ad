import math

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from gatewayx_nb.evaluation.intervals import Interval, share_interval


@pytest.mark.parametrize("n", [1, 2, 10, 37, 1000, 10**9])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_interval_of_a_share_equals_statsmodels(n, confidence):
    """The interval of a share equals statsmodels' Wilson interval."""
    for successes in {0, 1, n // 3, n // 2, n - 1, n}:
        low, high = proportion_confint(successes, n, 1 - confidence, "wilson")
        interval = share_interval(successes, n, confidence)
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-9)


def test_the_limits_of_a_share_are_within_0_and_1():
    """A share of 0 or 1 has exactly that limit, and no rows leave every share possible."""
    for n in range(1, 200):
        assert share_interval(0, n).low == 0
        assert share_interval(n, n).high == 1
    assert share_interval(0, 0) == Interval(0, 1)


def test_counts_may_be_of_numpy():
    assert share_interval(np.int64(3), np.int32(10)) == share_interval(3, 10)
    assert share_interval(np.True_.sum(), 1) == share_interval(1, 1)


@pytest.mark.parametrize(
    ("successes", "n", "message"),
    [
        (11, 10, "successes must be at most n, 10, got 11"),
        (-1, 10, "counts must be integers >= 0, got successes=-1, n=10"),
        (1.5, 10, "got successes=1.5, n=10"),
        (math.nan, 10, "got successes=nan, n=10"),
    ],
)
def test_a_count_is_from_0_to_n(successes, n, message):
    with pytest.raises(ValueError, match=message):
        share_interval(successes, n)


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        share_interval(1, 2, confidence)


def test_an_interval_contains_its_limits():
    assert 1 in Interval(1, 2)
    assert 2 in Interval(1, 2)
    assert 2.1 not in Interval(1, 2)
