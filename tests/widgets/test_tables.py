"""Tables of a view's figures."""

from gatewayx_nb.comparisons import Comparison, Ranking
from gatewayx_nb.replies import Reply, Usage
from gatewayx_nb.widgets import tables


class Asked:
    """A finished round."""

    def __init__(self, given, *references):
        self.input = given
        replies = tuple(Reply("x", "m", "", usage=Usage(1, 5), latency=2.0) for _ in references)
        self.comparison = Comparison("?", references, replies)


def test_a_model_that_was_asked_several_times_has_a_line():
    """A model with several samples has a line with median, minimum and maximum.

    A model with one sample has none.
    """
    shown = tables.spreads([Asked("", "a", "a", "b")])
    assert ">a</td>" in shown
    assert ">2.0 (2.0 to 2.0)</td>" in shown
    assert ">5 (5 to 5)</td>" in shown
    assert ">b</td>" not in shown
    assert tables.spreads([Asked("", "a", "b")]) == ""


def test_several_inputs_are_told_apart():
    """With several inputs the table has a column for the input, escaped."""
    assert ">&lt;i&gt;</td>" in tables.spreads([Asked("<i>", "a", "a"), Asked("y", "a", "a")])
    assert "input" not in tables.spreads([Asked("x", "a", "a")])


def test_standings_have_a_rate_where_there_was_a_decision():
    """Standings show a win rate only after a decided vote, and no table without votes."""
    assert ">75%</td>" in tables.standings([Ranking("a", wins=1, ties=1)])
    assert "%" not in tables.standings([Ranking("a", bad=1)])
    assert tables.standings([]) == ""
