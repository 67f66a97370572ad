import csv
import json
import re

import pandas as pd
import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ConfigError, ProviderError, UsageError
from gatewayx_nb.evaluation import Evaluation, Score, evaluate, load_evaluation

from .conftest import make_evaluation

YES, NO = [True], [False]


def only(table):
    (row,) = table
    return row


def test_the_summary_has_wilsons_interval():
    """15 of 20: Wilson's interval, as `statsmodels` computes it."""
    row = only(make_evaluation({"plain": YES * 15 + NO * 5}).summary())
    assert (row.n, row.mean, row.errors) == (20, 0.75, 0)
    assert (row.low, row.high) == (pytest.approx(0.531299), pytest.approx(0.888139))


def test_fewer_than_ten_rows_have_counts_only():
    result = make_evaluation({"plain": YES * 6 + NO * 3, "long": YES * 9})
    row = result.summary()[0]
    assert (row.low, row.high) == (None, None)
    assert "6 of 9" in repr(result)
    difference = only(result.versus())
    assert (difference.p, difference.verdict) == (None, "too few rows")
    assert "9 rows of the 10 that a verdict needs" in repr(result)


def test_errors_are_failures_of_bools_and_left_out_of_numbers():
    bools = make_evaluation({"plain": [*YES * 9, ValueError("broken"), Score(error="broken")]})
    row = only(bools.summary())
    assert (row.n, row.errors, row.mean) == (11, 2, pytest.approx(9 / 11))
    numbers = make_evaluation({"plain": [*[2.0] * 9, ValueError("broken"), Score(error="broken")]})
    row = only(numbers.summary())
    assert (row.n, row.errors, row.mean) == (9, 2, 2.0)


def test_a_score_that_does_not_apply_is_left_out():
    row = only(make_evaluation({"plain": [*YES * 10, None, None]}).summary())
    assert (row.n, row.mean) == (10, 1)


def test_labels_are_counted():
    result = make_evaluation({"plain": ["good"] * 8 + ["bad"] * 4})
    row = only(result.summary())
    assert (row.kind, dict(row.labels), row.mean) == ("label", {"good": 8, "bad": 4}, None)
    assert "good: 8, bad: 4" in repr(result)


def test_samples_of_a_row_are_averaged_first():
    """Ten rows with two samples each are ten units, not twenty."""
    row = only(make_evaluation({"plain": [[True, False]] * 10}).summary())
    assert (row.n, row.mean, row.low, row.high) == (10, 0.5, 0.5, 0.5)


