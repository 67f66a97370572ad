"""Saving results to files, and the code for a cell that repeats a run."""

import re
from pathlib import Path

import pytest

from gatewayx_nb.comparisons import (
    FILE_FORMATS,
    Comparison,
    ComparisonRecord,
    ComparisonRequest,
    save_history,
    unused_path,
)
from gatewayx_nb.comparisons.export import to_code
from gatewayx_nb.comparisons.history import ComparisonHistory
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.replies import Reply

CASES = {
    "plain": (ComparisonRequest("", ("mock", "mock:other")), ["Why?\n'Because' \\ {x} {{y}}"]),
    "options": (
        ComparisonRequest("", ("mock",), {"temperature": 0.5, "stop": "END"}, samples=3),
        ["Why?"],
    ),
    "inputs": (
        ComparisonRequest("", ("mock", "mock"), inputs=("a", "it's")),
        ["Is a?", 'Is "it\'s"?'],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_generated_cell_sends_the_same_prompts(name):
    """The generated cell runs and sends the prompts of the original run to the same models."""
    request, prompts = CASES[name]
    lines = to_code(request, prompts).splitlines()
    namespace = {}
    exec("\n".join(lines[:-1]), namespace)
    comparisons = namespace.get("comparisons") or [namespace["comparison"]]

    assert [comparison.prompt for comparison in comparisons] == prompts
    assert all(
        comparison.references == request.references * request.samples for comparison in comparisons
    )
    assert [reply.text for comparison in comparisons for reply in comparison.replies] == [
        f"[mock] {prompt}" for prompt in prompts for _ in comparisons[0]
    ]


def test_the_generated_cell_has_options_and_images():
    """The cell has images by variable or file name; an image without either is a placeholder."""
    options = {"seed": 1, "images": [Path("dog.png"), b"x"]}
    request = ComparisonRequest("", ("mock",), options, {"cat.png": Image("image/png", b"x")})
    code = to_code(request, ["x"], ['plots["a"]'])
    assert "    seed=1,\n    images=[plots[\"a\"], 'dog.png', ..., 'cat.png'],\n" in code
    assert "\n# Put the uploaded files beside the notebook: 'cat.png'\ncomparison = " in code
    compile(code, "cell", "exec")


def test_a_class_is_written_by_name_and_other_values_as_placeholders():
    """In the cell, a schema class is written by name.

    A value that cannot be written as Python is a placeholder.
    """
    request = ComparisonRequest(
        "", ("mock",), {"schema": ComparisonRequest, "params": {"at": object()}}
    )
    assert "    schema=ComparisonRequest,\n    params=...,\n" in to_code(request, ["x"])


@pytest.fixture
def history():
    """Return a history with one reply."""
    history = ComparisonHistory()
    history.add(ComparisonRecord(1, Comparison("é?", ("mock",), (Reply("è", "mock", "m"),))))
    return history


def test_the_suffix_selects_the_format(history):
    """The suffix selects the format; text is written as UTF-8."""
    for name, expected_text in (
        ("a.csv", "run,prompt"),
        ("a.jsonl", '"text": "è"'),
        ("a.md", "> é?"),
    ):
        assert expected_text in save_history(history, name).read_text("utf-8")


def test_no_file_is_overwritten(history):
    """An existing file is not overwritten; the next unused name has a number."""
    assert unused_path("comparison", ".csv") == Path("comparison.csv")
    save_history(history, "comparison.csv")
    assert unused_path("comparison", ".csv") == Path("comparison-2.csv")
    with pytest.raises(ConfigError, match="already exists"):
        save_history(history, "comparison.csv")


@pytest.mark.parametrize("suffix", FILE_FORMATS)
def test_a_lone_surrogate_can_be_saved(suffix):
    """A lone surrogate, which is valid in JSON but not in UTF-8, can be saved."""
    history = ComparisonHistory()
    history.add(ComparisonRecord(1, Comparison("?", ("mock",), (Reply("a\ud800b", "mock", "m"),))))
    assert re.search(
        "a[?\N{REPLACEMENT CHARACTER}]b", save_history(history, f"a{suffix}").read_text("utf-8")
    )


def test_a_failed_save_raises_an_error(history):
    """An unknown suffix, a missing folder or an empty history raises an error."""
    with pytest.raises(UsageError, match=r"must end in one of \.csv \(CSV\), .*, got 'a\.xlsx'"):
        save_history(history, "a.xlsx")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        save_history(history, "missing/a.csv")
    with pytest.raises(UsageError, match="There are no results yet"):
        save_history(ComparisonHistory(), "a.csv")
