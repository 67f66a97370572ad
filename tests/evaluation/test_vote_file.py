"""`Evaluation.use_votes`: votes that a later run reads from a file."""

import json

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ConfigError

from .conftest import make_evaluation


@pytest.fixture
def path(tmp_path):
    return tmp_path / "votes.json"


def votes(evaluation):
    return {
        (cell.id, cell.variant.name): cell.scores["vote"].value
        for cell in evaluation.cells
        if "vote" in cell.scores
    }


def make():
    return make_evaluation({"plain": [True] * 12, "long": [True, False] * 6})


def test_a_later_run_has_the_votes(path):
    """Votes are written at once, and removed votes are removed from the file."""
    first = make()
    assert first.use_votes(path) == 0
    assert not path.exists()
    first.vote(0, "plain", value=True)
    first.vote(1, "long", "too long")
    first.vote(2, "long", value=False)
    first.vote(2, "long", None)
    later = make()
    assert later.use_votes(path) == 2
    assert votes(later) == {(0, "plain"): True, (1, "long"): "too long"}
    assert later.agreement("score", "vote").n == 2


def test_a_vote_does_not_apply_to_another_answer(path):
    """It stays in the file, for a run in which the answer is the same."""
    first = make()
    first.use_votes(path)
    first.vote(0, "plain", value=True)
    changed = make()
    changed.cells[0].answer = "Another answer"
    assert changed.use_votes(path) == 0
    changed.vote(1, "plain", value=False)
    assert votes(changed) == {(1, "plain"): False}
    again = make()
    assert again.use_votes(path) == 2


def test_votes_of_a_loaded_evaluation_are_written(path, tmp_path):
    """Votes that were saved with the evaluation move into the file."""
    first = make()
    first.vote(0, "plain", value=True)
    loaded = gx.load_evaluation(first.save(tmp_path / "saved.json"))
    assert loaded.use_votes(path) == 0
    assert make().use_votes(path) == 1


def test_the_file_holds_no_answer_and_no_prompt(path):
    evaluation = make()
    evaluation.use_votes(path)
    cell = evaluation.cells[0]
    cell.answer, cell.prompt = "secret answer", "secret prompt"
    evaluation.vote(0, "plain", value=True)
    assert "secret" not in path.read_text()


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "{}", "nonsense", '{"format": 2, "votes": []}', '{"format": 1, "votes": 3}'),
        '{"format": 1, "votes": [{"row": 1}]}',
        "[" * 100_000,
    ],
)
def test_another_file_is_refused_and_kept(path, content):
    path.write_text(content)
    evaluation = make()
    with pytest.raises(ConfigError, match="is not a file of votes"):
        evaluation.use_votes(path)
    evaluation.vote(0, "plain", value=True)
    assert path.read_text() == content


def test_lone_surrogates_are_replaced(path):
    """An answer and a label may contain what UTF-8 cannot encode."""
    evaluation = make()
    evaluation.cells[0].answer = "\ud800"
    evaluation.use_votes(path)
    evaluation.vote(0, "plain", "\udfff")
    assert json.loads(path.read_text())["votes"][0]["vote"] == "\ufffd"


def test_the_view_shows_why_a_vote_cannot_be_written(path):
    """The vote is set, and the next one that can be written clears the message."""
    evaluation = make()
    evaluation.use_votes(path)
    path.mkdir()
    view = gx.evaluation_view(evaluation)
    view._vote(evaluation.cells[0], label=True)
    assert "is not a file of votes" in view._problem.value
    assert str(path) in view._problem.value
    assert votes(evaluation) == {(0, "plain"): True}
    path.rmdir()
    view._vote(evaluation.cells[0], label=None)
    assert view._problem.value == ""
    view.close()