def test_rows_of_a_cluster_are_one_unit():
    """Forty rows of four documents have no interval: four units are fewer than ten."""
    clusters = [position // 10 for position in range(40)]
    row = only(make_evaluation({"plain": YES * 40}, clusters=clusters).summary())
    assert (row.n, row.low) == (4, None)


def test_versus_uses_the_rows_of_both():
    """McNemar's exact test: 2 of 12 differing rows lost, p = 0.0386."""
    result = make_evaluation(
        {"plain": NO * 10 + YES * 2 + YES * 20, "long": YES * 10 + NO * 2 + YES * 20}
    )
    row = only(result.versus())
    assert (row.won, row.lost, row.equal, row.n) == (10, 2, 20, 32)
    assert row.difference == pytest.approx(8 / 32)
    assert row.p == pytest.approx(0.03857422, abs=1e-8)
    assert row.verdict == "better"
    assert "'long' is better than 'plain' on score by 25.0 points" in repr(result)
    worse = only(result.versus("long"))
    assert (worse.verdict, worse.difference) == ("worse", pytest.approx(-8 / 32))


def test_what_is_not_told_apart_names_the_rows_that_it_would_take():
    result = make_evaluation({"plain": NO * 3 + YES * 27, "long": YES * 30})
    row = only(result.versus())
    assert row.verdict == "not told apart"
    assert row.rows_needed > 30
    assert f"about {row.rows_needed:,} rows would be needed" in repr(result)


def test_equal_answers_are_not_told_apart():
    result = make_evaluation({"plain": YES * 20, "long": YES * 20})
    row = only(result.versus())
    assert (row.difference, row.p, row.rows_needed) == (0, 1, None)
    assert "not told apart on score (0 won, 0 lost)." in repr(result)


def test_a_lower_value_may_be_better():
    values = {"plain": [2.0 + i % 3 for i in range(40)], "long": [1.0 + i % 2 for i in range(40)]}
    assert only(make_evaluation(values).versus()).verdict == "worse"
    assert only(make_evaluation(values, lower_is_better=["score"]).versus()).verdict == "better"


def test_p_values_are_corrected_for_the_number_of_comparisons():
    """The smallest of three p-values is multiplied by three."""
    plain = NO * 10 + YES * 2 + YES * 20
    long = YES * 10 + NO * 2 + YES * 20
    one = only(make_evaluation({"plain": plain, "long": long}).versus())
    three = make_evaluation({"plain": plain, "long": long, "b": plain, "c": plain}).versus()
    assert three[0].p == pytest.approx(3 * one.p)
    assert three[0].verdict == "not told apart"


def test_a_preference_is_compared_with_half():
    """The baseline of a preference has no score: 0.5 is a tie."""
    preferred = {"plain": [None] * 20, "long": [1.0] * 15 + [0.5] * 5}
    result = make_evaluation(preferred, preferences=["score"])
    row = only(result.versus())
    assert (row.won, row.lost, row.equal, row.verdict) == (15, 0, 5, "better")
    ties = make_evaluation({"plain": [None] * 20, "long": [0.5] * 20}, preferences=["score"])
    assert only(ties.versus()).verdict == "not told apart"


def test_failures_are_errors_and_false():
    result = make_evaluation({"plain": [True, (False), ValueError("broken"), Score(error="odd")]})
    found = [(cell.id, cell.score, cell.error) for cell in result.failures()]
    assert found == [(2, "", "broken"), (1, "score", ""), (3, "score", "odd")]
    assert len(result.failures(limit=1)) == 1


def test_failures_of_a_number_are_the_worst():
    result = make_evaluation({"plain": [float(value) for value in range(20)]})
    assert [cell.value for cell in result.failures("score")][:2] == [0.0, 1.0]
    lower = make_evaluation({"plain": list(map(float, range(20)))}, lower_is_better=["score"])
    assert lower.failures("score")[0].value == 19


def test_changed_cells_are_found_by_id_and_variant():
    before = make_evaluation({"plain": [True, False, True], "long": [True] * 3})
    after = make_evaluation({"plain": [True, True, Score(error="odd")], "other": [True] * 3})
    found = [(cell.id, cell.before, cell.after) for cell in after.changed(before)]
    assert found == [(1, False, True), (2, True, None)]
    with pytest.raises(UsageError, match="no cell in common"):
        after.changed(make_evaluation({"new": [True]}))
    with pytest.raises(UsageError, match="load_evaluation"):
        after.changed("before.json")


def test_the_frame_has_a_row_for_each_cell(pool, sums):
    def is_short(text):
        return len(text) < 2, f"{len(text)} characters"

    sums[0]["answer"] = "a column of the rows"
    frame = evaluate(
        sums, {"a": "{{sum}}", "b": "Now: {{sum}}"}, "solver", is_short, id="sum", pool=pool
    ).to_frame()
    assert list(frame.columns) == [
        *("id", "sum", "result", "input_answer", "variant", "prompt", "model", "options"),
        *("sample", "answer", "is_short", "is_short_reason", "error", "finish_reason"),
        *("input_tokens", "output_tokens", "cost", "seconds"),
    ]
    assert len(frame) == 24
    assert frame["is_short"].dtype == "boolean"
    assert frame["id"][0] == "0+1"


def test_agreement_compares_a_score_with_labels_of_a_person(pool, sums):
    """Kappa of a table of 4, 1, 2 and 5: 0.5, as `statsmodels` computes it."""
    judge = [True] * 5 + [False] * 7
    person = ["yes"] * 4 + ["no"] + ["yes"] * 2 + ["no"] * 5
    for row, label in zip(sums, person, strict=True):
        row["human"] = label

    def judged(row):
        return judge[sums.index(dict(row))]

    result = evaluate(sums, "{{sum}}", "solver", judged, pool=pool).agreement("judged", "human")
    assert result.labels == ("False", "True")
    assert result.counts == ((5, 2), (1, 4))
    assert result.kappa == pytest.approx(0.5)
    assert result.interval.low < 0.5 < result.interval.high
    assert "agree on 9 of 12 cells; kappa is 0.50" in repr(result)


def test_votes_are_labels():
    result = make_evaluation({"plain": [True, False, True]})
    result.vote(0, "plain", value=True)
    result.vote(1, "plain", value=True)
    assert result.agreement("score", "vote").n == 2
    result.vote(0, "plain", value=None)
    assert result.agreement("score", "vote").n == 1
    with pytest.raises(UsageError, match="no cell with the ID 7"):
        result.vote(7, "plain", value=True)
    with pytest.raises(UsageError, match="no variant 'plan'"):
        result.vote(0, "plan", value=True)
    with pytest.raises(UsageError, match="must be a bool or a non-empty str"):
        result.vote(0, "plain", value="")


def test_votes_may_be_bools_and_texts():
    result = make_evaluation({"plain": [True, False, True]})
    result.vote(0, "plain", value=True)
    result.vote(1, "plain", value="odd")
    assert result.summary()[1].labels == {"True": 1, "odd": 1}


def test_an_answer_that_failed_is_not_a_bad_vote():
    """Nobody can label an answer that does not exist."""
    result = make_evaluation({"plain": [True, ProviderError("it broke")]})
    result.vote(0, "plain", value=True)
    vote = next(row for row in result.summary() if row.score == "vote")
    assert (vote.n, vote.errors, vote.mean) == (1, 0, 1.0)


@pytest.mark.parametrize("value", [1e200, [1], {"a": 1}], ids=repr)
def test_a_file_with_an_impossible_score_is_one_error(tmp_path, value):
    """What no scorer may return, a file must not hold."""
    path = make_evaluation({"plain": [0.125] * 12}).save(tmp_path / "result.json")
    path.write_text(path.read_text().replace("0.125", json.dumps(value)))
    with pytest.raises(ConfigError, match=r"is not a saved evaluation: .*score"):
        gx.load_evaluation(path)


def test_agreement_needs_labels_of_both():
    result = make_evaluation({"plain": [True, False]})
    with pytest.raises(UsageError, match="no score or column 'human'"):
        result.agreement("score", "human")
    numbers = make_evaluation({"plain": list(map(float, range(60)))})
    with pytest.raises(UsageError, match="too many for labels"):
        numbers.agreement("score", "text")


def test_a_saved_evaluation_is_loaded_again(pool, sums, tmp_path):
    def kind(text):
        return {"short": len(text) < 2, "size": len(text), "label": "digit"}

    result = evaluate(
        sums, "{{sum}}", "solver", kind, expected="result", id="sum", samples=2, name="sums",
        lower_is_better="size", pool=pool,
    )  # fmt: skip
    again = load_evaluation(result.save(tmp_path / "sums.json"))
    assert repr(again) == repr(result)
    assert again._repr_html_() == result._repr_html_()
    pd.testing.assert_frame_equal(again.to_frame(), result.to_frame())
    assert repr(again.versus()) == repr(result.versus())
    assert again.save(tmp_path / "again.json").read_bytes() == (tmp_path / "sums.json").read_bytes()


def test_rows_of_any_type_are_saved(pool, tmp_path):
    rows = pd.DataFrame({"sum": ["1+1"], "when": [pd.Timestamp("2026-01-02")], "n": [float("nan")]})
    path = evaluate(rows, "{{sum}}", "solver", pool=pool).save(tmp_path / "rows.json")
    (row,) = load_evaluation(path).rows.inputs
    assert row == {"sum": "1+1", "when": "2026-01-02 00:00:00", "n": None}


def test_csv_and_markdown(tmp_path):
    """A cell of the CSV is not a formula, and Markdown of an answer has no effect."""
    result = make_evaluation(
        {"plain": [(Score(value=False, reason="=1+1"))] * 3, "**long** <b>|": YES * 3},
        answer="=cmd|'/c calc'!A0",
    )
    with result.save(tmp_path / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[0]["answer"] == "'=cmd|'/c calc'!A0"
    assert rows[0]["score_reason"] == "'=1+1"
    text = result.save(tmp_path / "summary.md").read_text()
    assert "\\*\\*long\\*\\* \\<b\\>\\|" in text


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 99}',
        '{"format": 1}',
        "[" * 100_000,
        '{"format": 1, "variants": [{"name": 3}], "rows": [], "ids": []}',
    ],
    ids=["empty", "list", "object", "later", "no cells", "deep", "odd variant"],
)
def test_a_damaged_file_is_one_error(tmp_path, content):
    path = tmp_path / "damaged.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="is not a saved evaluation"):
        load_evaluation(path)


