"""What a first-time user tried."""

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.evaluation import evaluate, load_evaluation

from .conftest import make_evaluation


@pytest.mark.parametrize("scorer", [gx.scorers.equals, gx.scorers.contains(), gx.scorers.number()])
def test_a_scorer_without_expected_answers_is_refused_before_anything_is_asked(
    pool, engine, sums, scorer
):
    with pytest.raises(UsageError, match="needs expected answers"):
        evaluate(sums, "{{sum}}", "solver", scorer, pool=pool)
    with pytest.raises(UsageError, match="needs expected answers"):
        evaluate(sums, "{{sum}}", "solver", {"own": lambda text, expected: True}, pool=pool)
    assert not engine.asked
    optional = {"own": lambda text, expected=None: expected is None}
    evaluate(sums, "{{sum}}", "solver", [gx.scorers.equals("3")], pool=pool)
    assert evaluate(sums, "{{sum}}", "solver", optional, pool=pool).summary()[0].mean == 1


def test_an_error_names_the_row_and_the_variant(pool, sums, capsys):
    """The position in the grid is not the number of a row."""
    sums[7]["sum"] = None
    evaluate(sums, {"a": "{{sum}}", "b": "Now: {{sum}}"}, "solver", pool=pool, id="result")
    assert "Row 8, a: UsageError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [{"at_least": {"score": 90}}, {"no_worse_than": "base.json", "margin": 2}],
    ids=["bound", "margin"],
)
def test_a_percentage_is_not_a_share(tmp_path, monkeypatch, arguments):
    """A margin of 2, which is 200 points, would accept everything."""
    monkeypatch.chdir(tmp_path)
    result = make_evaluation({"plain": [True] * 20})
    result.save_baseline("base.json")
    with pytest.raises(UsageError, match=r"A share of 90 % is 0\.9"):
        result.check(**arguments)


def test_a_file_of_the_other_kind_is_named(tmp_path):
    result = make_evaluation({"plain": [True] * 20})
    whole, base = result.save(tmp_path / "whole.json"), result.save_baseline(tmp_path / "b.json")
    with pytest.raises(ConfigError, match="is a saved evaluation, not a baseline"):
        result.check(no_worse_than=whole)
    with pytest.raises(ConfigError, match="is a baseline, not a saved evaluation"):
        load_evaluation(base)
    with pytest.raises(UsageError, match=r"Load the \.json file"):
        load_evaluation(result.save(tmp_path / "cells.csv"))


def test_labels_that_have_nothing_in_common_are_refused(pool, sums):
    for number, row in enumerate(sums):
        row["human"] = "good" if number % 2 else "bad"
        row["other"] = "like" if number % 2 else "hate"

    def judged(row):
        return row["human"] == "good"

    result = evaluate(sums, "{{sum}}", "solver", judged, pool=pool)
    assert result.agreement("judged", "human").kappa == pytest.approx(1)
    with pytest.raises(UsageError, match="no label in common"):
        result.agreement("judged", "other")


def test_numbers_are_no_failures_unless_they_are_named():
    result = make_evaluation({"plain": [1.0, 2.0, 3.0]})
    assert not result.failures()
    assert len(result.failures("score")) == 3


def test_any_score_can_be_chosen_again():
    view = gx.evaluation_view(make_evaluation({"plain": [True, False]}))
    view._score.value = "score"
    view._score.value = view._score.options[0][1]
    assert view._score.index == 0
    view.close()
