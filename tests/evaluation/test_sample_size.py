import doctest
import itertools
import math
from decimal import Decimal

import numpy as np
import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation import rows_needed, sample_size
from tests.evaluation.simulations import exact_power

DIFFERENCES = (0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9, 1)


def test_the_examples_are_correct():
    outcome = doctest.testmod(sample_size)
    assert (outcome.failed, outcome.attempted) == (0, 2)


@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_the_exact_test_has_the_power_that_is_stated(power, alpha):
    """McNemar's exact test finds the difference at least as often as stated, and little more."""
    for difference, disagreement in itertools.product(DIFFERENCES, (0.1, 0.25, 0.4, 0.7)):
        if disagreement < difference:
            continue
        rows = rows_needed(difference, disagreement=disagreement, power=power, alpha=alpha)
        assert exact_power(rows, disagreement, difference, alpha) >= power
        if rows > 100 and disagreement > 2 * difference:
            assert exact_power(round(0.9 * rows), disagreement, difference, alpha) < power


@pytest.mark.parametrize(
    ("difference", "disagreement", "rows"), [(0.05, 0.25, 783), (0.1, 0.4, 312), (0.2, 0.4, 77)]
)
def test_the_correction_adds_about_two_rows_for_each_difference(difference, disagreement, rows):
    """Without the correction, the number of rows is that of Connor's formula."""
    corrected = rows_needed(difference, disagreement=disagreement)
    assert corrected == pytest.approx(rows + 2 / difference, abs=2)


def test_the_disagreement_is_a_quarter_unless_the_difference_is_larger():
    assert rows_needed(0.1) == rows_needed(0.1, disagreement=0.25)
    assert rows_needed(0.6) == rows_needed(0.6, disagreement=0.6)
    assert rows_needed() == rows_needed(0.05) == rows_needed(-0.05) == rows_needed(np.float32(0.05))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ({"difference": 0}, "difference must not be 0", "smallest difference that matters"),
        ({"difference": 5}, "difference must be a number from -1 to 1, got 5.", "5 % is 0.05"),
        ({"difference": math.nan}, "got nan.", "5 % is 0.05"),
        ({"difference": "0.05"}, "got '0.05'.", "5 % is 0.05"),
        ({"difference": True}, "got True.", "5 % is 0.05"),
        ({"difference": Decimal("0.1")}, "got Decimal", "5 % is 0.05"),
        ({"disagreement": 0.01}, "at least the difference, 0.05, got 0.01.", "in either direction"),
        ({"disagreement": 40}, "disagreement must be a number from 0 to 1, got 40.", "is 0.05"),
        ({"power": 80}, "power must be a number from 0.05 to 1, got 80.", "is 0.05"),
        ({"power": 1}, "power must be above 0.05 and below 1, got 1.", "power=0.8"),
        ({"power": 0.05}, "power must be above 0.05 and below 1, got 0.05.", "power=0.8"),
        ({"alpha": 0}, "alpha must be above 0 and below 1, got 0.", "alpha=0.05"),
    ],
    ids=str,
)
def test_an_argument_out_of_its_range_is_an_error_with_a_hint(arguments, message, hint):
    with pytest.raises(UsageError) as raised:
        rows_needed(**arguments)
    assert message in raised.value.message
    assert hint in str(raised.value.hint)
