"""How often intervals cover the truth, and tests find or invent a difference.

Of shares, the probabilities are exact: sums over all outcomes. Of means, they are simulated, with
seeds. The tests bound them; `python -m tests.evaluation.simulations` prints them.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from gatewayx_nb.evaluation.intervals import share_interval
from gatewayx_nb.evaluation.means import mean_interval
from gatewayx_nb.evaluation.paired_tests import holm, paired_means, paired_shares

ROUNDING = 1e-12
"""Tolerance of the comparison of a share with a limit, which may be equal."""

POPULATIONS = {
    "normal": (lambda random, n: random.normal(size=n), 0),
    "uniform": (lambda random, n: random.random(n), 0.5),
    "exponential": (lambda random, n: random.exponential(size=n), 1),
    "log-normal, 0.5": (lambda random, n: random.lognormal(0, 0.5, n), math.exp(0.125)),
    "log-normal, 1": (lambda random, n: random.lognormal(0, 1, n), math.exp(0.5)),
    "0, 0.5 or 1": (lambda random, n: random.integers(0, 3, n) / 2, 0.5),
    "0, rarely 0.5 or 1": (
        lambda random, n: random.choice([0, 0.5, 1], n, p=[0.8, 0.1, 0.1]),
        0.15,
    ),
}
"""For each population, a function that draws from it, and its mean."""


@dataclass(frozen=True)
class Coverage:
    """The coverage of an interval over a grid of probabilities.

    Attributes:
        mean: The mean over the grid.
        least: The minimum.
        worst: Where the minimum is.
    """

    mean: float
    least: float
    worst: object


def coverage_of_shares(n, step=0.001):
    """Return the exact coverage of the interval of a share, over shares from 0.05 to 0.95."""
    counts = np.arange(n + 1)[:, None]
    limits = [share_interval(count, n) for count in range(n + 1)]
    low = np.array([limit.low for limit in limits])[:, None] - ROUNDING
    high = np.array([limit.high for limit in limits])[:, None] + ROUNDING
    shares = np.linspace(0.05, 0.95, round(0.9 / step) + 1)
    covered = stats.binom.pmf(counts, n, shares) * ((low <= shares) & (shares <= high))
    coverages = covered.sum(axis=0)
    worst = round(float(shares[coverages.argmin()]), 4)
    return Coverage(float(coverages.mean()), float(coverages.min()), worst)


@dataclass(frozen=True)
class Cells:
    """The probabilities of the four outcomes of a row with two variants.

    Attributes:
        both: That both succeed.
        only_first: That only the first does.
        only_second: That only the second does.
    """

    both: float
    only_first: float
    only_second: float

    @property
    def all(self):
        """The four probabilities, none of them 0, so that each has a logarithm."""
        cells = (self.both, self.only_first, self.only_second)
        return np.maximum((*cells, 1 - sum(cells)), 1e-300)

    @property
    def difference(self):
        """The difference between the shares."""
        return self.only_first - self.only_second

    @property
    def is_usual(self):
        """Whether neither variant is always better, and their outcomes have a correlation >= 0."""
        first, second = self.both + self.only_first, self.both + self.only_second
        is_correlated = self.both >= first * second - ROUNDING
        return is_correlated and self.only_second > ROUNDING and self.difference <= 0.3


def grid_of_cells():
    """Yield probabilities with shares from 0.05 to 0.95 and every correlation that is possible."""
    shares = np.linspace(0.05, 0.95, 19)
    for first, second in itertools.product(shares, shares):
        least, most = max(0, first + second - 1), min(first, second)
        if second <= first + ROUNDING:  # the other half is its mirror image
            for part in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1):
                both = least + part * (most - least)
                yield Cells(both, first - both, second - both)


def _tables(n):
    """Return all outcomes of n rows: the counts, and the logarithms of their permutations."""
    tables = np.array(
        [
            (both, first, second, n - both - first - second)
            for both in range(n + 1)
            for first in range(n + 1 - both)
            for second in range(n + 1 - both - first)
        ]
    )
    return tables, special.gammaln(n + 1) - special.gammaln(tables + 1).sum(axis=1)


def coverage_of_paired_shares(n):
    """Return the exact coverage of the interval of a paired difference: of all cells, and usual."""
    tables, log_permutations = _tables(n)
    limits = [paired_shares(*table).interval for table in tables.tolist()]
    low = np.array([limit.low for limit in limits]) - ROUNDING
    high = np.array([limit.high for limit in limits]) + ROUNDING
    found = []
    for cells in grid_of_cells():
        covers = (low <= cells.difference) & (cells.difference <= high)
        log_probabilities = log_permutations[covers] + tables[covers] @ np.log(cells.all)
        found.append((float(np.exp(log_probabilities).sum()), cells))
    return _summary(found), _summary([entry for entry in found if entry[1].is_usual])


def _summary(found):
    least, worst = min(found, key=lambda entry: entry[0])
    worst = tuple(round(float(cell), 3) for cell in dataclasses.astuple(worst))
    return Coverage(sum(coverage for coverage, _ in found) / len(found), least, worst)


def coverage_of_means(population, n, runs, seed=0):
    """Return the share of simulated samples of a population whose interval covers its mean."""
    draw, mean = POPULATIONS[population]
    random = np.random.default_rng([seed, n])
    return sum(mean in mean_interval(draw(random, n), seed=run) for run in range(runs)) / runs


def false_alarms(compare, draw, runs, seed=0):
    """Return the share of runs in which one of four equal variants differs from a baseline.

    Args:
        compare: Returns the `PairedDifference` of two columns.
        draw: Returns the scores of five variants, one a column, from a random generator.
        runs: Number of runs.
        seed: Seed of the generator.
    """
    random = np.random.default_rng(seed)
    alarms = 0
    for _ in range(runs):
        scores = draw(random)
        p_values = [compare(scores[:, variant], scores[:, 0]).p for variant in range(1, 5)]
        alarms += min(holm(p_values)) <= 0.05
    return alarms / runs


def compare_bools(first, second):
    """Return the paired difference between two columns of bools."""
    both, only_first = (first & second).sum(), (first & ~second).sum()
    only_second = (~first & second).sum()
    return paired_shares(
        both, only_first, only_second, len(first) - both - only_first - only_second
    )


def compare_numbers(first, second):
    """Return the paired difference between two columns of numbers."""
    return paired_means(first - second)


def equal_bools(n, spread):
    """Return a function that draws bools of five equal variants.

    Args:
        n: Number of rows.
        spread: How much rows differ in difficulty: 0 for independent variants.
    """

    def draw(random):
        difficulty = random.normal(size=(n, 1)) * spread
        return random.random((n, 5)) < special.expit(0.8 + difficulty)

    return draw


def equal_numbers(n, kind):
    """Return a function that draws numbers of five equal variants: of a row and of an error."""

    def draw(random):
        rows, errors = random.normal(size=(n, 1)), random.normal(size=(n, 5))
        scores = rows + errors
        if kind == "normal":
            return scores
        return np.exp(scores) if kind == "skewed" else np.clip(np.round(scores + 1), 0, 2) / 2

    return draw


def exact_power(n, disagreement, difference, alpha=0.05):
    """Return the probability that McNemar's exact test finds a difference with n rows."""
    differing = np.arange(n + 1)
    probabilities = stats.binom.pmf(differing, n, disagreement)
    differing = differing[probabilities > 1e-12]
    # The largest count whose two-sided p-value is at most alpha; -1 if there is none.
    critical = stats.binom.ppf(alpha / 2, differing, 0.5)
    critical -= 2 * stats.binom.cdf(critical, differing, 0.5) > alpha
    share = (disagreement + difference) / 2 / disagreement
    found = stats.binom.cdf(critical, differing, share)
    found += stats.binom.sf(differing - critical - 1, differing, share)
    return float(probabilities[probabilities > 1e-12] @ np.where(critical < 0, 0, found))


