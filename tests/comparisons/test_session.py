"""Runs, votes and hidden names of a comparison session, without widgets."""

import random

import pytest

from gatewayx_nb.comparisons import ComparisonRequest, ComparisonSession
from gatewayx_nb.comparisons.verdicts import Verdict
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import Secret
from gatewayx_nb.testing import CHAT, ScriptedEngine, Send, Server, Stall, chunk, stream_head
from tests.widgets.waiting import wait_until


@pytest.fixture
def session():
    """Yield a session on a pool with `mock` and one scripted engine."""
    with EnginePool(env={}, engines=[ScriptedEngine(["a"], ["b"], ["c"])]) as pool:
        yield ComparisonSession(
            lambda: pool, lambda: {"city": "Rome", "key": Secret("k-1")}, random.Random(3)
        )


def run_to_end(session, request):
    """Run a request to its end, record it, and return the session."""
    session.run(request)
    while not session.join(1):
        pass
    session.record_finished()
    return session


def texts(session):
    """Return the answers of the last run, as a list for each row."""
    return [[reply.text for reply in row.comparison] for row in session.comparisons]


def test_a_run_calls_all_models_and_is_recorded(session):
    """A run fills in notebook variables except keys, calls all models and is recorded."""
    run_to_end(session, ComparisonRequest("In {{city}}?", ("mock", "scripted")))
    assert texts(session) == [["[mock] In Rome?", "a"]]
    assert [record.run for record in session.history.records] == [1]
    with pytest.raises(UsageError, match="key"):
        session.run(ComparisonRequest("{{key}}", ("mock",)))


def test_an_immediate_second_run_keeps_the_results_of_the_first(session):
    """A new run records the previous one, even if that was not recorded explicitly."""
    session.run(ComparisonRequest("one", ("mock",)))
    assert session.join(10)
    run_to_end(session, ComparisonRequest("two", ("mock",)))
    assert [record.comparison.prompt for record in session.history.records] == ["one", "two"]


def test_inputs_are_rows_and_samples_are_columns(session):
    """Inputs are rows and samples are columns; placeholders in an input are not filled in."""
    run_to_end(
        session, ComparisonRequest("Is {{input}}?", ("mock",), inputs=("a", "{{city}}"), samples=2)
    )
    assert texts(session) == [["[mock] Is a?"] * 2, ["[mock] Is {{city}}?"] * 2]
    assert [(record.row, record.input) for record in session.history.records] == [
        (0, "a"),
        (1, "{{city}}"),
    ]
    assert session.label(0, 1) == "mock (2)"


@pytest.mark.parametrize(
    ("comparison_request", "message"),
    [
        (ComparisonRequest(" ", ("mock",)), "prompt is empty"),
        (ComparisonRequest("x", ()), "No model is selected"),
        (ComparisonRequest("x", ("mock",), inputs=("a",)), "does not contain {{input}}"),
        (
            ComparisonRequest("{{input}}", ("mock",) * 4, inputs=("a",) * 16),
            "at most 60 replies, got 64",
        ),
        (ComparisonRequest("{{nowhere}}", ("mock",)), "nowhere"),
        (ComparisonRequest("x", ("mock",), {"temperature": -1}), "temperature"),
    ],
    ids=["empty", "no model", "no placeholder", "too many", "undefined", "bad option"],
)
def test_an_invalid_request_is_refused_before_anything_is_sent(
    session, comparison_request, message
):
    """An invalid run raises an error, sends nothing and leaves the last run unchanged."""
    run_to_end(session, ComparisonRequest("x", ("mock",)))
    with pytest.raises(UsageError, match=message):
        session.run(comparison_request)
    assert texts(session) == [["[mock] x"]]
    assert session.run_number == 1


def test_stopping_a_column_does_not_affect_others(project):
    """A stopped column keeps its partial answer and closes its socket; other columns continue.

    The stopped column can be retried.
    """
    partial_answer = [
        Send(stream_head()),
        *(Send(chunk(event)) for event in CHAT.events[:2]),
        Stall(),
    ]
    with Server(partial_answer, partial_answer, CHAT.answer) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY=k-12345\nGATEWAYX_OWN_BASE_URL={server.url}\n")
        with project.pool() as pool:
            session = ComparisonSession(lambda: pool)
            session.run(ComparisonRequest("x", ("own:m", "own:m")))
            first_column, second_column = session.comparisons[0].columns
            wait_until(
                lambda: all(column.partial.has_begun for column in (first_column, second_column))
            )
            first_column.stop()
            wait_until(lambda: server.open == 1)
            assert (first_column.outcome.interrupted, second_column.outcome) == (True, None)
            with pytest.raises(UsageError, match="has not finished"):
                session.run(ComparisonRequest("y", ("own:m",)))
            session.retry(0, 0)
            wait_until(lambda: session.comparisons[0].columns[0].outcome is not None)
            assert not session.comparisons[0].columns[0].outcome.interrupted
            session.stop()
            assert session.join(10)
            assert second_column.outcome.interrupted


def test_a_vote_can_be_changed_and_withdrawn(session):
    """A vote can be set, changed and withdrawn; its note is kept when it changes."""
    run_to_end(session, ComparisonRequest("x", ("mock", "mock:other")))
    session.vote(0, "better", 1)
    session.set_note(0, "shorter")
    session.vote(0, "tie")
    assert session.record(0).verdict == Verdict("tie", None, "shorter")
    session.vote(0, "tie")
    assert session.record(0).verdict is None
    session.set_note(0, "a note without a vote")
    assert session.record(0).verdict is None


def test_voting_before_the_end_raises(session):
    """Voting before a run has ended raises an error."""
    with pytest.raises(UsageError, match="have not finished"):
        session.vote(0, "tie")


def test_a_finished_row_can_be_voted_on_while_others_run():
    """A finished row can be voted on while other rows run."""
    with EnginePool(env={}, engines=[ScriptedEngine(["a"], [60.0])]) as pool:
        session = ComparisonSession(lambda: pool)
        session.run(ComparisonRequest("{{input}}", ("scripted",), inputs=("a", "b")))
        wait_until(lambda: session.comparisons[0].ended)
        session.vote(0, "tie")
        with pytest.raises(UsageError, match="have not finished"):
            session.vote(1, "tie")
        session.stop()
        session.record_finished()
        assert [record.verdict for record in session.history.records] == [Verdict("tie"), None]


def test_hidden_names_are_shuffled_and_revealed_after_the_vote(session):
    """Hidden names are shuffled and revealed after the vote, which then cannot be withdrawn."""
    references = tuple(f"mock:{name}" for name in "abcdef")
    run_to_end(session, ComparisonRequest("x", references, blind=True))
    order = [column.reference for column in session.comparisons[0].columns]
    assert order != list(references)
    assert sorted(order) == list(references)
    assert [session.label(0, index) for index in range(2)] == ["Model A", "Model B"]
    session.vote(0, "better", 2)
    assert session.label(0, 2) == order[2]
    session.vote(0, "better", 2)
    assert not session.is_hidden(0)
    assert session.history.rankings()[0].reference == order[2]
