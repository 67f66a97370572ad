import json

import pytest

from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.evaluation import Score, evaluate

from .conftest import make_evaluation

YES, NO = [True], [False]


def test_a_bound_that_is_met_passes():
    result = make_evaluation({"plain": YES * 18 + NO * 2}, seconds=1.0, cost=0.01)
    result.check(at_least={"score": 0.9}, at_most={"score": 0.9, "latency": 1, "cost": 0.2})


def test_a_bound_that_is_not_met_shows_the_summary_and_the_rows():
    result = make_evaluation({"plain": YES * 17 + [Score(value=False, reason="too long")] * 3})
    with pytest.raises(AssertionError) as caught:
        result.check(at_least={"score": 0.9})
    text = str(caught.value)
    assert text.startswith("score is 85.0 %, expected at least 90.0 %.")
    assert "95 % interval" in text
    assert "too long" in text


def test_every_variant_is_checked_unless_one_is_named():
    result = make_evaluation({"plain": NO * 12, "long": YES * 12})
    with pytest.raises(AssertionError, match=r"plain: score is 0\.0 %"):
        result.check(at_least={"score": 0.5})
    result.check(at_least={"score": 0.5}, variant="long")
    with pytest.raises(AssertionError):
        result.check(at_least={"score": 0.5}, variant=["long", "plain"])


def test_a_score_without_a_value_fails():
    with pytest.raises(AssertionError, match="unknown: no row has it"):
        make_evaluation({"plain": [Score(error="odd")] * 3 + [1.0], "long": [None] * 4}).check(
            at_least={"score": 0.5}, variant="long"
        )


def test_a_number_with_more_errors_than_values_fails():
    result = make_evaluation({"plain": [1.0] * 3 + [Score(error="odd")] * 7})
    with pytest.raises(AssertionError, match=r"more errors \(7\) than values \(3\)"):
        result.check(at_most={"score": 2})
    make_evaluation({"plain": [1.0] * 9 + [Score(error="odd")]}).check(at_most={"score": 2})


def test_latency_and_cost_are_those_of_the_answers():
    result = make_evaluation({"plain": YES * 12}, seconds=3.0, cost=0.5)
    with pytest.raises(AssertionError, match="latency is 3, expected at most 2"):
        result.check(at_most={"latency": 2})
    with pytest.raises(AssertionError, match="cost is 6, expected at most 5"):
        result.check(at_most={"cost": 5})


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "check needs"),
        ({"at_least": {"score": "0.9"}}, "must be a number"),
        ({"at_least": {"score": True}}, "must be a number"),
        ({"at_least": {"label": 0.9}}, "which the evaluation does not have"),
        ({"at_least": {}, "at_most": {}}, "check needs"),
        ({"at_least": {"score": float("nan")}}, "must be a number"),
        ({"at_least": {"score": 0.9}, "variant": []}, "variant must not be empty"),
        ({"no_worse_than": "x.json", "margin": float("inf")}, "margin must be"),
        ({"no_worse_than": 3}, "path must be"),
        ({"no_worse_than": "x.json", "margin": -1}, "margin must be"),
        ({"no_worse_than": "x.json", "margin": float("nan")}, "must be a number >= 0"),
    ],
    ids=[
        *("nothing", "text", "bool", "unknown", "empty", "nan", "no variant", "infinite margin"),
        *("no path", "negative margin", "nan margin"),
    ],
)
def test_bad_arguments_are_named(arguments, problem):
    with pytest.raises(UsageError, match=problem):
        make_evaluation({"plain": YES * 12}).check(**arguments)


def test_a_label_has_no_mean():
    with pytest.raises(UsageError, match="is a label"):
        make_evaluation({"plain": ["good"] * 12}).check(at_least={"score": 0.5})