def found_gains(runs, first=0.8, second=0.75, seed=0):
    """Return how often a gain is found by the paired test, and by intervals that do not overlap.

    On 60 % of 200 rows, both variants have the same outcome; on the others, it is independent.

    Args:
        runs: Number of runs.
        first: The share of successes of the first variant.
        second: The share of successes of the second, which is lower.
        seed: Seed of the generator.
    """
    random = np.random.default_rng(seed)
    n, agreeing = 200, 0.6
    other = first - (first - second) / (1 - agreeing)
    by_test = by_overlap = 0
    for _ in range(runs):
        one = random.random(n) < first
        two = np.where(random.random(n) < agreeing, one, random.random(n) < other)
        by_test += compare_bools(one, two).p <= 0.05
        by_overlap += share_interval(one.sum(), n).low > share_interval(two.sum(), n).high
    return by_test / runs, by_overlap / runs


def simulation_error(share, runs):
    """Return three standard errors of a simulated share."""
    return 3 * math.sqrt(share * (1 - share) / runs)


def print_all():
    """Print all figures, which takes about ten minutes."""
    for n, step in itertools.product((10, 20, 30, 50, 100, 200, 500), (0.05, 0.001)):
        print(f"share, n={n}, step {step}:", coverage_of_shares(n, step))
    for n in (10, 12, 15, 20, 25, 30, 40, 50, 100, 200):
        for name, coverage in zip(("all", "usual"), coverage_of_paired_shares(n), strict=True):
            print(f"paired shares, n={n}, {name}:", coverage)
    for population, n in itertools.product(POPULATIONS, (10, 20, 30, 100, 500)):
        print(f"mean, {population}, n={n}:", coverage_of_means(population, n, 4_000))
    for n, spread in itertools.product((10, 30, 100, 200), (0, 1, 3)):
        alarms = false_alarms(compare_bools, equal_bools(n, spread), 4_000)
        print(f"false alarms, bools, n={n}, spread {spread}: {alarms:.4f}")
    for n, kind in itertools.product((10, 30, 200), ("normal", "skewed", "discrete")):
        alarms = false_alarms(compare_numbers, equal_numbers(n, kind), 2_000)
        print(f"false alarms, numbers, n={n}, {kind}: {alarms:.4f}")
    print("found gains, by the test and by overlap:", found_gains(4_000))


if __name__ == "__main__":
    print_all()