def test_a_file_cut_anywhere_is_one_error(tmp_path):
    path = make_evaluation({"plain": YES * 2}).save(tmp_path / "whole.json")
    content = path.read_bytes()
    for end in range(len(content) - 2):
        path.write_bytes(content[:end])
        with pytest.raises(ConfigError):
            load_evaluation(path)


def test_files_must_be_writable_and_have_a_known_extension(tmp_path):
    result = make_evaluation({"plain": YES * 2})
    with pytest.raises(UsageError, match=r"\.json, \.csv or \.md"):
        result.save(tmp_path / "result.xlsx")
    with pytest.raises(ConfigError, match="cannot be written"):
        result.save(tmp_path / "missing" / "result.json")
    with pytest.raises(ConfigError, match="does not exist"):
        load_evaluation(tmp_path / "missing.json")
    with pytest.raises(UsageError, match="path must be"):
        result.save(3)


def test_no_key_is_in_anything_that_is_shown_or_written(project, tmp_path):
    """A key in a row, an answer, a reason, an ID or a name is masked."""
    key = "sk-canary-0123456789abcdef"
    project.set_keys(f"GATEWAYX_GROK_API_KEY={key}\n")
    rows = [{"text": f"{key} {number}"} for number in range(12)]

    def leaks(text):
        return False, f"The key is {key}"

    with project.pool() as pool:
        result = evaluate(
            rows, {key: "{{text}}", "other": "Say {{text}}"}, "mock", leaks, id="text",
            name=f"of {key}", pool=pool,
        )  # fmt: skip
        shown = [repr(result), result._repr_html_(), result.to_frame().to_csv()]
        tables = (result.summary(), result.versus(), result.failures())
        shown += [text for table in tables for text in (repr(table), table._repr_html_())]
        for name in ("saved.json", "saved.csv", "saved.md"):
            shown.append(result.save(tmp_path / name).read_text())
        shown.append(result.save_baseline(tmp_path / "base.json").read_text())
        with pytest.raises(AssertionError) as caught:
            result.check(at_least={"leaks": 1})
        shown.append(str(caught.value))
    assert not [text for text in shown if key in text]


