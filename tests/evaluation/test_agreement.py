import math

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from gatewayx_nb.evaluation.agreement import Kappa, cohen_kappa
from gatewayx_nb.evaluation.intervals import Interval


@pytest.mark.parametrize("labels", [2, 3, 5])
def test_kappa_equals_statsmodels(labels):
    """Kappa and its interval equal statsmodels', but the interval stays within -1 and 1."""
    random = np.random.default_rng(labels)
    for rows in (5, 20, 1000):
        table = random.multinomial(rows, random.dirichlet(np.ones(labels**2)))
        table = table.reshape(labels, labels) + np.diag(random.integers(0, rows, labels))
        for confidence in (0.8, 0.95):
            expected = cohens_kappa(table)
            kappa = cohen_kappa(table, confidence)
            assert kappa.value == pytest.approx(expected.kappa, abs=1e-9)
            half = expected.distribution_kappa.ppf((1 + confidence) / 2) - expected.kappa
            limits = (max(-1, expected.kappa - half), min(1, expected.kappa + half))
            assert (kappa.interval.low, kappa.interval.high) == pytest.approx(limits, abs=1e-9)


def test_kappa_of_a_published_table():
    """Two doctors and 50 patients: 0.4 (Cohen's example, as Wikipedia states it)."""
    assert cohen_kappa([[20, 5], [10, 15]]).value == pytest.approx(0.4)


def test_kappa_at_its_limits():
    """Raters who always or never agree, with two labels each, have a kappa of 1 or -1."""
    assert cohen_kappa([[5, 0], [0, 5]]) == Kappa(1, Interval(1, 1))
    assert cohen_kappa([[0, 5], [5, 0]]).value == -1
    assert cohen_kappa([[25, 25], [25, 25]]).value == 0


@pytest.mark.parametrize("table", [[], [[0]], [[7]], [[0, 0], [0, 0]], [[0, 0], [0, 7]]], ids=str)
def test_kappa_is_undefined_without_two_labels(table):
    """Without rows, or if both raters used one and the same label, kappa and interval are None."""
    assert cohen_kappa(table) == Kappa(None, None)


def test_raters_who_each_use_another_label_agree_as_often_as_by_chance():
    assert cohen_kappa([[0, 7], [0, 0]]).value == 0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[]], "a confusion table must be square, got .0."),
        ([[1, 2]], "a confusion table must be square, got .2."),
        ([[1, 2], [3]], "a confusion table must be square, got .2, 1."),
        ([[1, -2], [3, 4]], "counts must be integers >= 0"),
        ([[1, 0.5], [3, 4]], "counts must be integers >= 0"),
        ([[1, math.nan], [3, 4]], "counts must be integers >= 0"),
    ],
    ids=str,
)
def test_a_confusion_table_is_square_and_holds_counts(table, message):
    with pytest.raises(ValueError, match=message):
        cohen_kappa(table)
