import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypedDict

import pydantic
import pytest

from gatewayx_nb import json_schema
from gatewayx_nb.errors import UsageError
from gatewayx_nb.schema import ResponseSchema


@dataclass
class City:
    """A dataclass in which one field has a default value."""

    name: str
    people: int
    category: Literal["capital", "town"] = "town"


@dataclass
class Tree:
    """A dataclass that contains itself."""

    parts: "list[Tree]"


class Country(TypedDict):
    """A TypedDict that contains a dataclass."""

    cities: list[City]


class Model(pydantic.BaseModel):
    """A pydantic model."""

    name: str


def test_a_dict_is_used_as_the_schema():
    """A dict is used as the schema unchanged, and the answer is parsed as JSON."""
    schema = ResponseSchema({"type": "array"})

    assert schema.schema == {"type": "array"}
    assert schema.parse("[1]") == [1]


def test_a_dataclass_provides_its_schema_and_parses_the_answer():
    """The schema of a dataclass requires fields without a default and allows no other fields.

    The answer is parsed as an instance.
    """
    schema = ResponseSchema(City)

    assert schema.schema["properties"]["people"] == {"type": "integer"}
    assert (schema.schema["type"], schema.schema["required"]) == ("object", ["name", "people"])
    assert schema.schema["additionalProperties"] is False
    assert schema.parse('{"name": "Rome", "people": 3}') == City("Rome", 3)


def test_types_may_be_nested():
    """The schema of a nested type is a `$ref` into `$defs`."""
    schema = ResponseSchema(Country)

    assert schema.schema["properties"]["cities"]["items"] == {"$ref": "#/$defs/City"}
    assert schema.schema["$defs"]["City"]["additionalProperties"] is False
    assert schema.parse('{"cities": [{"name": "Rome", "people": 3}]}') == {
        "cities": [City("Rome", 3)]
    }
    assert ResponseSchema(list[int]).parse("[1, 2]") == [1, 2]


def test_a_pydantic_model_provides_its_schema_and_parses_the_answer():
    """The schema of a pydantic model is its own, and the model validates the answer."""
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
    """Fences and prose around the JSON of an answer are ignored."""
    assert ResponseSchema({}).parse(text) == {"a": 1}


@pytest.mark.parametrize("text", ["", "no json", "{", "```\nno\n```", "[" * 100_000])
def test_invalid_json_raises_a_value_error(text):
    """Text without JSON raises ValueError."""
    with pytest.raises(ValueError, match="no JSON"):
        ResponseSchema({}).parse(text)


@pytest.mark.parametrize("text", ['{"name": 1, "people": 3}', '{"name": "x"}', "[1]"])
def test_json_of_another_type_raises_a_value_error(text):
    """JSON with a wrong type or a missing field raises ValueError."""
    with pytest.raises(ValueError, match=r"Expected|missing"):
        ResponseSchema(City).parse(text)


@pytest.mark.parametrize("source", [3, "x", object(), None.__class__.__class__])
def test_an_invalid_schema_is_refused(source):
    """An invalid schema raises an error that lists the valid types."""
    with pytest.raises(UsageError, match=r"must be a JSON Schema dict, .*a dataclass.*, got "):
        ResponseSchema(source)


LABELS = Literal["pos", "positive", "Not sure"]