def test_no_worse_than_is_a_paired_test(tmp_path):
    """Chance could explain five lost rows of thirty, if none is won, but not six."""
    path = make_evaluation({"plain": YES * 30}).save_baseline(tmp_path / "base.json")
    make_evaluation({"plain": YES * 30}).check(no_worse_than=path)
    make_evaluation({"plain": YES * 25 + NO * 5}).check(no_worse_than=path)
    with pytest.raises(AssertionError):
        make_evaluation({"plain": YES * 24 + NO * 6}).check(no_worse_than=path)
    with pytest.raises(
        AssertionError, match=r"worse than the baseline by more than 2 points"
    ) as caught:
        make_evaluation({"plain": YES * 22 + NO * 8}).check(no_worse_than=path)
    assert "73.3 %, before 100.0 % (8 rows worse, 0 better, of 30)" in str(caught.value)
    make_evaluation({"plain": YES * 22 + NO * 8}).check(no_worse_than=path, margin=0.3)


def test_a_number_may_be_no_worse(tmp_path):
    values = [float(position % 5) for position in range(40)]
    path = make_evaluation({"plain": values}).save_baseline(tmp_path / "base.json")
    worse = [value - 1 - position % 2 for position, value in enumerate(values)]
    with pytest.raises(AssertionError, match="worse than the baseline"):
        make_evaluation({"plain": worse}).check(no_worse_than=path)
    better = make_evaluation({"plain": values}, lower_is_better=["score"])
    lower = better.save_baseline(tmp_path / "lower.json")
    make_evaluation({"plain": worse}, lower_is_better=["score"]).check(no_worse_than=lower)


def test_the_message_lists_the_rows_that_became_worse():
    """Rows that failed before are not listed, although they come first."""
    before = make_evaluation({"plain": NO * 10 + YES * 30})
    after = make_evaluation({"plain": NO * 10 + YES * 20 + NO * 10})
    with pytest.raises(AssertionError) as caught:
        after.check(no_worse_than=before)
    rows = str(caught.value).rpartition("before")[2].splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["30", "31", "32", "33", "34", "…"]
    assert rows[0].split()[1:7] == ["plain", "score", "100.0", "%", "0.0", "%"]
    assert rows[-1] == "… 5 more"


def test_the_rows_with_the_largest_differences_come_first():
    values = [10.0 + position % 3 for position in range(40)]
    before = make_evaluation({"plain": values}, lower_is_better=["score"])
    later = [value + position for position, value in enumerate(values)]
    after = make_evaluation({"plain": later}, lower_is_better=["score"])
    with pytest.raises(AssertionError) as caught:
        after.check(no_worse_than=before)
    rows = str(caught.value).rpartition("before")[2].splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["39", "38", "37", "36", "35", "…"]


def test_numbers_that_became_errors_fail():
    """Errors are left out of numbers, so that most rows might be ignored."""
    values = [1.0 + position % 2 for position in range(20)]
    before = make_evaluation({"plain": values})
    make_evaluation({"plain": values[:10] + [None] * 10}).check(no_worse_than=before)
    with pytest.raises(AssertionError, match="score has no value on 11 of 20 rows"):
        make_evaluation({"plain": values[:9] + [None] * 11}).check(no_worse_than=before)


def test_a_traceback_of_pytest_has_only_the_line_of_the_check():
    with pytest.raises(AssertionError) as caught:
        make_evaluation({"plain": NO * 12}).check(at_least={"score": 0.5})
    shown = [entry.name for entry in caught.traceback.filter(caught)]
    assert shown == ["test_a_traceback_of_pytest_has_only_the_line_of_the_check"]


def test_another_evaluation_may_be_the_baseline():
    before, after = make_evaluation({"a": YES * 30}), make_evaluation({"b": NO * 30})
    with pytest.raises(AssertionError, match="worse than the baseline"):
        after.check(no_worse_than=before)


