"""Tests for the result tables of the comparison view."""

from gatewayx_nb.comparisons import Comparison, Ranking
from gatewayx_nb.replies import Reply, Usage
from gatewayx_nb.widgets import results


class Finished:
    """A finished comparison."""

    def __init__(self, value, *references):
        self.input = value
        replies = tuple(Reply("x", "m", "", usage=Usage(1, 5), latency=2.0) for _ in references)
        self.comparison = Comparison("?", references, replies)


def test_a_model_with_several_samples_has_a_row():
    """A model with several samples has a line with median, minimum and maximum.

    A model with one sample has none.
    """
    shown = results.dispersion_table([Finished("", "a", "a", "b")])
    assert ">a</td>" in shown
    assert ">2.0 (2.0 to 2.0)</td>" in shown
    assert ">5 (5 to 5)</td>" in shown
    assert ">b</td>" not in shown
    assert results.dispersion_table([Finished("", "a", "b")]) == ""


def test_several_inputs_add_a_column():
    """With several inputs, the table has an input column, whose values are escaped."""
    assert ">&lt;i&gt;</td>" in results.dispersion_table(
        [Finished("<i>", "a", "a"), Finished("y", "a", "a")]
    )
    assert "input" not in results.dispersion_table([Finished("x", "a", "a")])


def test_the_ranking_has_a_win_rate_after_a_decision():
    """The ranking shows a win rate only after a decided vote; without votes, there is no table."""
    assert ">75%</td>" in results.ranking_table([Ranking("a", wins=1, ties=1)])
    assert "%" not in results.ranking_table([Ranking("a", bad=1)])
    assert results.ranking_table([]) == ""
