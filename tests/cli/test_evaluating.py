"""`gatewayx eval`: prompts, scorers, checks and files."""

import json

import pytest

ROWS = "sum,result\n" + "".join(f"{number}+{number},{2 * number}\n" for number in range(12))
ADDS = """
    async def generate(self, prompt, **kwargs):
        total = sum(map(int, prompt.split()[-1].split("+")))
        return str(total + (total % 4 == 2 and "wrong" in prompt))
"""
LINE = ("eval", "in.csv", "--model", "adds", "--expected", "result")


@pytest.fixture(autouse=True)
def rows(project):
    """Write a file with twelve rows, and an engine that adds."""
    (project.root / "in.csv").write_text(ROWS)
    project.engine("adds", body=ADDS)
    return project.root


def test_a_prompt_is_scored(run):
    result = run(*LINE, "--prompt", "{{sum}}", "--scorer", "equals")
    assert result.status == 0
    assert "12 rows, 1 variant" in result.out
    assert "100.0 %" in result.out


def test_several_prompts_and_models_are_compared(run):
    prompts = ("--prompt", "right={{sum}}", "--prompt", "bad one=wrong: {{sum}}")
    result = run(*LINE, *prompts, "--model", "mock", "--scorer", "equals", "--scorer", "latency")
    assert result.status == 0
    assert "12 rows, 4 variants" in result.out
    assert "bad one, adds" in result.out


def test_one_prompt_may_have_a_name(run):
    result = run(*LINE, "--prompt", "first={{sum}}", "--scorer", "equals")
    assert (result.status, "100.0 %" in result.out) == (0, True)
    assert "first" in result.out
    verbatim = run(*LINE, "--prompt", "2 = 2, {{sum}}", "--scorer", "equals")
    assert "100.0 %" in verbatim.out


def test_nothing_is_asked_again(run):
    run(*LINE, "--prompt", "{{sum}}", "--scorer", "equals")
    again = run(*LINE, "--prompt", "{{sum}}", "--scorer", "equals", "--scorer", "matches=\\d")
    assert "0 asked" in again.err
    assert "matches" in again.out


def test_a_check_that_fails_is_a_line_and_the_status(run):
    line = (*LINE, "--prompt", "wrong {{sum}}", "--scorer", "equals")
    assert run(*line, "--at-least", "equals=0.5").status == 0
    result = run(*line, "--at-least", "equals=0.9", "-q")
    assert result.status == 1
    assert result.err == "gatewayx: equals is 50.0 %, expected at least 90.0 %.\n"
    assert run(*line, "--at-most", "latency=60").status == 0


def test_a_baseline_is_written_and_compared(run, rows):
    line = (*LINE, "--scorer", "equals", "--id", "sum")
    first = run(*line, "--prompt", "{{sum}}", "--save-baseline", "base.json", "-q")
    assert (first.status, first.err) == (0, "")
    assert "0+0" in json.loads((rows / "base.json").read_text())["rows"]
    worse = run(*line, "--prompt", "wrong {{sum}}", "--no-worse-than", "base.json", "-q")
    assert worse.status == 1
    assert "worse than the baseline" in worse.err
    margin = ("--no-worse-than", "base.json", "--margin", "0.9")
    assert run(*line, "--prompt", "wrong {{sum}}", *margin).status == 0


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.md"])
def test_the_evaluation_is_written(run, rows, name):
    assert run(*LINE, "--prompt", "{{sum}}", "--scorer", "equals", "--save", name).status == 0
    assert (rows / name).stat().st_size > 100


def test_a_judge_is_asked(run, project):
    project.engine("judge", says='{"reason": "It is.", "verdict": "yes"}')
    judge = ("--judge", "Is it right?", "--judge-model", "judge")
    result = run(*LINE, "--prompt", "{{sum}}", *judge)
    assert "judge asked judge 12 questions" in result.out


def test_an_answer_that_failed_is_the_status(run, rows):
    (rows / "in.csv").write_text(ROWS + "oops,1\n")
    result = run(*LINE, "--prompt", "{{sum}}", "--scorer", "equals", "-q")
    assert result.status == 1
    assert result.err == "gatewayx: 1 of 13 answers failed.\n"


