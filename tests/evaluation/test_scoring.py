import dataclasses
import decimal
import enum
import functools
import threading

import numpy as np
import pandas as pd
import pytest

from gatewayx_nb.evaluation import evaluate
from gatewayx_nb.evaluation.grid_cell import EvaluatedRows, GridCell, Score, Variant
from gatewayx_nb.evaluation.scoring import Scoring, read_scorers

VARIANT = Variant("plain", "plain", "mock")


def scored(*scorers, count=1, expected=None, inputs=None):
    """Return cells with the answers ``answer 0``, ``answer 1`` …, after the scorers have run."""
    inputs = inputs or tuple({"text": f"text {position}"} for position in range(count))
    rows = EvaluatedRows(inputs, tuple(range(len(inputs))), expected)
    cells = [
        GridCell(
            position, position, VARIANT, prompt="prompt", answer=f"answer {position}", model="m"
        )
        for position in range(len(inputs))
    ]
    read = scorers[0] if scorers and isinstance(scorers[0], dict) else list(scorers)
    scoring = Scoring(read_scorers(read), rows)
    scoring.run(cells)
    scoring.finish(cells)
    return cells


def returning(value):
    return {"score": lambda text: value}


class Color(enum.Enum):
    """An enum, whose value is the label."""

    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, Score(value=True)),
        (np.bool_(0), Score(value=False)),
        (3, Score(3.0)),
        (np.float64(0.5), Score(0.5)),
        (decimal.Decimal("1.5"), Score(1.5)),
        ("good", Score("good")),
        (Color.RED, Score("red")),
        ((False, "too long"), Score(value=False, reason="too long")),
        ((True, None), Score(value=True)),
    ],
    ids=repr,
)
def test_a_scorer_returns_a_bool_a_number_or_a_label(value, expected):
    (cell,) = scored(returning(value))
    assert cell.scores == {"score": expected}
    assert type(cell.scores["score"].value) is type(expected.value)


def test_none_means_that_the_score_does_not_apply():
    assert scored(returning(None))[0].scores == {}
    assert scored(returning((None, "no label")))[0].scores == {}
    assert scored(returning({"a": None, "b": 1}))[0].scores == {"b": Score(1.0)}


def test_a_dict_has_several_scores():
    (cell,) = scored(returning({"short": True, "tone": ("kind", "says please")}))
    assert cell.scores == {"short": Score(value=True), "tone": Score("kind", "says please")}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "returned nan"),
        (float("inf"), "returned inf"),
        ("  ", "empty label"),
        (pd.DataFrame([1]), "returned a DataFrame"),
        ([True], "returned a list"),
        (1j, "returned a complex"),
        ((True, 3), "the reason must be a str"),
        ({3: True}, "a dict with the key 3"),
        (10**400, "int too large"),
        (-1e99, "must be below 1e+99"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.strip() else type(value).__name__,
)
def test_any_other_value_is_an_error_of_the_cell(value, problem):
    (cell,) = scored(returning(value))
    assert cell.scores["score"].value is None
    assert problem in cell.scores["score"].error


def test_a_failed_assertion_is_false_and_any_other_exception_an_error():
    def is_seven(text):
        assert text == "7", "it is not seven"
        return True

    def broken(text):
        return 1 / 0

    def leaving(text):
        raise SystemExit(3)

    (cell,) = scored(is_seven, broken, leaving)
    assert cell.scores["is_seven"].value is False
    assert cell.scores["is_seven"].reason.startswith("it is not seven")
    assert cell.scores["broken"].error.startswith("ZeroDivisionError: division by zero (line ")
    assert cell.scores["leaving"].error.startswith("SystemExit: 3")


def test_a_scorer_that_only_asserts_is_true_where_no_assertion_fails():
    def ends_with_one(text):
        assert text.endswith("1")

    cells = scored(ends_with_one, count=2)
    assert [cell.scores["ends_with_one"].value for cell in cells] == [False, True]


def test_a_scorer_that_asserts_and_returns_its_score_may_still_not_apply():
    def is_one(text):
        assert text
        return None if text.endswith("0") else text.endswith("1")

    cells = scored(is_one, count=3)
    assert [cell.scores.get("is_one", Score()).value for cell in cells] == [None, True, False]


def test_errors_count_for_each_score_of_the_scorer():
    """A scorer of two scores that fails on a row has an error in both."""

    def both(text):
        if text.endswith("1"):
            raise ValueError("odd")
        return {"short": True, "kind": False}

    cells = scored(both, count=3)
    assert set(cells[1].scores) == {"short", "kind"}
    assert all("ValueError: odd" in score.error for score in cells[1].scores.values())


def test_two_scorers_may_return_the_same_key():
    def first(text):
        return {"score": 1}

    def second(text):
        return {"score": 2}

    (cell,) = scored(first, second)
    assert cell.scores == {"score": Score(1.0), "second.score": Score(2.0)}