class Plain:
    """A class without annotations."""

    def __init__(self, name):
        self.name = name


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("City", "without quotation marks"),
        ([City], r"Pass `list\[City\]`"),
        (Plain, "Put `@dataclass` above the class"),
        (City("Milan", 1), "Pass the class, `City`"),
        ({"name": "string"}, "a dataclass with the fields"),
        ({"name": str}, "a dataclass with the fields"),
    ],
    ids=["text", "list", "plain class", "object", "dict of strings", "dict of types"],
)
def test_a_value_that_is_almost_a_schema_is_explained(source, advice):
    """For a value that is almost a schema, a one-line error gives advice."""
    with pytest.raises(UsageError, match=advice) as caught:
        ResponseSchema(source)
    assert "https://" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("positive", "positive"),
        ("pos", "pos"),
        ('"positive"', "positive"),
        ("'Positive'", "positive"),
        ("**POSITIVE**.", "positive"),
        ("not sure\n", "Not sure"),
        ('{"answer": "Pos"}', "pos"),
        ("```\npositive\n```", "positive"),
        ('```json\n"pos"\n```', "pos"),
    ],
)
def test_an_enum_value_may_be_a_bare_word_in_quotes_or_in_another_case(text, label):
    """An enum value is read without JSON around it, even if it is the prefix of another."""
    assert ResponseSchema(LABELS).parse(text) == label
    assert ResponseSchema({"enum": ["pos", "positive", "Not sure"]}).parse(text) == label


@pytest.mark.parametrize("text", ["positiv", "positive pos", "neutral", "It is positive, I think"])
def test_text_that_is_not_an_enum_value_raises_a_value_error(text):
    """An enum value is not guessed from a part of the text."""
    with pytest.raises(ValueError, match="no JSON"):
        ResponseSchema(LABELS).parse(text)
    with pytest.raises(ValueError, match="no JSON"):
        ResponseSchema({"enum": ["pos", "positive"]}).parse(text)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, "Rome is it.", "Rome is it."),
        (str, "42", "42"),
        (int, "42", 42),
        (int, "```\n42\n```", 42),
        (bool, "True.", True),
        (City | None, "None", None),
        (dt.date, "2026-11-28.", dt.date(2026, 11, 28)),
        (Decimal, "1.50", Decimal("1.50")),
        (Literal["A", "a"], "a", "a"),
    ],
)
def test_a_scalar_may_be_a_bare_word(kind, text, value):
    """A scalar is read without quotes around it."""
    assert ResponseSchema(kind).parse(text) == value


def test_a_class_may_have_a_field_named_answer():
    """An object whose only field is `answer` is not mistaken for the object that wraps a value."""

    @dataclass
    class Reply:
        answer: str

    assert ResponseSchema(Reply).parse('{"answer": "x"}') == Reply("x")
    assert ResponseSchema(Reply | None).parse('{"answer": "x"}') == Reply("x")
    assert ResponseSchema(Reply | None).parse('{"answer": {"answer": "x"}}') == Reply("x")


