"""The `usage` and `history` commands."""

import re

import pytest

from gatewayx_nb import commands
from gatewayx_nb.errors import UsageError
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


def test_history_lists_the_last_calls(session):
    """`history` lists the last calls, latest first, and where they are stored."""
    session.pool.ask("hi", model="scripted")
    session.pool.ask("hi", model="mock")

    header, _, *rows, _, note = repr(commands.run(session, "history")).splitlines()
    columns = ["ended", "model", "took", *["tokens", "in"], *["tokens", "out"], "cost", "outcome"]
    assert header.split() == columns
    models_and_outcomes = [(row.split()[2], row.split()[-1]) for row in rows]
    assert models_and_outcomes == [("mock:mock", "ok"), ("scripted:script", "ok")]
    assert rows[1].split()[-4:-1] == ["2", "3", "$0.005"]
    assert rows[1].index("$0.005") == rows[0].index("$0"), "aligned at the decimal point"
    assert note.endswith("store.sqlite: no prompts and no answers.")
    assert len(commands.run(session, "history 1")) == 1


@pytest.mark.parametrize("line", ["history x", "history 1 2", "usage grok"])
def test_invalid_arguments_raise(session, line):
    """Invalid arguments raise a one-line error that names the command for help."""
    with pytest.raises(UsageError, match=r"`gatewayx help (usage|history)` shows its use"):
        commands.run(session, line)