def test_a_cassette_is_recorded_and_replayed(run, project, monkeypatch):
    line = (*LINE, "--prompt", "{{sum}}", "--scorer", "equals", "--cassette", "eval.jsonl")
    assert run(*line).status == 0
    (project.engines / "adds_engine.py").unlink()
    monkeypatch.setenv("CI", "true")
    assert "100.0 %" in run(*line).out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("eval",), "needs IN"),
        (("eval", "in.csv"), "needs `--prompt TEXT`"),
        (("eval", "in.csv", "more.csv", "--prompt", "x"), "takes one file"),
        (("eval", "no.csv", "--prompt", "{{sum}}"), "does not exist"),
        ((*LINE, "--prompt", "a", "--prompt", "b"), "need names"),
        ((*LINE, "--prompt", "a=a", "--prompt", "a=b"), "have the name 'a'"),
        ((*LINE, "--prompt", "{{sum}}", "--scorer", "equal"), "Did you mean 'equals'"),
        ((*LINE, "--prompt", "{{sum}}", "--scorer", "fits"), "needs `--schema FILE`"),
        ((*LINE, "--prompt", "{{sum}}", "--scorer", "cost=1"), "takes no value"),
        ((*LINE, "--prompt", "{{sum}}", "--scorer", "number=x"), "needs a number"),
        ((*LINE, "--prompt", "{{sum}}", "--scorer", "one_of"), "choice"),
        ((*LINE, "--prompt", "{{sum}}", "--at-least", "0.9"), "must be SCORE=X"),
        ((*LINE, "--prompt", "{{sum}}", "--at-most", "equals=x"), "needs a number"),
        ((*LINE, "--prompt", "{{sum}}", "--margin", "0.1"), "no effect"),
        ((*LINE, "--prompt", "{{sum}}", "--judge-model", "mock"), "no effect"),
        ((*LINE, "--prompt", "{{smu}}"), "'smu'"),
        ((*LINE, "--prompt", "{{sum}}", "--samples", "0"), "samples"),
        ((*LINE, "--prompt", "{{sum}}", "--save", "out.xlsx"), ".json, .csv or .md"),
        ((*LINE, "--prompt", "{{sum}}", "--save", "no/out.csv"), "there is no folder 'no'"),
        (
            (*LINE, "--prompt", "{{sum}}", "--save-baseline", "none/b.json"),
            "there is no folder 'none'",
        ),
    ],
    ids=lambda value: None if isinstance(value, tuple) else value,
)
def test_a_bad_line_is_one_line_and_status_two(run, words, problem):
    result = run(*words)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert problem in result.err


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (
            ("--at-least", "equal=0.9"),
            "this evaluation has no score 'equal'",
            "The scores are equals",
        ),
        (("--at-most", "latncy=2"), "this evaluation has no score 'latncy'", "'latency'"),
        (("--no-worse-than", "none.json"), "none.json' does not exist", "--save-baseline FILE"),
        (("--no-worse-than", "in.csv"), "is not a baseline", "--save-baseline FILE"),
    ],
    ids=["minimum", "maximum", "missing baseline", "no baseline"],
)
def test_checks_that_cannot_be_made_are_found_before_anything_is_sent(run, words, problem, hint):
    """A misspelt score or a missing baseline does not cost the answers."""
    line = (*LINE, "--prompt", "{{sum}}", "--scorer", "equals")
    result = run(*line, *words)
    assert result.status in {2, 3}
    assert problem in result.err
    assert hint in result.err
    assert "`result." not in result.err
    assert "reused" not in run(*line).err


def test_hints_about_a_baseline_name_options(run):
    """The command line has no `result` and no parameter."""
    line = ("eval", "in.csv", "--model", "adds", "--scorer", "latency", "--scorer", "matches=.")
    run(*line, "--prompt", "{{sum}}", "--save-baseline", "base.json")
    result = run(
        *line[:-2], "--scorer", "contains=1", "--prompt", "{{sum}}", "--no-worse-than", "base.json"
    )
    assert "rite the baseline with `--save-baseline FILE`" in result.err
