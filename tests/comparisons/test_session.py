"""Runs, votes and hidden names of a contest, without widgets."""

import random

import pytest

from gatewayx_nb.comparisons import Verdict
from gatewayx_nb.comparisons.session import ComparisonInput, ComparisonSession
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import Secret
from gatewayx_nb.testing import CHAT, ScriptedEngine, Send, Server, Stall, chunk, stream_head
from tests.widgets.waiting import until


@pytest.fixture
def contest():
    """Yield a contest on a pool with `mock` and one scripted engine."""
    with EnginePool(env={}, engines=[ScriptedEngine(["a"], ["b"], ["c"])]) as pool:
        yield ComparisonSession(
            lambda: pool, lambda: {"city": "Rome", "key": Secret("k-1")}, random.Random(3)
        )


def ended(contest, question):
    """Run a contest to its end and keep its record."""
    contest.run(question)
    while not contest.join(1):
        pass
    contest.settle()
    return contest


def texts(contest):
    """Return the answers of the last run, a list for each row."""
    return [[reply.text for reply in one.comparison] for one in contest.comparisons]


def test_a_run_asks_all_and_is_kept(contest):
    """A run fills in notebook names, except keys, sends the prompt to all models and is kept."""
    ended(contest, ComparisonInput("In {{city}}?", ("mock", "scripted")))
    assert texts(contest) == [["[mock] In Rome?", "a"]]
    assert [record.run for record in contest.history.records] == [1]
    with pytest.raises(UsageError, match="key"):
        contest.run(ComparisonInput("{{key}}", ("mock",)))


def test_a_run_that_follows_at_once_loses_nothing_of_the_last(contest):
    """A new run keeps the record of the previous one, even if it was not kept explicitly."""
    contest.run(ComparisonInput("one", ("mock",)))
    assert contest.join(10)
    ended(contest, ComparisonInput("two", ("mock",)))
    assert [record.comparison.prompt for record in contest.history.records] == ["one", "two"]


def test_inputs_are_rows_and_samples_are_columns(contest):
    """Inputs are rows and samples are columns; fields in an input are not filled in."""
    ended(contest, ComparisonInput("Is {{input}}?", ("mock",), inputs=("a", "{{city}}"), samples=2))
    assert texts(contest) == [["[mock] Is a?"] * 2, ["[mock] Is {{city}}?"] * 2]
    assert [(record.row, record.input) for record in contest.history.records] == [
        (0, "a"),
        (1, "{{city}}"),
    ]
    assert contest.label(0, 1) == "mock (2)"


@pytest.mark.parametrize(
    ("question", "says"),
    [
        (ComparisonInput(" ", ("mock",)), "no prompt"),
        (ComparisonInput("x", ()), "no model"),
        (ComparisonInput("x", ("mock",), inputs=("a",)), "no {{input}}"),
        (ComparisonInput("{{input}}", ("mock",) * 4, inputs=("a",) * 16), "64 times; at most 60"),
        (ComparisonInput("{{nowhere}}", ("mock",)), "nowhere"),
        (ComparisonInput("x", ("mock",), {"temperature": -1}), "temperature"),
    ],
    ids=["empty", "nobody", "no place", "too many", "undefined", "bad option"],
)
def test_what_cannot_be_asked_is_refused_and_nothing_is_sent(contest, question, says):
    """An invalid run raises an error, sends nothing and leaves the last run unchanged."""
    ended(contest, ComparisonInput("x", ("mock",)))
    with pytest.raises(UsageError, match=says):
        contest.run(question)
    assert texts(contest) == [["[mock] x"]]
    assert contest.number == 1


def test_one_column_is_stopped_and_its_socket_closes_while_the_others_go_on(project):
    """A stopped column keeps its partial answer and closes its socket; others go on.

    It can be retried.
    """
    begun = [Send(stream_head()), *(Send(chunk(event)) for event in CHAT.events[:2]), Stall()]
    with Server(begun, begun, CHAT.answer) as server:
        project.set_keys(f"GATEWAYX_OWN_API_KEY=k-12345\nGATEWAYX_OWN_BASE_URL={server.url}\n")
        with project.pool() as pool:
            contest = ComparisonSession(lambda: pool)
            contest.run(ComparisonInput("x", ("own:m", "own:m")))
            first, second = contest.comparisons[0].columns
            until(lambda: all(column.partial.has_begun for column in (first, second)))
            first.stop()
            until(lambda: server.open == 1)
            assert (first.outcome.interrupted, second.outcome) == (True, None)
            with pytest.raises(UsageError, match="has not ended"):
                contest.run(ComparisonInput("y", ("own:m",)))
            contest.retry(0, 0)
            until(lambda: contest.comparisons[0].columns[0].outcome is not None)
            assert not contest.comparisons[0].columns[0].outcome.interrupted
            contest.stop()
            assert contest.join(10)
            assert second.outcome.interrupted


def test_a_vote_is_given_changed_and_taken_back(contest):
    """A vote can be set, changed and removed; its note stays when it changes."""
    ended(contest, ComparisonInput("x", ("mock", "mock:other")))
    contest.judge(0, "better", 1)
    contest.remark(0, "shorter")
    contest.judge(0, "tie")
    assert contest.record(0).verdict == Verdict("tie", None, "shorter")
    contest.judge(0, "tie")
    assert contest.record(0).verdict is None
    contest.remark(0, "nothing to note it of")
    assert contest.record(0).verdict is None


def test_there_is_no_vote_before_the_end(contest):
    """Voting raises an error before the first run and before its end."""
    with pytest.raises(UsageError, match="have not ended"):
        contest.judge(0, "tie")


def test_a_row_that_has_ended_is_judged_while_others_run():
    """A finished row can be voted on while others run, and its votes are counted."""
    with EnginePool(env={}, engines=[ScriptedEngine(["a"], [60.0])]) as pool:
        contest = ComparisonSession(lambda: pool)
        contest.run(ComparisonInput("{{input}}", ("scripted",), inputs=("a", "b")))
        until(lambda: contest.comparisons[0].ended)
        contest.judge(0, "tie")
        with pytest.raises(UsageError, match="have not ended"):
            contest.judge(1, "tie")
        contest.stop()
        contest.settle()
        assert [record.verdict for record in contest.history.records] == [Verdict("tie"), None]


def test_hidden_names_are_mixed_and_told_after_the_vote(contest):
    """Hidden names are shuffled and revealed after the vote, which then cannot be removed."""
    references = tuple(f"mock:{name}" for name in "abcdef")
    ended(contest, ComparisonInput("x", references, hidden=True))
    order = [column.reference for column in contest.comparisons[0].columns]
    assert order != list(references)
    assert sorted(order) == list(references)
    assert [contest.label(0, place) for place in range(2)] == ["Model A", "Model B"]
    contest.judge(0, "better", 2)
    assert contest.label(0, 2) == order[2]
    contest.judge(0, "better", 2)
    assert not contest.is_hidden(0)
    assert contest.history.rankings()[0].reference == order[2]
