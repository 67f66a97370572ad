"""Votes, and the scores of models."""

from gatewayx_nb.comparisons.verdicts import ModelScore, Verdict, rank


def test_a_verdict_applies_to_each_column():
    """A vote for one column is a loss for the other columns; a tie applies to all columns."""
    assert [Verdict("better", 1).for_column(column) for column in range(3)] == [
        "worse",
        "better",
        "worse",
    ]
    assert [Verdict("tie").for_column(column) for column in range(2)] == ["tie", "tie"]


def test_models_are_ranked_by_win_rate():
    """Models are sorted by win rate: a tie counts half a win, and "all bad" does not count."""
    votes = [
        (("a", "b"), Verdict("better", 1)),
        (("a", "b"), Verdict("better", 1)),
        (("a", "b"), Verdict("tie")),
        (("a", "b"), Verdict("bad")),
    ]

    assert rank(votes) == [
        ModelScore("b", wins=2, ties=1, bad=1),
        ModelScore("a", losses=2, ties=1, bad=1),
    ]
    assert [score.win_rate for score in rank(votes)] == [2.5 / 3, 0.5 / 3]


def test_a_model_does_not_lose_against_itself():
    """Columns of the same model do not count against each other."""
    assert rank([(("a", "a", "b"), Verdict("better", 1))]) == [
        ModelScore("a", wins=1),
        ModelScore("b", losses=1),
    ]


def test_without_a_decision_there_is_no_win_rate():
    """Without a decided vote the win rate is unknown, not 0."""
    assert rank([(("a",), Verdict("bad"))])[0].win_rate is None
    assert rank([]) == []
