"""DataFrames made of replies."""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import pydantic
import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.replies import Reply


@dataclass
class City:
    """A dataclass."""

    name: str
    people: int


class Point(NamedTuple):
    """A NamedTuple."""

    x: int
    y: int


class Model(pydantic.BaseModel):
    """A pydantic model."""

    a: int


class Struct(msgspec.Struct):
    """A msgspec Struct."""

    a: int


@pytest.mark.parametrize(
    ("parsed", "rows"),
    [
        ([City("Rome", 3), City("Milan", 1)], [("Rome", 3), ("Milan", 1)]),
        (City("Rome", 3), [("Rome", 3)]),
        ([{"a": 1, "b": 2}], [(1, 2)]),
        ({"a": 1, "b": [2]}, [(1, [2])]),
        (Point(1, 2), [(1, 2)]),
        ((Point(1, 2), Point(3, 4)), [(1, 2), (3, 4)]),
        ([Model(a=1)], [(1,)]),
        (Struct(1), [(1,)]),
        (5, [(5,)]),
        ("positive", [("positive",)]),
        (["a", "b"], [("a",), ("b",)]),
        ([], []),
    ],
)
def test_a_parsed_reply_is_a_frame(parsed, rows):
    """A list becomes a row for each item; any other value becomes one row."""
    frame = Reply("x", "e", "m", parsed=parsed).to_frame()

    assert list(frame.itertuples(index=False, name=None)) == rows


def test_a_value_without_names_is_in_the_column_value():
    """The columns are the fields of the values; a value without fields is in the column `value`."""
    assert list(Reply("x", "e", "m", parsed=[City("Rome", 3)]).to_frame()) == ["name", "people"]
    assert list(Reply("x", "e", "m", parsed=5).to_frame()) == ["value"]


def test_without_a_schema_the_json_in_the_text_is_used():
    """A reply without a schema is parsed; prose is an error."""
    assert Reply('Here: [{"a": 1}]', "e", "m").to_frame().to_dict("records") == [{"a": 1}]
    with pytest.raises(UsageError, match="must contain JSON"):
        Reply("prose", "e", "m").to_frame()


def test_without_pandas_the_error_has_the_install_command(monkeypatch):
    """Without pandas, `to_frame` raises an error with the install command."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="needs pandas"):
        Reply("5", "e", "m", parsed=5).to_frame()


def test_an_answer_whose_objects_have_no_common_names_is_refused():
    """The cells would take the square of the memory of the answer."""
    objects = [{f"a{number}": 1} for number in range(4_000)]

    with pytest.raises(UsageError, match="4,000 rows with 4,000 different names"):
        Reply("", "e", "m", parsed=objects).to_frame()


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2', '{"a": 1}\n{"a": "x', "[1, fal"])
def test_an_answer_that_was_cut_is_reported(text):
    """The rows before the cut are not taken for the whole answer."""
    reply = Reply(text, engine="mock", model="m", finish_reason="length")

    with pytest.raises(UsageError, match="the answer was truncated before its JSON ended"):
        reply.to_frame()


def test_an_answer_that_was_cut_after_its_json_is_read():
    """An answer that was truncated in the prose after its JSON is read."""
    reply = Reply('See [1]: {"a": 1} and', engine="mock", model="m", finish_reason="length")

    assert reply.to_frame().to_dict("records") == [{"a": 1}]
