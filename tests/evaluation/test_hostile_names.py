"""Names and files of a stranger: what is shown, saved and read back."""

import json
import re

import pytest

import gatewayx_nb as gx
from gatewayx_nb import EnginePool
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.testing import ScriptedEngine
from gatewayx_nb.widgets.evaluation_widget import EvaluationView
from tests.canary import KEY, leaks

EVIL = "a\x1b[31m\x1b]0;title\x07b\r\n\u202e\ud800<script>"
CLEAN = "ab \ufffd<script>"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def evaluate(rows=("x", "y"), answers=(), prompts=None, scorers=(), **options):
    """Evaluate with scripted answers."""
    engine = ScriptedEngine(*([answer] for answer in answers))
    with EnginePool(env={"GATEWAYX_GROK_API_KEY": KEY}, engines=[engine]) as pool:
        return gx.evaluate(
            list(rows),
            prompts or {EVIL: "{{input}}", "second": "Say {{input}}"},
            "scripted",
            scorers,
            pool=pool,
            progress=False,
            **options,
        )


def shown(result):
    """Return everything that an evaluation shows as text."""
    texts = [repr(result), *result.conclusions(), *(row.text for row in result.versus())]
    with pytest.raises(AssertionError) as failed:
        result.check(at_least={result.scores[0]: 1}, variant=result.variant_names[0])
    view = EvaluationView(result)
    try:
        boxes = [*view._rows.options, *view._score.options]
        controls = [(column._good_button.tooltip,) for column in view._columns]
        texts += [str(label) for label, *_ in (*boxes, *controls)]
    finally:
        view.close()
    return [*texts, str(failed.value)]


@pytest.fixture
def hostile():
    """Return an evaluation in which each name and each answer has control characters."""

    def score(text):
        return {EVIL: False}

    rows = [{EVIL: EVIL, "input": EVIL, "id": f"{number}{EVIL}"} for number in range(2)]
    return evaluate(rows, [EVIL] * 4, scorers=score, id="id", name=EVIL)


def test_a_name_is_one_line_without_control_characters(hostile):
    """The names come from notebooks, rows and answers, and are shown in terminals."""
    assert hostile.variant_names == [CLEAN, "second"]
    assert hostile.scores == [CLEAN]
    for text in shown(hostile):
        assert not CONTROLS.search(text)


def test_names_that_no_file_can_hold_are_saved_and_loaded(hostile, tmp_path):
    """Lone surrogates have no UTF-8."""
    hostile.save_baseline(tmp_path / "base.json")
    hostile.check(no_worse_than=tmp_path / "base.json")
    assert hostile.to_frame()["variant"].tolist() == [CLEAN, "second"] * 2
    for suffix in ("json", "csv", "md"):
        content = hostile.save(tmp_path / f"result.{suffix}").read_text("utf-8")
        assert suffix == "csv" or "\x1b" not in content
    loaded = gx.load_evaluation(tmp_path / "result.json")
    assert loaded.variant_names == hostile.variant_names


def test_two_names_that_look_the_same_are_refused():
    """Their answers would be counted as those of one variant."""
    with pytest.raises(UsageError, match="two variants have the same name"):
        evaluate(prompts={"a": "{{input}}", "a\x1b[0m": "Say {{input}}"})


def test_a_scorer_needs_a_visible_name():
    with pytest.raises(UsageError, match="the name of a scorer must be a str"):
        evaluate(scorers={"\x1b[0m": lambda text: True})


def test_a_judge_that_is_named_like_a_key_does_not_show_it(tmp_path):
    """The name is masked in the scores, and in the sentence about the questions."""
    answer = json.dumps({"reason": KEY, "verdict": "yes"})
    judge = gx.judge("Is it good?", "scripted", name=KEY)
    result = evaluate(["x"], ["a", answer], prompts="{{input}}", scorers=judge)
    path = result.save(tmp_path / "result.json")
    assert result.judges[0].score == result.scores[0]
    for text in (repr(result), result._repr_html_(), path.read_text("utf-8")):
        assert not leaks(text)


@pytest.fixture
def saved(tmp_path):
    """Return a function that changes the content of a saved evaluation, and returns its path."""
    result = evaluate(["x"], ["a", "b"], scorers=never)

    def change(edit):
        path = result.save(tmp_path / "result.json")
        content = json.loads(path.read_text("utf-8"))
        edit(content)
        path.write_text(json.dumps(content), "utf-8")
        return path

    return change


def never(text):
    """Return a score."""
    return False


def test_the_names_in_a_file_are_cleaned(saved):
    """Anybody may have written it."""

    def rename(content):
        evil = EVIL.replace("\ud800", "\ufffd")  # JSON has no lone surrogates
        content["variants"][0]["name"] = evil
        content["notes"] = content["preferences"] = [evil]
        content["cells"][0]["scores"] = {evil: {"value": False, "reason": evil}}

    loaded = gx.load_evaluation(saved(rename))
    assert loaded.variant_names == [CLEAN, "second"]
    for text in shown(loaded):
        assert not CONTROLS.search(text)


def test_two_variants_of_a_file_must_differ(saved):
    def rename(content):
        content["variants"][0]["name"] = "second\x1b[0m"

    with pytest.raises(ConfigError, match="two variants have the same name"):
        gx.load_evaluation(saved(rename))


def test_a_file_with_very_many_scores_is_refused(saved):
    """For each of them, all cells are read: 10 MB would take minutes."""

    def add(content):
        content["cells"][0]["scores"] = {str(number): {"value": 1} for number in range(1_000)}

    with pytest.raises(ConfigError, match="1,001 different scores, but at most 1,000"):
        gx.load_evaluation(saved(add))


def test_rows_without_common_columns_do_not_become_a_table(monkeypatch, tmp_path):
    """A file of 10 MB would take all memory."""
    monkeypatch.setattr("gatewayx_nb.tabulation._MAX_CELLS", 100)
    rows = [{"input": "x", f"column {number}": 1} for number in range(50)]
    result = evaluate(rows, ["a"] * 50, prompts="{{input}}", scorers=never)
    for use in (result.to_frame, lambda: result.save(tmp_path / "result.csv")):
        with pytest.raises(UsageError, match="50 rows with 51 different names"):
            use()
    result.save(tmp_path / "result.json")