def test_a_scorer_names_what_it_wants():
    seen = {}

    def everything(reply, text, parsed, row, expected, prompt, variant):  # noqa: PLR0913, PLR0917
        seen.update(locals())
        return True

    scored(everything, expected=("yes",))
    assert seen["text"] == "answer 0"
    assert seen["row"].text == seen["row"]["text"] == "text 0"
    assert (seen["expected"], seen["prompt"], str(seen["variant"])) == ("yes", "prompt", "plain")


def test_what_a_scorer_changes_has_no_effect():
    """The row, the expected answer and the answer are the scorer's own copies."""

    def changing(row, expected):
        row["text"] = "changed"
        row["tags"].append("changed")
        expected.clear()
        return True

    def unchanged(row, expected):
        return row == {"text": "text", "tags": ["a"]} and expected == ["yes"]

    inputs = ({"text": "text", "tags": ["a"]},)
    (cell,) = scored(changing, unchanged, inputs=inputs, expected=(["yes"],))
    assert cell.scores["unchanged"].value is True
    assert inputs == ({"text": "text", "tags": ["a"]},)


def test_labels_among_numbers_are_errors():
    def mixed(text):
        return "none" if text.endswith("1") else 3

    cells = scored(mixed, count=3)
    assert [cell.scores["mixed"].value for cell in cells] == [3.0, None, 3.0]
    assert "most are numbers" in cells[1].scores["mixed"].error


def test_a_coroutine_of_a_plain_function_is_an_error():
    async def later():
        return True

    (cell,) = scored({"score": lambda text: later()})
    assert "async def" in cell.scores["score"].error


def test_stop_ends_the_scoring_and_keeps_the_scores():
    def stopping(text):
        if text.endswith("2"):
            raise KeyboardInterrupt
        return True

    cells = scored(stopping, count=4)
    assert [bool(cell.scores) for cell in cells] == [True, True, False, False]


def test_an_answer_that_failed_is_not_scored(pool, engine):
    engine.errors["1+1"] = ValueError("broken")
    calls = []

    def count(text):
        calls.append(text)
        return True

    evaluate(["1+1", "2+2"], "{{input}}", "solver", count, pool=pool)
    assert calls == ["4"]


class UnreadableError(ValueError):
    """An exception whose text cannot be read."""

    def __str__(self):
        raise RuntimeError("no text")


def test_an_exception_without_a_text_is_an_error_of_the_cell():
    def scorer(text):
        raise UnreadableError

    (cell,) = scored({"score": scorer})
    assert cell.scores["score"].error.startswith("UnreadableError (line ")


def require_even(number):
    assert number % 2 == 0, f"{number} is odd"


class Even:
    """A scorer that is an object."""

    def __call__(self, text):
        require_even(int(text[-1]))


@pytest.mark.parametrize("scorer", [lambda text: require_even(int(text[-1])), Even()])
def test_an_assertion_in_a_function_that_is_called_counts_as_the_scorers(scorer):
    found = [cell.scores["even"] for cell in scored({"even": scorer}, count=3)]
    assert [score.value for score in found] == [True, False, True]
    assert found[1].reason.startswith("1 is odd")


def test_a_scorer_that_is_an_object_or_partial_may_only_assert():
    class Short:
        """A scorer that never fails."""

        def __call__(self, text, limit=9):
            assert len(text) < limit

    for scorer in (Short(), functools.partial(Short().__call__, limit=10)):
        assert scored({"short": scorer})[0].scores == {"short": Score(value=True)}


def test_a_scorer_that_never_returns_a_value_is_named(pool, sums):
    """A forgotten ``return`` shows."""

    def is_short(text):
        len(text) < 3  # noqa: B015 - forgotten

    result = evaluate(sums, "{{sum}}", "solver", is_short, pool=pool)
    assert result.notes == ("is_short has returned no value for any answer.",)


def test_what_cannot_be_copied_is_passed_as_it_is(pool):
    rows = [{"sum": "1+1", "lock": {"a": threading.Lock()}}]
    result = evaluate(rows, "{{sum}}", "solver", {"ok": lambda row: "lock" in row}, pool=pool)
    assert result.cells[0].scores["ok"].value is True


@dataclasses.dataclass
class Note:
    """A value of a row that may be changed."""

    text: str


def test_a_change_in_any_object_of_a_row_has_no_effect(pool):
    def changing(row):
        row.note.text = "changed"
        row.pair[0].append(1)
        return True

    rows = [{"sum": "1+1", "note": Note("as it was"), "pair": ([], 1)}]
    seeing = {"changing": changing, "seen": lambda row: (True, f"{row.note.text} {row.pair}")}
    result = evaluate(rows, "{{sum}}", "solver", seeing, pool=pool)
    assert result.cells[0].scores["seen"].reason == "as it was ([], 1)"


def test_a_name_in_lower_is_better_must_be_a_score(pool, sums):
    scorers = {"length": lambda text: len(text)}  # noqa: PLW0108 - a parameter of this name
    result = evaluate(sums, "{{sum}}", "solver", scorers, lower_is_better="lengths", pool=pool)
    expected = "lower_is_better names 'lengths', which is not a score. Did you mean 'length'?"
    assert result.notes == (expected,)
