"""Grammars of the engine `local`, as the JSON Schemas in them."""

import json

import jsonschema
import pytest

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.schema import ResponseSchema
from tests.engines.test_local_engine import local_module
from tests.llm_engines.test_strict_schema import CASES, STRUCTS, parts_of, wide

KNOWN = {"$ref", "$defs", "additionalProperties", "anyOf", "enum", "format", "items", "maxItems"}
KNOWN |= {"maxLength", "maxProperties", "maximum", "minItems", "minLength", "minimum", "multipleOf"}
KNOWN |= {"exclusiveMaximum", "exclusiveMinimum", "pattern", "patternProperties", "prefixItems"}
KNOWN |= {"properties", "required", "type", "x-guidance"}


def enforced(schema):
    """Return the JSON Schema in a grammar."""
    start, _, schema = local_module.grammar(schema).partition("%json ")
    assert start == "%llguidance {}\nstart: "
    return json.loads(schema)


@pytest.mark.parametrize("case", CASES + STRUCTS, ids=lambda case: case.name)
def test_every_type_has_a_bounded_grammar_of_known_keywords(case):
    """Unknown keywords would disable the grammar, and an unbounded part might not end."""
    schema = enforced(ResponseSchema(case.kind).described)

    jsonschema.Draft202012Validator.check_schema(schema)
    for part in parts_of(schema):
        assert set(part) <= KNOWN
        kind = part.get("type")
        assert kind != "array" or "maxItems" in part
        assert kind != "string" or {"maxLength", "pattern", "format"} & set(part)
        assert kind not in ("integer", "number") or {"maximum", "exclusiveMaximum"} & set(part)
        assert kind != "object" or part["additionalProperties"] is False
        assert "(?" not in part.get("pattern", "")
        if "$ref" in part:
            assert part["$ref"].removeprefix("#/$defs/") in schema["$defs"]


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({}, [{"a": 1}, [1], {"a": {"b": [None]}}], ["text", 5]),
        ({"type": "array", "items": {"type": "object"}}, [[{"a": 1}], []], [[1], {}]),
        ({"type": "string", "format": "date"}, ["2024-02-28", "2024-12-31"], ["2024-02-30"]),
        ({"type": "string", "format": "date-time"}, ["2024-02-28T23:59:59Z"], ["2024-02-28"]),
        ({"type": ["string", "null"]}, ["a", None], [1]),
        ({"const": "a"}, ["a"], ["b"]),
        ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, [1, None], ["a"]),
        (
            {"allOf": [{"properties": {"a": {"type": "null"}}}, {"required": ["a"]}]},
            [{"a": None}],
            [{}, {"a": None, "b": 1}],
        ),
        ({"$ref": "https://x/y"}, ["a", 1], []),
        ({"type": "string", "not": {"const": "a"}, "uniqueItems": True}, ["a"], [1]),
        (wide(5_000), [], [{}]),
    ],
)
def test_a_grammar_allows_the_values_of_a_schema(schema, valid, invalid):
    """The schema in the grammar accepts values of the caller's schema, and no others."""
    validator = jsonschema.Draft202012Validator(enforced(schema))

    assert [value for value in valid if not validator.is_valid(value)] == []
    assert [value for value in invalid if validator.is_valid(value)] == []


def test_an_unknown_type_is_refused():
    """A type that JSON does not have raises an error instead of an answer in prose."""
    with pytest.raises(ProviderError, match="one of its seven types, got 'nonsense'"):
        local_module.grammar({"type": "nonsense"})
