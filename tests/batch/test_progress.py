"""The progress of a map, in words, in a terminal and in a log."""

from __future__ import annotations

import io
import re
import sys
import time
from dataclasses import dataclass
from decimal import Decimal

import pandas as pd
import pytest

from gatewayx_nb.batch import LogView, MapFigures, TerminalBar, default_view, duration
from gatewayx_nb.errors import AuthenticationError, ContentFilterError, ProviderError


@dataclass
class Used:
    """The usage of a run."""

    cost: Decimal = Decimal(0)
    unpriced: int = 0


def figures(total=None, **values):
    """Return the figures of a map that has ended after two seconds."""
    made = MapFigures("tickets", total, usage=Used(), **values)
    made.started, made.ended, made.state = 0.0, 2.0, "done"
    return made


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"total": 1, "answered": 1}, "1 row answered, $0, 2.0 s."),
        ({"total": 2, "answered": 2}, "2 rows answered, $0, 2.0 s."),
        ({"total": 0}, "0 rows answered, $0, 2.0 s."),
        ({"answered": 1}, "1 row answered, $0, 2.0 s."),
        ({"total": 1, "asked": 1}, "0 of 1 row answered, $0, 2.0 s."),
        (
            {"total": 20_000, "answered": 19_000},
            "19,000 of 20,000 rows answered, $0, 2.0 s.",
        ),
        (
            {"total": 3, "answered": 3, "asked": 2, "repeated": 1},
            "3 rows answered (2 asked, 1 equal to another row), $0, 2.0 s.",
        ),
        (
            {"total": 3, "answered": 3, "asked": 3, "replayed": 3},
            "3 rows answered (3 replayed), $0.",
        ),
        (
            {"total": 3, "answered": 3, "asked": 3, "replayed": 2},
            "3 rows answered (2 replayed, 1 asked), $0, 2.0 s.",
        ),
        (
            {"total": 3, "answered": 3, "asked": 2, "replayed": 2, "repeated": 1},
            "3 rows answered (2 replayed, 1 equal to another row), $0.",
        ),
        (
            {"total": 3, "answered": 3, "asked": 1, "reused": 2, "reused_since": (0.0, 0.0)},
            "3 rows answered (2 from 1 January 1970, 1 asked), $0, 2.0 s.",
        ),
    ],
)
def test_a_summary_says_where_the_answers_come_from(values, line):
    assert figures(**values).summary_lines() == [line]


def test_today_is_called_today():
    now = time.time()
    made = figures(1, answered=1, reused=1, reused_since=(now, now))

    assert made.summary_lines() == ["1 row answered (1 from today, 0 asked), $0, 2.0 s."]


def test_a_stopped_map_says_how_to_continue():
    made = figures(3, answered=1)
    made.state, made.problem = "stopped", "The results cannot be stored."

    assert made.summary_lines()[1:] == [
        "Stopped. Run it again to ask about the missing rows.",
        "The results cannot be stored.",
    ]


def test_three_errors_are_shown_in_full_and_all_by_class():
    made = figures(9)
    for position in (7, 5, 1, 2, 3):
        made.add_error(position, ContentFilterError(f"no \x1b[31m{position}"))
    made.add_error(8, ProviderError("oops"))

    assert made.error_lines() == [
        "Row 1: ContentFilterError: no 1",
        "Row 5: ContentFilterError: no 5",
        "Row 7: ContentFilterError: no 7",
        "Errors: 5 ContentFilterError, 1 ProviderError.",
    ]


def test_the_error_that_is_raised_is_not_shown_twice():
    error = AuthenticationError("the key is wrong")
    made = figures(9)
    for position in range(5):
        made.add_error(position, error)
    made.failure = error.with_appended_text(" All 5 rows failed.")

    assert made.error_lines() == []


@pytest.mark.parametrize(
    ("cost", "unpriced", "text"),
    [
        ("0", 0, "$0"),
        ("0.0482853", 0, "$0.0483"),
        ("0.00000123", 0, "$0.00000123"),
        ("12.345", 0, "$12.34"),
        ("0", 3, "3 unpriced"),
        ("1", 3, "$1 + 3 unpriced"),
    ],
)
def test_the_cost_is_rounded_and_unknown_prices_are_named(cost, unpriced, text):
    made = figures()
    made.usage = Used(Decimal(cost), unpriced)

    assert made.cost_text() == text


def test_a_line_names_what_matters_first():
    made = figures(10, answered=5, failed=1, in_flight=3, rate_limited=1, bound_by="concurrency")

    assert re.sub(r"[\d.]+ rows/s", "R", re.sub(r"\d[^,]* left", "L", made.progress_line())) == (
        "6 of 10 rows, L, R, $0, 1 failed, 429s: 1, 3 in flight, bound by concurrency"
    )
    assert figures(1).progress_line().startswith("0 of 1 row, 0.0 rows/s")
    assert figures(answered=1).progress_line().startswith("1 row, ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (12, "12 s"), (185, "3 min 5 s"), (7_800, "2 h 10 min")],
)
def test_durations_are_rounded(seconds, text):
    assert duration(seconds) == text


def test_a_log_has_a_line_a_minute_and_a_summary(capsys):
    now = [0.0]
    view, made = LogView(lambda: now[0]), figures(2, answered=1)
    made.name = "tick\x1b[31mets\n"
    for now[0] in (1.0, 59.0, 61.0, 62.0, 122.0):
        view.show(made)
    made.answered = 2
    view.close(made)

    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "tickets: 1 of 2 rows",
        "tickets: 1 of 2 rows",
        "tickets: 2 rows answered",
    ]


class Terminal(io.StringIO):
    """A terminal that keeps what is written."""

    def isatty(self):
        return True


def test_a_terminal_has_a_bar_that_becomes_the_summary(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    view = default_view()
    assert isinstance(view, TerminalBar)

    made = figures(10, answered=5, in_flight=2)
    view.show(made)
    made.answered = 10
    view.close(made)

    *frames, last = terminal.getvalue().split("\r")
    assert any("tickets: 5 of 10 rows" in frame for frame in frames)
    assert last == "tickets: 10 rows answered, $0, 2.0 s.\n"


def test_an_unknown_total_is_no_problem_in_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    view = TerminalBar()
    view.show(figures(answered=5))
    view.close(figures(answered=6))

    assert "tickets: 5 rows" in terminal.getvalue()
    assert terminal.getvalue().endswith("tickets: 6 rows answered, $0, 2.0 s.\n")


def test_outside_a_terminal_nothing_is_shown_but_the_summary(pool, capsys):
    pool.map(pd.DataFrame({"text": ["a"]}), "{{text}}", "counting", name="letters")

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert output.err.startswith("letters: 1 row answered, 1 unpriced")


def test_without_progress_nothing_is_shown(pool, capsys):
    pool.map(["a"], "{{input}}", "counting", progress=False)

    assert capsys.readouterr() == ("", "")


def test_a_replay_is_shown_once_and_the_same_each_time(pool, project, capsys):
    """The output of a replay depends neither on its speed nor on the engines of the machine."""
    path = project.root / "tape.jsonl"
    with pool.cassette(path):
        pool.map(["a", "b", "a"], "{{input}}", "counting", progress=False)
    with project.pool() as other, other.cassette(path, mode="replay"):
        for _ in range(2):
            other.map(["a", "b", "a"], "{{input}}", "counting")

    first, second = capsys.readouterr().err.splitlines()
    assert first == second
    assert re.fullmatch(
        r"map-\w{6}: 3 rows answered \(2 replayed, 1 equal to another row\), \$0\.", first
    )