def test_a_baseline_holds_no_prompt_and_no_answer(pool, sums, tmp_path):
    def is_short(text):
        return len(text) < 3, "a reason"

    result = evaluate(sums, {"plain": "Secret words: {{sum}}"}, "solver", is_short, pool=pool)
    text = result.save_baseline(tmp_path / "base.json").read_text()
    assert "Secret" not in text
    assert "a reason" not in text
    assert "0+1" not in text
    values = json.loads(text)
    assert set(values) == {"format", "rows", "scores"}
    assert values["scores"]["is_short"]["values"]["plain"]["0"] == 1.0


def test_a_baseline_of_other_rows_is_refused(tmp_path, pool, sums):
    path = tmp_path / "base.json"
    evaluate(sums, "{{sum}}", "solver", {"ok": lambda text: True}, pool=pool).save_baseline(path)
    changed = [{**row, "sum": row["sum"] + "0"} for row in sums]
    result = evaluate(changed, "{{sum}}", "solver", {"ok": lambda text: True}, pool=pool)
    with pytest.raises(UsageError, match="12 rows changed since the baseline was saved"):
        result.check(no_worse_than=path)
    named = evaluate(sums, "{{sum}}", "solver", {"ok": lambda text: True}, id="sum", pool=pool)
    with pytest.raises(UsageError, match="no IDs match"):
        named.check(no_worse_than=path)
    fewer = evaluate(sums[:9], "{{sum}}", "solver", {"ok": lambda text: True}, pool=pool)
    with pytest.raises(UsageError, match=r"3 rows of the baseline .* \(10, 11, 9\)"):
        fewer.check(no_worse_than=path)
    # More rows than before are compared on those that both have.
    more = evaluate(
        [*sums, {"sum": "9+9", "result": "18"}], "{{sum}}", "solver",
        {"ok": lambda text: True}, pool=pool,
    )  # fmt: skip
    more.check(no_worse_than=path)


def test_a_baseline_without_the_variant_or_the_scores_is_refused(tmp_path):
    two = make_evaluation({"a": YES * 12, "b": YES * 12}).save_baseline(tmp_path / "two.json")
    with pytest.raises(UsageError, match="no variant 'c'"):
        make_evaluation({"c": YES * 12}).check(no_worse_than=two)
    with pytest.raises(UsageError, match="lacks scores that the baseline has: score"):
        make_evaluation({"a": YES * 12}, name="other").check(no_worse_than=two)
    with pytest.raises(UsageError, match="no score to save"):
        make_evaluation({"a": ["label"] * 12}).save_baseline(tmp_path / "labels.json")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2}', '{"format": 1, "rows": 3}'])
def test_a_damaged_baseline_is_one_error(tmp_path, content):
    path = tmp_path / "base.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not a baseline"):
        make_evaluation({"a": YES * 12}).check(no_worse_than=path)
    with pytest.raises(ConfigError, match="save_baseline"):
        make_evaluation({"a": YES * 12}).check(no_worse_than=tmp_path / "missing.json")


def test_what_a_baseline_has_must_still_be_scored(tmp_path):
    """A scorer that was removed, or that does not apply any more, does not pass."""
    base = make_evaluation({"plain": YES * 12}).save_baseline(tmp_path / "base.json")
    with pytest.raises(UsageError, match="lacks scores that the baseline has: score"):
        make_evaluation({"plain": YES * 12}, name="other").check(no_worse_than=base)
    gone = make_evaluation({"plain": [None] * 12, "long": YES * 12})
    with pytest.raises(AssertionError, match="score has no value on 12 of 12 rows of the baseline"):
        gone.check(no_worse_than=base, variant="plain")


def test_votes_are_not_in_a_baseline(tmp_path):
    """A run in CI has no votes, and must not need them."""
    result = make_evaluation({"plain": YES * 12})
    result.vote(0, "plain", value=True)
    base = result.save_baseline(tmp_path / "base.json")
    make_evaluation({"plain": YES * 12}).check(no_worse_than=base)
