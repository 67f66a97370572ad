"""The `usage` and `history` commands."""

import re
from dataclasses import replace

import pytest

from gatewayx_nb import commands
from gatewayx_nb.calls import Table
from gatewayx_nb.errors import AuthenticationError, UsageError
from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.testing import ScriptedEngine


@pytest.fixture
def session(project, session_of):
    """Yield a session of a project with one engine."""
    engine = ScriptedEngine(["a", Chunk(finish_reason="stop", usage=Usage(2, 3))])
    with project.pool(engines=[engine]) as pool:
        yield session_of(pool)


def test_without_calls_the_tables_are_replaced_by_a_sentence(session):
    """Before the first call, `usage` and `history` print a sentence instead of an empty table."""
    assert repr(commands.run(session, "usage")) == "No calls yet."
    assert repr(commands.run(session, "history")) == "No calls yet."


def test_usage_sums_costs(session, project):
    """`usage` sums the costs and shows the budget, or how to set one."""
    for _ in range(2):
        session.pool.ask("hi", model="scripted")

    output = repr(commands.run(session, "usage"))
    assert re.search(r"scripted:script +2 +4 +6 +\$0\.01\n", output)
    assert output.endswith("Total: $0.01\nSet a limit with `[limits] max_cost` in the settings.")
    project.settings("[limits]\nmax_cost = 2.5")
    session.pool.refresh()
    assert repr(commands.run(session, "usage")).endswith("Total: $0.01 of $2.5")


def test_calls_without_token_counts_are_unpriced(session, project):
    """An unknown number of tokens has no cost: neither the tokens nor the cost are shown as 0."""
    project.engine("plain", "an answer")
    session.pool.refresh()
    session.pool.ask("hi", model="plain")

    shown = repr(commands.run(session, "usage"))
    past = repr(commands.run(session, "usage --by engine"))
    latest = repr(commands.run(session, "history"))

    assert re.search(r"plain:plain +1 +\? +\? +1 unpriced\n", shown)
    assert re.search(r"\nplain +1 +\? +\? +1 unpriced\n", past)
    assert re.search(r"plain:plain .* \? +\? +unpriced\n", latest)
    assert "Total: 1 unpriced" in shown
    assert "Total: 1 unpriced" in past
    assert "1 call, 1 unpriced" in repr(commands.run(session, "status"))


def test_a_call_that_failed_before_its_answer_costs_nothing(session):
    """A refused call has used no tokens, so its cost is not missing."""
    with pytest.raises(AuthenticationError):
        session.pool.ask("hi", model="mock", params={"fail": 401})

    assert re.search(r"mock:mock +1 +1 +0 +0 +\$0\n", repr(commands.run(session, "usage")))


def test_history_lists_the_last_calls(session):
    """`history` lists the last calls, latest first, and where they are stored."""
    session.pool.ask("hi", model="scripted")
    session.pool.ask("hi", model="mock")

    header, _, *rows, _, note = repr(commands.run(session, "history")).splitlines()
    columns = ["ended", "model", "took", *["tokens", "in"], *["tokens", "out"], "cost"]
    assert header.split() == columns
    assert ["mock:mock" in rows[0], "scripted:script" in rows[1], len(rows)] == [True, True, 2]
    assert rows[1].split()[-3:] == ["2", "3", "$0.005"]
    assert rows[1].index("$0.005") == rows[0].index("$0"), "aligned at the decimal point"
    assert note.endswith("store.sqlite: no prompts and no answers.")
    assert len(commands.run(session, "history 1")) == 1


def test_history_says_what_is_unusual_about_a_call(session):
    """A failed call has its error as words; a call from another day has its date."""
    with pytest.raises(AuthenticationError):
        session.pool.ask("hi", model="mock", params={"fail": 401})
    (entry,) = session.pool.history()
    old = replace(entry, at=0.0, outcome="interrupted", attempts=3)

    shown = repr(Table([entry, old], session.pool.history().columns)).splitlines()

    assert re.search(r"^\S+ +mock:mock, authentication error +", shown[2])
    assert re.search(r"^19\d\d-\d\d-\d\d \S+ +mock:mock, interrupted, 3 attempts ", shown[3])


def test_usage_over_sessions(session, project):
    """`usage --by` and `--days` show the past calls of all sessions, and where they are stored."""
    with project.pool(engines=[ScriptedEngine(["a"])]) as earlier:
        earlier.ask("hi", model="mock")
    session.pool.ask("hi", model="scripted")

    header, _, *rows, _, total, note = repr(commands.run(session, "usage --by engine")).splitlines()
    assert header.split() == ["engine", "calls", "tokens", "in", "tokens", "out", "cost"]
    assert [row.split()[0] for row in rows] == ["scripted", "mock"]
    assert total == "Total: $0.005"
    assert note.endswith("store.sqlite, including other sessions' calls.")
    (today,) = commands.run(session, "usage --by day --days 1")
    assert (today.by, today.calls) == ("day", 2)
    models = commands.run(session, "usage --days 1")
    assert [row.key for row in models] == ["scripted:script", "mock:mock"]
    assert models.to_frame()["model"].tolist() == ["scripted:script", "mock:mock"]
    assert "single calls" in repr(commands.run(session, "usage --by job"))


def test_without_past_calls_a_sentence_is_shown(session):
    assert repr(commands.run(session, "usage --by day")) == "No calls yet."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("usage --by week", "`--by` must be one of day, engine, model, job, got .week."),
        ("usage --by", "`--by` must be one of day, engine, model, job"),
        ("usage --days x", "`--days` must be a whole number, got .x."),
        ("usage --days 0", "days must be an int from 1 to 36,500, got 0"),
        ("usage --days 1e9", "`--days` must be"),
        ("usage --dasy 1", "Did you mean '?--days"),
    ],
)
def test_invalid_values_of_usage_are_named(session, line, message):
    with pytest.raises(UsageError, match=message):
        commands.run(session, line)


@pytest.mark.parametrize("line", ["history x", "history 1 2", "usage grok"])
def test_invalid_arguments_raise(session, line):
    """Invalid arguments raise a one-line error that names the command for help."""
    with pytest.raises(UsageError, match=r"Run `gatewayx help (usage|history)` for help"):
        commands.run(session, line)


def test_a_long_list_of_totals_says_that_it_is_truncated(session, monkeypatch):
    """A ledger with more jobs than are listed has a note, and the most expensive ones are kept."""
    monkeypatch.setattr("gatewayx_nb.storage.ledger_totals.MAX_GROUPS", 2)
    monkeypatch.setattr("gatewayx_nb.engine_pool.usage.MAX_GROUPS", 2)
    for model in ("mock:a", "mock:b", "scripted"):
        session.pool.ask("hi", model=model)

    listed = commands.run(session, "usage --by model")
    assert [row.key for row in listed] == ["scripted:script", "mock:a"]
    assert "Only 2 rows are shown." in repr(listed)
