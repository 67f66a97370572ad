"""Saving results to files."""

import re
from pathlib import Path

import pytest

from gatewayx_nb.comparisons import Comparison, ComparisonHistory, ComparisonRecord
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.replies import Reply
from gatewayx_nb.widgets.saving import KINDS, free, save


@pytest.fixture
def journal():
    """Return a journal with one answer."""
    kept = ComparisonHistory()
    kept.keep(ComparisonRecord(1, Comparison("é?", ("mock",), (Reply("è", "mock", "m"),))))
    return kept


def test_the_ending_tells_the_form(journal):
    """The suffix selects the format; text is written as UTF-8."""
    for name, holds in (("a.csv", "run,prompt"), ("a.jsonl", '"text": "è"'), ("a.md", "> é?")):
        assert holds in save(journal, name).read_text("utf-8")


def test_no_file_is_written_over(journal):
    """An existing file is not overwritten: the next unused name has a number."""
    assert free("comparison", ".csv") == Path("comparison.csv")
    save(journal, "comparison.csv")
    assert free("comparison", ".csv") == Path("comparison-2.csv")
    with pytest.raises(ConfigError, match="is there already"):
        save(journal, "comparison.csv")


@pytest.mark.parametrize("ending", KINDS)
def test_half_of_a_surrogate_pair_is_no_hindrance(ending):
    """A lone surrogate, which is valid in JSON but not in UTF-8, can be saved."""
    kept = ComparisonHistory()
    kept.keep(ComparisonRecord(1, Comparison("?", ("mock",), (Reply("a\ud800b", "mock", "m"),))))
    assert re.search("a[?\N{REPLACEMENT CHARACTER}]b", save(kept, f"a{ending}").read_text("utf-8"))


def test_what_cannot_be_written_is_said(journal):
    """An unknown suffix, a missing folder or an empty journal raises an error."""
    with pytest.raises(UsageError, match=r"none of the endings \.csv \(CSV\)"):
        save(journal, "a.xlsx")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        save(journal, "nowhere/a.csv")
    with pytest.raises(UsageError, match="no results yet"):
        save(ComparisonHistory(), "a.csv")