def test_a_null_of_an_optional_property_is_dropped():
    """Strict modes require every property, so a null may stand for one that is omitted."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}}

    assert ResponseSchema(schema).parse('{"a": null, "b": null}') == {"b": None}


def test_the_variants_of_a_recursive_type_keep_their_values():
    """The null of an optional property is dropped, and a label is spelled as in the schema."""
    node = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["b"]},
            "note": {"type": "string"},
            "child": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]},
        },
        "required": ["kind"],
    }
    leaf = {"type": "object", "properties": {"kind": {"enum": ["a"]}}, "required": ["kind"]}
    schema = ResponseSchema({"$defs": {"a": leaf, "b": node}, "$ref": "#/$defs/b"})
    child = {"kind": "B", "note": None, "child": {"kind": "A"}}

    assert schema.parse(json.dumps({"kind": "b", "child": child})) == {
        "kind": "b",
        "child": {"kind": "b", "child": {"kind": "a"}},
    }


def test_a_recursive_type_keeps_its_definition():
    """A reference to the type itself has a target, and a type without one is inlined."""
    assert "Tree" in ResponseSchema(Tree).schema["$defs"]
    assert "$defs" not in ResponseSchema(City).schema


def test_a_property_may_be_a_keyword():
    """A field named `class`, which no dataclass can have, is read."""
    kind = TypedDict("Row", {"class": str})

    assert ResponseSchema(kind).parse('{"class": "a"}') == {"class": "a"}


@dataclass(frozen=True)
class SmallestCase:
    """A schema, and a shortest JSON text that it accepts."""

    name: str
    schema: dict[str, Any]
    text: str


_NODE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
    },
    "required": ["name", "next"],
}


@pytest.mark.parametrize(
    "case",
    [
        SmallestCase("anything", {}, "null"),
        SmallestCase("number", {"type": "integer"}, "0"),
        SmallestCase("text", {"type": "string", "minLength": 3}, '"xxx"'),
        SmallestCase("labels", {"enum": ["longer", "no"]}, '"no"'),
        SmallestCase("optional", {"type": ["string", "null"]}, '""'),
        SmallestCase("list", {"type": "array", "items": {"type": "boolean"}}, "[]"),
        SmallestCase(
            "list of two",
            {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "[true, true]",
        ),
        SmallestCase(
            "tuple", {"type": "array", "prefixItems": [{"type": "null"}, {"const": 1}]}, "[null, 1]"
        ),
        SmallestCase(
            "all of", {"allOf": [{"type": "string"}, {"type": "string", "minLength": 1}]}, '"x"'
        ),
        SmallestCase("recursive", _NODE, '{"name": "", "next": null}'),
        SmallestCase("endless", {"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "["),
    ],
    ids=lambda case: case.name,
)
def test_the_smallest_json_of_a_schema(case):
    """The smallest JSON has only the required properties; for recursive schemas, it is finite."""
    assert json_schema.smallest(case.schema, case.schema).startswith(case.text)


@dataclass
class NoFields:
    """A dataclass without fields."""


@dataclass
class ComplexField:
    """A dataclass with a field that JSON cannot represent."""

    value: complex


@dataclass
class UndefinedField:
    """A dataclass with a misspelt annotation."""

    name: "Strr"  # noqa: F821


class Plain:
    """A plain class."""


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (NoFields, "it has no fields."),
        (ComplexField, "type <class 'complex'> is not supported."),
        (complex, "type <class 'complex'> is not supported."),
        (UndefinedField, "annotation 'Strr' is not defined."),
        (list[UndefinedField], "annotation 'Strr' is not defined."),
        (Plain, "Plain'> is not supported."),
    ],
)
def test_the_error_for_a_type_without_a_schema_has_the_reason(kind, reason):
    """The error for a type that has no JSON Schema ends with the reason."""
    with pytest.raises(UsageError) as caught:
        ResponseSchema(kind)

    assert caught.value.message.endswith(reason)


def _doubling_schema(count):
    """Return a schema with definitions that each refer twice to the next one."""
    definitions = {
        f"d{number}": {"anyOf": [{"$ref": f"#/$defs/d{number + 1}"}] * 2} for number in range(count)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{count}": {"type": "integer"}}}


@pytest.mark.parametrize(
    "schema",
    [
        _doubling_schema(30),
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, **_doubling_schema(30)},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"oneOf": [{"type": "null"}, {"anyOf": [{"$ref": "#"}]}]},
    ],
)
def test_a_schema_with_too_many_variants_is_refused(schema):
    """Such a schema would take years to compare with an answer."""
    with pytest.raises(UsageError, match="more than 1,000 combinations"):
        ResponseSchema(schema)


@pytest.mark.parametrize(
    "schema",
    [
        _doubling_schema(5),
        {"anyOf": [{"const": number} for number in range(500)]},
        {
            "$defs": {
                "tree": {
                    "anyOf": [
                        {"type": "null"},
                        {
                            "type": "object",
                            "properties": {
                                "left": {"$ref": "#/$defs/tree"},
                                "right": {"$ref": "#/$defs/tree"},
                            },
                        },
                    ]
                }
            },
            "type": "object",
            "properties": {"root": {"$ref": "#/$defs/tree"}},
        },
    ],
)
def test_a_schema_with_several_variants_is_accepted(schema):
    """Unions, also recursive ones, are ordinary schemas."""
    assert ResponseSchema(schema).schema