def test_nothing_of_an_answer_is_active(pool):
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b]0;title\x07"
    variants = {attack: [Score(value=False, reason=attack)] * 12, "other": YES * 12}
    result = make_evaluation(variants, answer=attack)
    html = "".join([result._repr_html_(), result.failures()._repr_html_()])
    assert "<script" not in html
    assert "<img" not in html
    assert "\x1b" not in "".join([repr(result), repr(result.failures()), html])


def test_the_display_draws_the_intervals():
    html = make_evaluation({"plain": YES * 15 + NO * 5, "long": YES * 20})._repr_html_()
    assert html.count("<svg") == 2
    assert 'aria-label="0.75 (0.531 to 0.888)"' in html


def test_names_that_do_not_exist_are_named():
    result = make_evaluation({"plain": YES * 12, "long": YES * 12}, name="correct")
    for call in (
        lambda: result.versus("lng"),
        lambda: result.versus(score="corect"),
        lambda: result.failures("corect"),
        lambda: result.check(at_least={"corect": 0.5}),
        lambda: result.check(at_least={"correct": 0.5}, variant="lng"),
    ):
        with pytest.raises(UsageError, match="Did you mean"):
            call()


def test_an_evaluation_without_scorers_shows_the_answers(pool, sums):
    result = evaluate(sums, "{{sum}}", ["solver", "solver:bad"], pool=pool)
    assert [(row.n, row.score) for row in result.summary()] == [(12, ""), (12, "")]
    assert "12 rows, 2 variants" in repr(result)
    assert isinstance(result, Evaluation)
    assert isinstance(result, gx.Evaluation)


def test_the_json_file_holds_no_pickle(tmp_path):
    path = make_evaluation({"plain": YES * 2}).save(tmp_path / "plain.json")
    assert json.loads(path.read_text())["format"] == 1


def test_a_drawing_and_an_interval_keep_their_width_in_a_wide_table():
    """JupyterLab would otherwise shrink the drawings to dots, and break intervals in two lines."""
    result = make_evaluation({"plain": NO * 20 + YES * 20, "a long name " * 20: YES * 40})
    page = result._repr_html_()
    assert page.count('style="min-width:') == 2
    assert re.search(r"white-space:nowrap[^>]*>[^<]*35\.2 to 64\.8 %", page)


def test_a_long_id_is_shortened_in_a_table():
    result = make_evaluation({"plain": [False]})
    result.cells[0].id = "word " * 100
    assert max(map(len, repr(result.failures()).splitlines())) < 120
