from dataclasses import dataclass
from typing import Literal, TypedDict

import pydantic
import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.schema import ResponseSchema


@dataclass
class City:
    """A dataclass with a default, which the answer may omit."""

    name: str
    people: int
    kind: Literal["capital", "town"] = "town"


class Country(TypedDict):
    """A TypedDict that contains another type."""

    cities: list[City]


class Model(pydantic.BaseModel):
    """A pydantic model, which has its own schema."""

    name: str


def test_a_dict_is_the_schema_and_its_answer_is_json():
    """A dict is the schema, unchanged, and its answer is parsed as JSON."""
    schema = ResponseSchema({"type": "array"})

    assert schema.schema == {"type": "array"}
    assert schema.parse("[1]") == [1]


def test_a_dataclass_provides_its_schema_and_parses_the_answer():
    """The schema of a dataclass is closed, as strict modes need.

    Fields without a default are required, and the answer becomes an instance.
    """
    schema = ResponseSchema(City)

    assert schema.schema["properties"]["people"] == {"type": "integer"}
    assert (schema.schema["type"], schema.schema["required"]) == ("object", ["name", "people"])
    assert schema.schema["additionalProperties"] is False
    assert schema.parse('{"name": "Rome", "people": 3}') == City("Rome", 3)


def test_types_may_be_nested():
    """Nested types are references, which every provider accepts."""
    schema = ResponseSchema(Country)

    assert schema.schema["properties"]["cities"]["items"] == {"$ref": "#/$defs/City"}
    assert schema.schema["$defs"]["City"]["additionalProperties"] is False
    assert schema.parse('{"cities": [{"name": "Rome", "people": 3}]}') == {
        "cities": [City("Rome", 3)]
    }
    assert ResponseSchema(list[int]).parse("[1, 2]") == [1, 2]


def test_a_pydantic_model_makes_its_own_schema():
    """A pydantic model creates its own schema and validates the answer."""
    schema = ResponseSchema(Model)

    assert schema.schema["required"] == ["name"]
    assert schema.parse('{"name": "x"}') == Model(name="x")
    with pytest.raises(ValueError, match="name"):
        schema.parse("{}")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '```json\n{"a": 1}\n```',
        'Here it is:\n```\n{"a": 1}\n```\nAnything else?',
        'The answer is {"a": 1}, I think.',
        '  \n{"a": 1}\n',
    ],
)
def test_fences_and_prose_are_ignored(text):
    """Fences and prose around JSON, which models add anyway, are ignored."""
    assert ResponseSchema({}).parse(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", "no json", "{", "```\nno\n```", "[" * 100_000])
def test_invalid_json_is_a_value_error(text):
    """Text that is not JSON raises ValueError; the caller retries or reports it."""
    with pytest.raises(ValueError, match="no JSON"):
        ResponseSchema({}).parse(text)


@pytest.mark.parametrize("text", ['{"name": 1, "people": 3}', '{"name": "x"}', "[1]"])
def test_json_that_does_not_fit_the_type_is_a_value_error(text):
    """A wrong type, a missing field or another schema raises ValueError."""
    with pytest.raises(ValueError, match=r"Expected|missing"):
        ResponseSchema(City).parse(text)


@pytest.mark.parametrize("source", [3, "x", object(), None.__class__.__class__])
def test_an_invalid_schema_is_refused(source):
    """An invalid schema raises an error that lists the valid kinds."""
    with pytest.raises(UsageError, match=r"must be a JSON Schema dict, .*a dataclass.*, got "):
        ResponseSchema(source)
