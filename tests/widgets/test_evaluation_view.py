import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation import Score, matching_rows
from tests.evaluation.conftest import make_evaluation

ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture
def evaluation():
    """Return an evaluation of twelve rows, with a failure, a difference and an error."""
    return make_evaluation(
        {
            "plain": [False, True, ValueError("It broke."), *[True] * 9],
            "long": [False, False, *[True] * 10],
        },
        seconds=1.0,
    )


@pytest.fixture
def view(evaluation):
    view = gx.evaluation_view(evaluation)
    yield view
    view.close()


def labels(view):
    return [position for _, position in view._rows.options]


def columns(view):
    return [column for column in view._columns if column.box in view._grid.children]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("all", 12), ("failed", [0, 1, 2]), ("differing", [1, 2]), ("errors", [2])],
)
def test_rows_are_found_by_kind(evaluation, kind, expected):
    found = matching_rows(evaluation, kind)
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_rows_are_found_by_score_and_text(evaluation):
    evaluation.cells[0].scores["other"] = Score(value=False)
    assert matching_rows(evaluation, "failed", "other") == [0, 2]
    assert matching_rows(evaluation, text="TEXT 11") == [11]
    assert matching_rows(evaluation, text="it broke") == [2]


def test_numbers_count_as_different_only_if_chosen():
    evaluation = make_evaluation({"plain": [1.0, 2.0], "long": [1.5, 2.0]})
    assert matching_rows(evaluation, "differing") == []
    assert matching_rows(evaluation, "differing", "score") == [0]


def test_the_first_row_is_open_and_a_filter_opens_its_first(view):
    assert view.position == 0
    view._row_kind.value = "differing"
    assert labels(view) == [1, 2]
    assert view.position == 1
    assert "2 rows" in view._count.value
    view._search.value = "no such text"
    assert view.position is None
    assert columns(view) == []


def test_previous_and_next_stop_at_the_ends(view):
    view._move(-1)
    assert view.position == 0
    view._move(1)
    assert view.position == 1
    for _ in range(20):
        view._move(1)
    assert view.position == 11


def test_a_row_shows_each_variant_with_its_scores(view):
    view._rows.value = 2
    plain, long = columns(view)
    assert "It broke." in plain._body.value
    assert plain._good_button.layout.display == "none"
    assert "answer" in long._body.value
    assert "<strong>score</strong> yes" in long._scores.value
    assert "text 2" in view._inputs.value


def test_differences_are_marked(view):
    view.evaluation.cells[0].answer = "the answer is 7"
    view.evaluation.cells[12].answer = "the answer is 8"
    view._mode.value = "differences"
    assert "<mark" in columns(view)[0]._body.value
    view._mode.value = "raw"
    assert "<mark" not in columns(view)[0]._body.value


def test_a_vote_is_a_score_of_the_evaluation(view):
    good = columns(view)[0]._good_button
    good.click()
    assert good.button_style == "success"
    assert view.evaluation.cells[0].scores["vote"] == Score(value=True)
    assert ("vote", "vote") in view._score.options
    assert "vote" in view._summary.value
    columns(view)[1]._bad_button.click()
    assert view.evaluation.agreement("score", "vote").n == 2
    good.click()  # a second press removes the vote
    assert "vote" not in view.evaluation.cells[0].scores
    assert good.button_style == ""


def test_nothing_of_an_answer_is_active():
    evaluation = make_evaluation({ATTACK: [Score(value=False, reason=ATTACK)] * 12}, answer=ATTACK)
    evaluation.rows.inputs[0][ATTACK] = ATTACK
    evaluation.cells[1].error = ATTACK
    view = gx.evaluation_view(evaluation)
    pages = [view._summary.value, view._inputs.value, view.static_output()["text/html"]]
    for mode in ("rendered", "raw", "differences"):
        view._mode.value = mode
        pages += [part.value for each in columns(view) for part in (each._body, each._scores)]
    view._rows.value = 1
    pages += [part.value for each in columns(view) for part in (each._head, each._body)]
    view.close()
    assert not [page for page in pages if "<script" in page or "<img" in page]


def test_the_saved_notebook_shows_the_summary_and_the_failures(view):
    bundle = view.static_output()
    assert "gatewayx-twin" in bundle["text/html"]
    assert "First failures" in bundle["text/html"]
    assert "It broke." in bundle["text/html"]
    assert bundle["text/plain"].startswith("12 rows, 2 variants")


def test_only_an_evaluation_has_a_view():
    with pytest.raises(UsageError, match="load_evaluation"):
        gx.evaluation_view("result.json")
