"""The history of a comparison view: rows, file formats and the report."""

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal

import pytest

from gatewayx_nb.comparisons import Comparison, ComparisonRecord, dispersion
from gatewayx_nb.comparisons.history import ComparisonHistory
from gatewayx_nb.comparisons.verdicts import Verdict
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.replies import Reply, Usage

REPLY = Reply(
    "It is\nblue, <b>.",
    "mock",
    "m",
    usage=Usage(3, 4),
    cost=Decimal("0.002"),
    latency=2.0,
    time_to_first=0.5,
)
ERROR = ProviderError("engine 'b' broke.", engine="b")
COMPARISON = Comparison("Why?", ("mock", "b"), (REPLY, ERROR))


def make_history(*records):
    """Return a history of these records."""
    history = ComparisonHistory()
    for record in records or (ComparisonRecord(1, COMPARISON, {"temperature": 0.5}),):
        history.add(record)
    return history


def test_a_row_has_prompt_options_answer_metrics_and_vote():
    """A row has the prompt, options, answer, metrics and vote, or the error of a failed call."""
    history = make_history()
    history.set_verdict(1, 0, Verdict("better", 0, "short"))
    reply_row, error_row = history.rows()

    assert {
        name: reply_row[name] for name in ("run", "prompt", "label", "temperature", "seed")
    } == {
        "run": 1,
        "prompt": "Why?",
        "label": "mock",
        "temperature": 0.5,
        "seed": None,
    }
    columns = ("text", "input_tokens", "tokens_per_second", "cost", "vote", "note")
    assert [reply_row[name] for name in columns] == [REPLY.text, 3, 2.0, 0.002, "better", "short"]
    assert [error_row[name] for name in ("text", "error", "vote")] == [
        None,
        "ProviderError: engine 'b' broke.",
        "worse",
    ]


def test_a_dataframe_has_a_row_for_each_answer():
    """A DataFrame has a row for each answer of each run."""
    frame = make_history(
        ComparisonRecord(1, COMPARISON), ComparisonRecord(2, COMPARISON, input="x")
    ).to_frame()
    assert list(frame["run"]) == [1, 1, 2, 2]
    assert list(frame["input"])[2:] == ["x", "x"]


def test_csv_and_json_lines_round_trip():
    """CSV and JSON Lines preserve line breaks and quotes."""
    history = make_history()
    assert next(csv.DictReader(io.StringIO(history.to_csv(), newline="")))["text"] == REPLY.text
    lines = [json.loads(line) for line in history.to_jsonl().splitlines()]
    assert [line["text"] for line in lines] == [REPLY.text, None]
    assert (
        ComparisonHistory().to_csv(),
        ComparisonHistory().to_jsonl(),
        ComparisonHistory().to_markdown(),
    ) == ("", "", "")


def test_markdown_has_prompts_options_answers_and_votes():
    """The Markdown report has a section for each run, with prompt, options, answers and votes."""
    history = make_history()
    history.set_verdict(1, 0, Verdict("better", 0, "short"))
    assert history.to_markdown() == (
        "## 1\n\n- temperature: 0.5\n\n> Why?\n\n### mock (better)\n\nIt is\nblue, &lt;b&gt;.\n\n"
        "### b (worse)\n\nProviderError: engine 'b' broke.\n\n> short\n"
    )
    assert (
        make_history(ComparisonRecord(2, COMPARISON, input="x", row=1))
        .to_markdown()
        .startswith("## 2.2\n")
    )


def test_a_retry_keeps_the_verdict():
    """A retried answer replaces the earlier one and keeps the vote."""
    history = make_history()
    history.set_verdict(1, 0, Verdict("tie"))
    retried = replace(COMPARISON, outcomes=(REPLY, REPLY))
    history.add(ComparisonRecord(1, retried))
    assert history.records == [ComparisonRecord(1, retried, verdict=Verdict("tie"))]
    assert [row.reference for row in history.rankings()] == ["b", "mock"]


def test_dispersion_measures_the_variation_of_a_models_answers():
    """Dispersion has the minimum, median and maximum of a model's answers.

    A model with one answer has no dispersion; the dispersion of unknown tokens is `None`.
    """
    slow = replace(REPLY, text="blue", latency=5.0, usage=Usage())
    dispersions = dispersion(Comparison("?", ("a", "a", "a", "b"), (REPLY, slow, REPLY, REPLY)))
    assert len(dispersions) == 1
    assert (dispersions[0].reference, dispersions[0].answers, dispersions[0].different) == (
        "a",
        3,
        2,
    )
    assert dispersions[0].latency == (2.0, 2.0, 5.0)
    assert dispersions[0].output_tokens is None


def test_dispersion_of_failures_has_no_metrics():
    """The dispersion of failed calls counts no answers, and its metrics are `None`."""
    (model_dispersion,) = dispersion(Comparison("?", ("b", "b"), (ERROR, ERROR)))
    assert (model_dispersion.answers, model_dispersion.latency) == (0, None)


def test_without_pandas_the_error_explains_how_to_install_it(monkeypatch):
    """Without pandas, `to_frame` raises an error about the missing package."""
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(Exception, match="needs pandas"):
        make_history().to_frame()
