"""Answers are compared with a JSON Schema, whatever the schema and the answer are."""

import asyncio
import itertools
import json
import pickle
import re
import subprocess
import sys
import threading
from dataclasses import dataclass

import pytest

from gatewayx_nb import schema as schema_module
from gatewayx_nb.errors import UsageError
from gatewayx_nb.schema import ResponseSchema

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}


def fields(**properties):
    """Return the schema of an object that requires some properties."""
    return {"type": "object", "properties": properties, "required": list(properties)}


@dataclass(frozen=True)
class Case:
    """A schema, an answer, and the error; empty if the answer matches."""

    schema: dict
    answer: object
    error: str = ""


CLOSED = {**fields(a=INTEGER), "additionalProperties": False}
UNION = {"anyOf": [fields(a=INTEGER), fields(b=TEXT)]}
TREE = {"$defs": {"t": fields(kids={"type": "array", "items": {"$ref": "#/$defs/t"}})}}
TREE["$ref"] = "#/$defs/t"
NAMES = {"type": "object", "patternProperties": {"^x": INTEGER}, "additionalProperties": False}

CASES = [
    Case(fields(a=INTEGER), {"a": 1}),
    Case(fields(a=INTEGER), {"a": 1.0}),
    Case(fields(a=INTEGER), {"a": True}, "Expected `integer`, got `boolean` - at `$.a`"),
    Case({"type": ["integer", "null"]}, "x", "Expected `integer | null`, got `string`"),
    Case(fields(a=INTEGER), {}, "Object missing required field `a`"),
    Case(CLOSED, {"a": 1, "b": 2}, "Object contains unknown field `b`"),
    Case(
        {"type": "array", "items": fields(n={"enum": ["x", "y"]})},
        [{"n": "X"}, {"n": "z"}],
        'Expected one of ["x", "y"] - at `$[1].n`',
    ),
    Case({"enum": [1]}, 1.0),
    Case({"enum": [True]}, 1, "Expected one of [true]"),
    Case({"const": {"a": [1]}}, {"a": [2]}, 'Expected a value with `const` {"a": [1]}'),
    Case(UNION, {"b": 1}, "Expected `string`, got `integer` - at `$.b`"),
    Case(TREE, {"kids": [{"kids": []}]}),
    Case(TREE, {"kids": [{"kids": [{}]}]}, "Object missing required field `kids`"),
    Case({"type": "integer", "minimum": 3}, 2, "Expected a value with `minimum` 3"),
    Case({"type": "integer", "exclusiveMinimum": True, "minimum": 2}, 2, "with `minimum` 2"),
    Case({"type": "array", "items": [INTEGER, TEXT]}, [1, 2], "- at `$[1]`"),
    Case({"type": "array", "uniqueItems": True}, [1, True, {"a": 1}, {"a": True}]),
    Case({"type": "array", "uniqueItems": True}, [{"a": 1}, {"a": 1.0}], "`uniqueItems` true"),
    Case({"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"}, "ab-cd"),
    Case({"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$"}, "ab-", "Expected a value with `patt"),
    Case(NAMES, {"xy": 1}),
    Case(NAMES, {"xy": "1"}, "- at `$.xy`"),
    Case(NAMES, {"y": 1}, "Object contains unknown field `y`"),
    Case({"type": "array", "prefixItems": [INTEGER], "items": False}, [1, 2], "`items` false"),
    Case({"properties": {"a": False}}, {"a": 1}, "Expected no value"),
    Case({"type": "ARRAY", "items": {"type": "STRING", "nullable": True}}, ["a", None]),
    Case({"type": "ARRAY", "items": {"type": "STRING"}}, ["a", None], "Expected `string`"),
    Case(fields(a={"format": "date"}), {"a": "no date"}),
    Case(fields(type=TEXT, enum=INTEGER), {"type": "x", "enum": "y"}, "- at `$.enum`"),
    Case({"$schema": "http://json-schema.org/draft-07/schema#", **INTEGER}, "x", "Expected `int"),
    Case({"$schema": "https://example.com/own", **INTEGER}, "x", "Expected `integer`"),
    Case({"$id": "https://example.com/city", "$ref": "#/$defs/a", "$defs": {"a": INTEGER}}, 1),
]


@pytest.mark.parametrize("case", CASES)
def test_an_answer_is_compared_with_the_schema(case):
    """The error has the path of the value and what is expected."""
    schema, text = ResponseSchema(case.schema), json.dumps(case.answer)
    if case.error:
        with pytest.raises(ValueError, match=re.escape(case.error)):
            schema.parse(text)
    else:
        assert schema.parse(text) == case.answer


def test_a_wrapped_value_and_a_bare_word_are_compared():
    """What providers and models make of a value that is not an object is understood as before."""
    schema = ResponseSchema({"enum": ["yes", "no"]})
    assert schema.parse('{"answer": "Yes"}') == "yes"
    assert schema.parse("No.") == "no"
    with pytest.raises(ValueError, match="Expected one of"):
        schema.parse('{"answer": "perhaps"}')


