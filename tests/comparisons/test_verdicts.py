"""Votes, and how models stand after them."""

from gatewayx_nb.comparisons.verdicts import Ranking, Verdict, rank


def test_a_verdict_means_something_for_each_column():
    """Better for one is worse for the others; the other votes are for all."""
    assert [Verdict("better", 1).of(column) for column in range(3)] == ["worse", "better", "worse"]
    assert [Verdict("tie").of(column) for column in range(2)] == ["tie", "tie"]


def test_votes_add_up_and_the_best_is_first():
    """A tie is half a win; where all are bad nobody wins or loses."""
    judged = [
        (("a", "b"), Verdict("better", 1)),
        (("a", "b"), Verdict("better", 1)),
        (("a", "b"), Verdict("tie")),
        (("a", "b"), Verdict("bad")),
    ]

    assert rank(judged) == [
        Ranking("b", wins=2, ties=1, bad=1),
        Ranking("a", losses=2, ties=1, bad=1),
    ]
    assert [one.win_rate for one in rank(judged)] == [2.5 / 3, 0.5 / 3]


def test_a_model_does_not_lose_against_itself():
    """Asked twice beside another, it has one win."""
    assert rank([(("a", "a", "b"), Verdict("better", 1))]) == [
        Ranking("a", wins=1),
        Ranking("b", losses=1),
    ]


def test_without_a_decision_there_is_no_rate():
    """It is not 0."""
    assert rank([(("a",), Verdict("bad"))])[0].win_rate is None
    assert rank([]) == []
