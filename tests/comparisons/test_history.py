"""All that was asked in one place, as rows and as text."""

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal

import pytest

from gatewayx_nb.comparisons import (
    Comparison,
    ComparisonHistory,
    ComparisonRecord,
    Verdict,
    dispersion,
)
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.replies import Reply, Usage

BLUE = Reply(
    "It is\nblue, <b>.",
    "mock",
    "m",
    usage=Usage(3, 4),
    cost=Decimal("0.002"),
    latency=2.0,
    time_to_first=0.5,
)
FAILED = ProviderError("engine 'b' broke.", engine="b")
BOTH = Comparison("Why?", ("mock", "b"), (BLUE, FAILED))


def journal(*records):
    """Give a journal of these."""
    made = ComparisonHistory()
    for record in records or (ComparisonRecord(1, BOTH, {"temperature": 0.5}),):
        made.keep(record)
    return made


def test_a_row_holds_question_options_answer_figures_and_vote():
    """Of a failed one the error."""
    kept = journal()
    kept.judge(1, 0, Verdict("better", 0, "short"))
    first, second = kept.rows()

    assert {name: first[name] for name in ("run", "prompt", "label", "temperature", "seed")} == {
        "run": 1,
        "prompt": "Why?",
        "label": "mock",
        "temperature": 0.5,
        "seed": None,
    }
    figures = ("text", "input_tokens", "tokens_per_second", "cost", "vote", "note")
    assert [first[name] for name in figures] == [BLUE.text, 3, 2.0, 0.002, "better", "short"]
    assert [second[name] for name in ("text", "error", "vote")] == [
        None,
        "ProviderError: engine 'b' broke.",
        "worse",
    ]


def test_a_frame_has_a_row_for_each_answer():
    """Of all runs."""
    frame = journal(ComparisonRecord(1, BOTH), ComparisonRecord(2, BOTH, input="x")).to_frame()
    assert list(frame["run"]) == [1, 1, 2, 2]
    assert list(frame["input"])[2:] == ["x", "x"]


def test_csv_and_json_lines_give_back_what_went_in():
    """Line breaks and quotes of an answer too."""
    kept = journal()
    assert next(csv.DictReader(io.StringIO(kept.to_csv(), newline="")))["text"] == BLUE.text
    lines = [json.loads(line) for line in kept.to_jsonl().splitlines()]
    assert [line["text"] for line in lines] == [BLUE.text, None]
    assert (
        ComparisonHistory().to_csv(),
        ComparisonHistory().to_jsonl(),
        ComparisonHistory().to_markdown(),
    ) == ("", "", "")


def test_markdown_reads_as_a_report():
    """Prompt, options, answers and votes."""
    kept = journal()
    kept.judge(1, 0, Verdict("better", 0, "short"))
    assert kept.to_markdown() == (
        "## 1\n\n- temperature: 0.5\n\n> Why?\n\n### mock (better)\n\nIt is\nblue, <b>.\n\n"
        "### b (worse)\n\nProviderError: engine 'b' broke.\n\n> short\n"
    )
    assert journal(ComparisonRecord(2, BOTH, input="x", row=1)).to_markdown().startswith("## 2.2\n")


def test_a_question_that_is_asked_again_keeps_its_verdict():
    """It takes the place of what it was."""
    kept = journal()
    kept.judge(1, 0, Verdict("tie"))
    again = replace(BOTH, outcomes=(BLUE, BLUE))
    kept.keep(ComparisonRecord(1, again))
    assert kept.records == [ComparisonRecord(1, again, verdict=Verdict("tie"))]
    assert [one.reference for one in kept.rankings()] == ["b", "mock"]


def test_spread_tells_how_far_answers_of_a_model_lie_apart():
    """Least, median, most; of one that was asked once nothing, and of unknown tokens nothing."""
    slow = replace(BLUE, text="blue", latency=5.0, usage=Usage())
    found = dispersion(Comparison("?", ("a", "a", "a", "b"), (BLUE, slow, BLUE, BLUE)))
    assert len(found) == 1
    assert (found[0].reference, found[0].answers, found[0].different) == ("a", 3, 2)
    assert found[0].latency == (2.0, 2.0, 5.0)
    assert found[0].output_tokens is None


def test_spread_of_failures_alone_has_no_figures():
    """They are counted as no answers."""
    (found,) = dispersion(Comparison("?", ("b", "b"), (FAILED, FAILED)))
    assert (found.answers, found.latency) == (0, None)


def test_without_pandas_a_frame_says_what_to_install(monkeypatch):
    """As of a comparison."""
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(Exception, match="needs pandas"):
        journal().to_frame()
