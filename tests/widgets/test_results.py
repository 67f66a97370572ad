"""The result tables of the comparison view."""

from gatewayx_nb.comparisons import Comparison, ModelScore
from gatewayx_nb.replies import Reply, Usage
from gatewayx_nb.widgets import results


class FakeFinishedComparison:
    """A finished comparison with the attributes that the tables read."""

    def __init__(self, input_value, *references):
        self.input = input_value
        replies = tuple(Reply("x", "m", "", usage=Usage(1, 5), latency=2.0) for _ in references)
        self.comparison = Comparison("?", references, replies)


def test_a_model_with_several_samples_has_a_row():
    """A model with several samples has a row with median, minimum and maximum.

    A model with one sample has none.
    """
    html = results.dispersion_table([FakeFinishedComparison("", "a", "a", "b")])
    assert ">a</td>" in html
    assert ">2.0 (2.0 to 2.0)</td>" in html
    assert ">5 (5 to 5)</td>" in html
    assert ">b</td>" not in html
    assert results.dispersion_table([FakeFinishedComparison("", "a", "b")]) == ""


def test_several_inputs_add_a_column():
    """With several inputs, the table has an input column, whose values are escaped."""
    assert ">&lt;i&gt;</td>" in results.dispersion_table(
        [FakeFinishedComparison("<i>", "a", "a"), FakeFinishedComparison("y", "a", "a")]
    )
    assert "input" not in results.dispersion_table([FakeFinishedComparison("x", "a", "a")])


def test_votes_without_a_good_answer_give_no_win_rate():
    """A win rate needs a win, a loss or a tie; without votes, there is no table."""
    assert ">75%</td>" in results.ranking_table([ModelScore("a", wins=1, ties=1)])
    assert "%" not in results.ranking_table([ModelScore("a", bad=1)])
    assert results.ranking_table([]) == ""
