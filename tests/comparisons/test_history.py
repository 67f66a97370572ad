"""The history of a view's runs: rows, files and report."""

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


def history_of(*records):
    """Return a history of these records."""
    made = ComparisonHistory()
    for record in records or (ComparisonRecord(1, BOTH, {"temperature": 0.5}),):
        made.add(record)
    return made


def test_a_row_has_prompt_options_answer_metrics_and_vote():
    """A row has the prompt, options, answer, metrics and vote, or the error of a failed call."""
    history = history_of()
    history.set_verdict(1, 0, Verdict("better", 0, "short"))
    first, second = history.rows()

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
    """A frame has a row for each answer of all runs."""
    frame = history_of(ComparisonRecord(1, BOTH), ComparisonRecord(2, BOTH, input="x")).to_frame()
    assert list(frame["run"]) == [1, 1, 2, 2]
    assert list(frame["input"])[2:] == ["x", "x"]


def test_csv_and_json_lines_round_trip():
    """CSV and JSON Lines preserve line breaks and quotes."""
    history = history_of()
    assert next(csv.DictReader(io.StringIO(history.to_csv(), newline="")))["text"] == BLUE.text
    lines = [json.loads(line) for line in history.to_jsonl().splitlines()]
    assert [line["text"] for line in lines] == [BLUE.text, None]
    assert (
        ComparisonHistory().to_csv(),
        ComparisonHistory().to_jsonl(),
        ComparisonHistory().to_markdown(),
    ) == ("", "", "")


def test_markdown_reads_as_a_report():
    """The Markdown report contains prompt, options, answers and votes."""
    history = history_of()
    history.set_verdict(1, 0, Verdict("better", 0, "short"))
    assert history.to_markdown() == (
        "## 1\n\n- temperature: 0.5\n\n> Why?\n\n### mock (better)\n\nIt is\nblue, <b>.\n\n"
        "### b (worse)\n\nProviderError: engine 'b' broke.\n\n> short\n"
    )
    assert (
        history_of(ComparisonRecord(2, BOTH, input="x", row=1)).to_markdown().startswith("## 2.2\n")
    )


def test_a_retry_keeps_the_verdict():
    """A retried answer replaces the earlier one and keeps the vote."""
    history = history_of()
    history.set_verdict(1, 0, Verdict("tie"))
    again = replace(BOTH, outcomes=(BLUE, BLUE))
    history.add(ComparisonRecord(1, again))
    assert history.records == [ComparisonRecord(1, again, verdict=Verdict("tie"))]
    assert [row.reference for row in history.rankings()] == ["b", "mock"]


def test_dispersion_measures_the_variation_of_a_models_answers():
    """Dispersion reports minimum, median and maximum of a model's answers.

    It is unknown for a single answer and for unknown tokens.
    """
    slow = replace(BLUE, text="blue", latency=5.0, usage=Usage())
    measured = dispersion(Comparison("?", ("a", "a", "a", "b"), (BLUE, slow, BLUE, BLUE)))
    assert len(measured) == 1
    assert (measured[0].reference, measured[0].answers, measured[0].different) == ("a", 3, 2)
    assert measured[0].latency == (2.0, 2.0, 5.0)
    assert measured[0].output_tokens is None


def test_dispersion_of_failures_has_no_metrics():
    """The dispersion of failed answers has no metrics and counts no answers."""
    (measured,) = dispersion(Comparison("?", ("b", "b"), (FAILED, FAILED)))
    assert (measured.answers, measured.latency) == (0, None)


def test_without_pandas_a_frame_says_what_to_install(monkeypatch):
    """Without pandas the error contains the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(Exception, match="needs pandas"):
        history_of().to_frame()
