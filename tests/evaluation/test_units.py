"""Which rows, clusters and scores an evaluation compares, and what it says of them."""

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.evaluation import evaluate

from .conftest import make_evaluation

YES, NO = [True], [False]
FAILED = [ProviderError("it broke")]


def test_a_number_of_one_variant_alone_is_not_a_preference():
    """A baseline whose answers all failed has no numbers, so that there is nothing to compare."""
    result = make_evaluation({"plain": FAILED * 12, "long": [7.0] * 12})
    assert result.versus() == []
    assert not any("better" in line for line in result.conclusions())


def test_a_preference_is_compared_with_the_first_variant_alone():
    """Rates of preference over the first variant say nothing of another one without rates."""
    scores = {"plain": [None] * 12, "long": [None] * 12, "short": [1.0] * 12}
    result = make_evaluation(scores, preferences=["score"])
    assert [row.verdict for row in result.versus()] == ["better"]
    assert result.versus("long") == []


def test_a_preference_is_known_after_it_was_loaded(tmp_path):
    preferred = {"plain": [None] * 12, "long": [1.0] * 12}
    result = make_evaluation(preferred, preferences=["score"])
    loaded = gx.load_evaluation(result.save(tmp_path / "result.json"))
    assert list(loaded.versus()) == list(result.versus())


def test_clusters_are_counted_as_clusters():
    clusters = [row // 10 for row in range(40)]
    result = make_evaluation({"plain": NO * 40, "long": YES * 40}, clusters=clusters)
    assert "4 clusters of the 10 that a verdict needs" in result.conclusions()[0]
    single = make_evaluation({"plain": YES * 40}, clusters=clusters)
    assert single.conclusions() == ["4 clusters: a verdict needs at least 10."]


@pytest.mark.parametrize("grouping", ["clusters", "samples"])
def test_equal_units_of_a_bool_have_wilsons_interval(grouping):
    """If every cluster is right, the next one may not be: the interval has a width."""
    if grouping == "samples":
        result = make_evaluation({"plain": [[False] * 3] * 20, "long": [[True] * 3] * 20})
    else:
        clusters = [row // 3 for row in range(60)]
        result = make_evaluation({"plain": NO * 60, "long": YES * 60}, clusters=clusters)
    rows = make_evaluation({"plain": NO * 20, "long": YES * 20})
    assert [(row.low, row.high) for row in result.summary()] == [
        (row.low, row.high) for row in rows.summary()
    ]
    found, expected = result.versus()[0], rows.versus()[0]
    assert (found.low, found.high, found.p) == (expected.low, expected.high, expected.p)


def test_a_regression_within_one_cluster_is_not_one_of_all(tmp_path):
    """The rows of one document of four fail together, which chance explains."""
    clusters = [row // 50 for row in range(200)]
    base = make_evaluation({"plain": YES * 200}, clusters=clusters).save_baseline(tmp_path / "b")
    worse = {"plain": NO * 50 + YES * 150}
    make_evaluation(worse, clusters=clusters).check(no_worse_than=base)
    with pytest.raises(AssertionError, match="50 rows worse, 0 better, of 200"):
        make_evaluation(worse).check(no_worse_than=base)
    many = [row // 5 for row in range(200)]
    with pytest.raises(AssertionError, match="10 clusters worse, 0 better, of 40"):
        make_evaluation(worse, clusters=many).check(no_worse_than=base)


def test_samples_may_be_compared_with_single_answers(tmp_path):
    """Rows of the baseline are two thirds right, and none is right now."""
    base = make_evaluation({"plain": [[True, True, False]] * 20}).save_baseline(tmp_path / "b")
    with pytest.raises(AssertionError, match="20 rows worse"):
        make_evaluation({"plain": NO * 20}).check(no_worse_than=base)


def test_clusters_that_are_tuples_are_loaded(pool, sums, tmp_path):
    rows = [{**row, "page": ("book", number % 2)} for number, row in enumerate(sums)]
    options = {"expected": "result", "cluster": "page", "pool": pool}
    result = evaluate(rows, "{{sum}}", "solver", gx.scorers.equals, **options)
    assert result.summary()[0].n == 2
    loaded = gx.load_evaluation(result.save(tmp_path / "result.json"))
    assert repr(loaded) == repr(result)


def test_a_stopped_scoring_is_neither_a_success_nor_a_baseline(pool, sums, tmp_path):
    """Scores of some rows only must not pass in CI, also after they were loaded."""

    def ok(text):
        if text == "5":
            raise KeyboardInterrupt
        return True

    result = evaluate(sums, "{{sum}}", "solver", ok, pool=pool)
    loaded = gx.load_evaluation(result.save(tmp_path / "result.json"))
    for stopped in (result, loaded):
        with pytest.raises(AssertionError, match="stopped before all answers were scored"):
            stopped.check(at_least={"ok": 0.5})
        with pytest.raises(gx.GatewayError, match="stopped before all answers were scored"):
            stopped.save_baseline(tmp_path / "base.json")