def doubling(keyword):
    """Return definitions that each refer twice to the next one."""
    names = [f"d{number}" for number in range(31)]
    parts = {
        name: {keyword: [{"$ref": f"#/$defs/{following}"}] * 2}
        for name, following in itertools.pairwise(names)
    }
    return {"$defs": {**parts, "d30": INTEGER}}


REFUSED = [
    ({"type": "integer", "minimum": "3"}, "Expected `number`, got `string` - at `$.minimum`"),
    ({"$ref": "#/$defs/x"}, "'#/$defs/x' points to nothing"),
    ({"$ref": "https://example.com/x"}, "nothing is downloaded"),
    ({"$ref": "file:///etc/passwd"}, "nothing is downloaded"),
    ({"items": {"$ref": "other.json"}}, "nothing is downloaded"),
    ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "nothing is downloaded"),
    ({"$dynamicRef": "#x"}, "use `$ref`"),
    ({"properties": {"a": {"$id": "https://example.com/a"}}}, "only supported at the top"),
    ({"const": {"a": {"x": 1}}, "items": {"$ref": "#/const/a"}}, "points to no schema"),
    ({"required": ["a"], "items": {"$ref": "#/required/0"}}, "points to no schema"),
    ({"$ref": "#"}, "refers to itself"),
    ({"allOf": [{"$ref": "#"}]}, "refers to itself"),
    ({"$ref": "#/$defs/d0", **doubling("allOf")}, "its parts multiply"),
    ({"pattern": "(a"}, "the pattern '(a' cannot be compared"),
    ({"properties": {"default": {"pattern": r"(a)\1"}}}, "cannot be compared"),
    ({"patternProperties": {"(a": {}}}, "cannot be compared"),
    ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "used together"),
    ({"required": [{}] * 30_000}, "more than 100 items"),
    ({"description": "x" * 300_000}, "at most 200,000"),
]


@pytest.mark.parametrize(("schema", "problem"), REFUSED)
def test_a_schema_that_cannot_be_compared_is_refused(schema, problem):
    """The error is raised before anything is sent."""
    with pytest.raises(UsageError) as info:
        ResponseSchema(schema)
    assert problem in info.value.message
    assert info.value.hint


ENDLESS = [
    ({"type": "string", "pattern": "(a+)+$"}, "a" * 5_000 + "b"),
    ({"items": {"$ref": "#/$defs/d0"}, **doubling("allOf")}, [1]),
    ({"type": "object", "unevaluatedProperties": False}, {f"k{n}": n for n in range(30_000)}),
    ({"enum": [1, 2], "uniqueItems": True}, [{"a": n} for n in range(20_000)]),
]


@pytest.mark.parametrize(("schema", "answer"), ENDLESS)
def test_a_comparison_that_would_take_hours_ends_with_an_error(schema, answer):
    with pytest.raises(ValueError, match=r"takes too long|Expected "):
        ResponseSchema(schema).parse(json.dumps(answer))


class Comparisons:
    """The threads in which a schema was compared."""

    def __init__(self, monkeypatch):
        self.threads = []
        check = schema_module.JSONSchemaValidator.check

        def noted(validator, *args):
            self.threads.append(threading.current_thread())
            return check(validator, *args)

        monkeypatch.setattr(schema_module.JSONSchemaValidator, "check", noted)


@pytest.mark.parametrize(
    ("schema", "answer"),
    [({"type": "array"}, ["x" * 20_000]), ({"type": "array", "items": INTEGER}, [1] * 2_000)],
)
def test_a_long_comparison_does_not_hold_the_event_loop(schema, answer, monkeypatch):
    """A long answer, or one that takes many steps, is compared in another thread."""
    comparisons = Comparisons(monkeypatch)
    parsed = asyncio.run(ResponseSchema(schema).aparse(json.dumps(answer)))
    assert parsed == answer
    assert comparisons.threads[-1] is not threading.main_thread()


def test_a_short_comparison_starts_no_thread(monkeypatch):
    comparisons = Comparisons(monkeypatch)
    assert asyncio.run(ResponseSchema(fields(a=INTEGER)).aparse('{"a": 1}')) == {"a": 1}
    assert comparisons.threads == [threading.main_thread()]


def test_a_copy_for_another_process_compares_too():
    schema = pickle.loads(pickle.dumps(ResponseSchema(INTEGER)))
    with pytest.raises(ValueError, match="Expected `integer`"):
        schema.parse('"x"')


def test_a_stored_schema_of_a_type_only_parses():
    """A type may accept more than its schema does, such as a number in quotation marks."""
    assert ResponseSchema(INTEGER, validates=False).parse('"7"') == "7"


def test_the_validator_is_imported_on_first_use():
    """Importing `jsonschema` takes two seconds if all packages for its formats are installed."""
    code = (
        "import sys; from gatewayx_nb.schema import ResponseSchema; ResponseSchema(int);"
        " assert 'jsonschema' not in sys.modules; ResponseSchema({'type': 'integer'});"
        " assert 'jsonschema' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
