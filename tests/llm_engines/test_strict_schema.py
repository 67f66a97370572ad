"""Strict forms of JSON Schemas, compared with the checkers in the vendors' SDKs."""

import contextlib
import copy
import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import anthropic
import msgspec
import pydantic
import pytest
from google.genai import types as genai_types
from openai.lib import _pydantic as openai_strict
from typing_extensions import NotRequired, TypedDict  # noqa: UP035 - as TypedDict

from gatewayx_nb.json_schema import ANSWER, is_object
from gatewayx_nb.llm_engines import (
    AnthropicMessagesEngine,
    CohereChatEngine,
    GeminiEngine,
    Message,
    OpenAICompatibleEngine,
    OpenAIResponsesEngine,
    Request,
)
from gatewayx_nb.schema import ResponseSchema


class Color(enum.Enum):
    """Labels."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """Numbers as labels."""

    LOW = 1
    HIGH = 2


@dataclass
class City:
    """A dataclass with a default."""

    name: str
    people: int = 0


@dataclass
class Person:
    """Optional and nested fields."""

    name: str
    nick: str | None = None
    home: City | None = None
    size: Literal["s", "l"] = "s"
    color: Color = Color.RED
    tags: list[str] = field(default_factory=list)


@dataclass
class Node:
    """A type within itself."""

    value: int
    children: "list[Node]" = field(default_factory=list)


@dataclass
class Link:
    """A chain."""

    value: int
    next: "Link | None" = None


@dataclass
class Plain:
    """Required fields of all scalar types."""

    text: str
    whole: int
    real: float
    flag: bool


@dataclass
class Times:
    """Dates and times."""

    day: dt.date
    moment: dt.datetime
    clock: dt.time | None = None


@dataclass
class Bounded:
    """Constraints of msgspec."""

    age: Annotated[int, msgspec.Meta(ge=0, le=150)]
    code: Annotated[str, msgspec.Meta(min_length=2, max_length=3, pattern="^[a-z]+$")] = "ab"
    marks: Annotated[list[int], msgspec.Meta(min_length=2, max_length=4)] = field(
        default_factory=lambda: [1, 2]
    )


@dataclass
class Described:
    """A description beside a reference."""

    home: Annotated[City, msgspec.Meta(description="where")]


@dataclass
class AllOptional:
    """No required field."""

    a: int = 1
    b: str = "x"


class Movie(TypedDict):
    """A TypedDict."""

    title: str
    year: NotRequired[int]


class Point(NamedTuple):
    """A NamedTuple with fields of different types."""

    x: int
    label: str


class Cat(msgspec.Struct, tag=True):
    """One of two tagged structs."""

    name: str


class Dog(msgspec.Struct, tag=True):
    """The other one."""

    name: str
    good: bool = True


class Inner(pydantic.BaseModel):
    """A model in a model."""

    x: int


class Outer(pydantic.BaseModel):
    """Descriptions, defaults, aliases and constraints of pydantic."""

    inner: Inner = pydantic.Field(description="the inner one")
    kind: str = pydantic.Field(alias="class")
    age: int = pydantic.Field(default=3, ge=0, lt=10)
    share: float = pydantic.Field(default=0.5, multiple_of=0.5)
    nick: str | None = "nobody"
    price: decimal.Decimal | None = None


class Strict(pydantic.BaseModel):
    """A strict model accepts a date only in JSON."""

    model_config = pydantic.ConfigDict(strict=True)
    day: dt.date


class Tree(pydantic.BaseModel):
    """A recursive model."""

    name: str
    parts: "list[Tree]" = []


class Circle(pydantic.BaseModel):
    """One of two shapes."""

    kind: Literal["circle"]
    radius: float


class Square(pydantic.BaseModel):
    """The other one."""

    kind: Literal["square"]
    side: float


class Drawing(pydantic.BaseModel):
    """A discriminated union."""

    shape: Annotated[Circle | Square, pydantic.Field(discriminator="kind")]


@dataclass
class Leaf:
    """The end of a recursive union."""

    leaf: int


@dataclass
class Branch:
    """A recursive union."""

    left: "Branch | Leaf"
    right: "Branch | Leaf"


@dataclass
class Shaped:
    """Dataclasses in a union, which msgspec does not support."""

    part: City | Plain | None


@dataclass(frozen=True, slots=True)
class Case:
    """A type and an answer of each kind.

    Attributes:
        name: Its name.
        kind: The type.
        answer: JSON data as a model answers.
        prompted: The dialects that cannot enforce it.
    """

    name: str
    kind: Any
    answer: Any
    prompted: frozenset[str] = frozenset()


RECURSIVE = frozenset({"anthropic", "cohere"})
CASES = [
    Case("str", str, "a"),
    Case("int", int, 4),
    Case("float", float, 4.5),
    Case("bool", bool, answer=True),
    Case("literal", Literal["yes", "no"], "no"),
    Case("literal of one", Literal["yes"], "yes"),
    Case("literal of numbers", Literal[1, 2], 2),
    Case("literal of types", Literal["a", 1], 1),
    Case("literal or null", Literal["a"] | None, None),
    Case("literal of a bool", Literal[True], answer=True),
    Case("prefixes", Literal["pos", "positive"], "positive"),
    Case("enum", Color, "blue"),
    Case("int enum", Level, 2),
    Case("enum or none", Color | None, None),
    Case("optional", City | None, {"name": "Rome", "people": 3}),
    Case("null", City | None, None),
    Case("number or text", int | str, "a"),
    Case("list of ints", list[int], [1, 2]),
    Case("empty list", list[str], []),
    Case("list of lists", list[list[float]], [[1.5], []]),
    Case("list of labels", list[Literal["a", "b"]], ["b"]),
    Case("list of dataclasses", list[City], [{"name": "Rome", "people": 3}]),
    Case("list of optionals", list[City | None], [None, {"name": "Rome", "people": 1}]),
    Case("set", set[int], [1, 2]),
    Case("frozenset", frozenset[str], ["a"]),
    Case("tuple", tuple[int, str], [1, "a"]),
    Case("tuple of one type", tuple[int, int], [1, 2]),
    Case("tuple of any length", tuple[int, ...], [1, 2, 3]),
    Case("named tuple", Point, [1, "a"]),
    Case("date", dt.date, "2026-11-28"),
    Case("datetime", dt.datetime, "2026-11-28T10:00:00Z"),
    Case("time", dt.time, "10:00:00"),
    Case("timedelta", dt.timedelta, "PT90S"),
    Case("decimal", decimal.Decimal, "0.1"),
    Case("uuid", uuid.UUID, "12345678-1234-5678-1234-567812345678"),
    Case("dataclass", Plain, {"text": "a", "whole": 1, "real": 1.5, "flag": False}),
    Case("default", City, {"name": "Rome", "people": None}),
    Case("missing default", City, {"name": "Rome"}),
    Case(
        "defaults",
        Person,
        {"name": "A", "nick": None, "home": None, "size": None, "color": None, "tags": None},
    ),
    Case("all optional", AllOptional, {"a": None, "b": "y"}),
    Case("times", Times, {"day": "2026-11-28", "moment": "2026-11-28T10:00:00Z", "clock": None}),
    Case("bounds", Bounded, {"age": 3, "code": "abc", "marks": None}),
    Case("description", Described, {"home": {"name": "Rome", "people": 1}}),
    Case("recursive", Node, {"value": 1, "children": [{"value": 2, "children": []}]}, RECURSIVE),
    Case("chain", Link, {"value": 1, "next": {"value": 2, "next": None}}, RECURSIVE),
    Case("list of recursive", list[Node], [{"value": 1, "children": None}], RECURSIVE),
    Case("typed dict", Movie, {"title": "A", "year": None}),
    Case("list of typed dicts", list[Movie], [{"title": "A", "year": 1999}]),
    Case("model", Inner, {"x": 1}),
    Case(
        "model with everything",
        Outer,
        {
            "inner": {"x": 1},
            "class": "a",
            "age": None,
            "share": 1.0,
            "nick": None,
            "price": "0.10",
        },
    ),
    Case("strict model", Strict, {"day": "2026-11-28"}),
    Case("recursive model", Tree, {"name": "a", "parts": [{"name": "b"}]}, RECURSIVE),
    Case("discriminator", Drawing, {"shape": {"kind": "square", "side": 2.0}}),
    Case("list of models", list[Inner], [{"x": 1}]),
    Case("model or none", Inner | None, None),
    Case("union of models", Circle | Square, {"kind": "circle", "radius": 1.5}),
    Case("union of dataclasses", City | Plain, {"name": "Rome", "people": None}),
    Case("union in a field", Shaped, {"part": {"name": "Rome", "people": None}}),
    Case("recursive union", Branch, {"left": {"leaf": 1}, "right": {"leaf": 2}}, RECURSIVE),
    Case("annotated", Annotated[int, pydantic.Field(ge=0)], 3),
    Case("dict", dict[str, int], {"a": 1}, frozenset({"openai", "anthropic", "gemini", "cohere"})),
]
STRUCTS = [
    Case("tagged structs", Cat | Dog, {"type": "Dog", "name": "Rex", "good": None}),
    Case("struct", Dog, {"type": "Dog", "name": "Rex"}),
]
ENGINES = {
    "openai": OpenAICompatibleEngine,
    "responses": OpenAIResponsesEngine,
    "anthropic": AnthropicMessagesEngine,
    "gemini": GeminiEngine,
    "cohere": CohereChatEngine,
}


def enforced(dialect, schema):
    """Return the form of a JSON Schema that a dialect enforces."""
    request = Request((Message("user", "x"),), "m", schema=schema)
    return ENGINES[dialect]("k").enforceable_schema(request)


def parts_of(schema):
    """Yield a schema and all schemas in it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [*schema.get("anyOf", []), *schema.get("prefixItems", [])]
    inner += [schema["items"]] if "items" in schema else []
    for part in inner:
        yield from parts_of(part)


STRUCTURE = {"$defs", "$ref", "anyOf", "items", "enum", "type", "format", "title", "description"}
STRUCTURE |= {"properties", "required", "additionalProperties"}
BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}


def references_of(schema):
    """Return the names of the definitions to which a schema refers."""
    return {part["$ref"].removeprefix("#/$defs/") for part in parts_of(schema) if "$ref" in part}


def recursive_names(strict):
    """Return the names of the definitions that contain themselves."""
    definitions = strict.get("$defs", {})
    reached = {name: references_of(part) for name, part in definitions.items()}
    for _ in definitions:
        for names in reached.values():
            names.update(*(reached[name] for name in tuple(names)))
    return {name for name, names in reached.items() if name in names}


def check_common(strict):
    """Check what all vendors document: an object at the top, and references with a target."""
    assert strict["type"] == "object"
    for part in parts_of(strict):
        assert {"type", "anyOf", "$ref", "enum"} & set(part), part
        if "$ref" in part:
            assert set(part) == {"$ref"}
            assert part["$ref"].removeprefix("#/$defs/") in strict["$defs"]
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert set(part["required"]) <= set(part["properties"])
        assert not {"default", "oneOf", "allOf", "const", "discriminator"} & set(part)


def check_openai(strict):
    """Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas."""
    vendor = openai_strict._ensure_strict_json_schema(copy.deepcopy(strict), path=(), root=strict)
    assert vendor == strict
    formats = {"date-time", "time", "date", "duration", "email"}
    formats |= {"hostname", "ipv4", "ipv6", "uuid"}
    for part in parts_of(strict):
        assert set(part.get("required", ())) == set(part.get("properties", ()))
        assert part.get("format") in {None, *formats}
        assert not {"prefixItems", "minLength", "maxLength", "uniqueItems"} & set(part)
        assert "(?" not in part.get("pattern", "")
        assert {"type", "anyOf", "$ref"} & set(part)
        assert set(part) <= STRUCTURE | {"pattern", "minItems", "maxItems", "multipleOf"} | BOUNDS


def check_anthropic(strict):
    """The vendor's SDK has nothing left to change."""
    vendor = anthropic.transform_schema(copy.deepcopy(strict))
    assert vendor == strict
    unions = sum("anyOf" in part for part in parts_of(strict))
    assert unions <= 16


def check_gemini(strict):
    """The documented keywords, which the SDK's types also contain."""
    known = {"$defs", "$ref", "anyOf", "items", "prefixItems", "enum", "type", "format", "title"}
    known |= {"description", "minItems", "maxItems", "minimum", "maximum", "properties"}
    known |= {"required", "additionalProperties"}
    recursive = recursive_names(strict)
    for part in parts_of(strict):
        assert set(part) <= known
        assert part.get("format") in {None, "date-time", "date", "time"}
        for name in part.get("required", ()):
            assert recursive.isdisjoint(references_of(part["properties"][name]))
        # The SDK's class has no `$ref`, `$defs` and `prefixItems`, which the API documents.
        own = {"$ref", "$defs", "prefixItems", "anyOf", "items", "properties"}
        genai_types.JSONSchema.model_validate({k: v for k, v in part.items() if k not in own})


def check_cohere(strict):
    """Source: https://docs.cohere.com/docs/structured-outputs."""
    unknown = {"minimum", "maximum", "minItems", "maxItems", "uniqueItems", "minLength"}
    for part in parts_of(strict):
        assert not ({"maxLength", "prefixItems", "exclusiveMinimum"} | unknown) & set(part)
        assert part.get("format") in {None, "date-time", "uuid", "date", "time"}
        assert "(?" not in part.get("pattern", "")
        assert set(part) <= STRUCTURE | {"pattern"}
        if part.get("type") == "object":
            assert part["required"]


CHECKERS = {
    "openai": check_openai,
    "responses": check_openai,
    "anthropic": check_anthropic,
    "gemini": check_gemini,
    "cohere": check_cohere,
}


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize("case", CASES + STRUCTS, ids=lambda case: case.name)
def test_the_schema_of_a_type_passes_the_checker_of_each_vendor(case, dialect):
    """The strict form obeys the vendor's rules; a schema that cannot be enforced has none."""
    strict = enforced(dialect, ResponseSchema(case.kind).schema)

    family = "openai" if dialect == "responses" else dialect
    assert (strict is None) == (family in case.prompted)
    if strict is not None:
        check_common(strict)
        CHECKERS[dialect](strict)


def expected(case):
    """Return the value that pydantic parses from an answer without the nulls of strict modes."""
    adapter = pydantic.TypeAdapter(case.kind)
    try:
        return adapter.validate_json(json.dumps(case.answer))
    except pydantic.ValidationError:
        return adapter.validate_json(json.dumps(without_nulls(case.answer)))


def without_nulls(value):
    """Return JSON data without the properties that are null."""
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {name: without_nulls(item) for name, item in value.items() if item is not None}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_is_the_value_that_pydantic_parses(case):
    """An answer, bare or in an object, is the value that pydantic parses; nulls are defaults."""
    schema = ResponseSchema(case.kind)

    value = schema.parse(json.dumps(case.answer))

    if case.name == "model with everything":  # only here, null is a value of an optional field
        assert (value.nick, value.age, value.kind) == (None, 3, "a")
    else:
        assert value == expected(case)
        assert type(value) is type(expected(case))
    if not is_object(schema.schema):
        assert schema.parse(json.dumps({ANSWER: case.answer})) == value


@pytest.mark.parametrize("case", STRUCTS, ids=lambda case: case.name)
def test_a_struct_keeps_its_defaults(case):
    """A null for a struct's optional field becomes the field's default."""
    assert ResponseSchema(case.kind).parse(json.dumps(case.answer)) == Dog("Rex", good=True)


def nested(depth):
    """Return the schema of objects nested to a depth."""
    schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def wide(count):
    """Return the schema of an object with many properties."""
    names = [f"field{number}" for number in range(count)]
    properties = {name: {"type": "integer"} for name in names}
    return {"type": "object", "properties": properties, "required": names}


@pytest.mark.parametrize(
    ("dialect", "schema", "is_enforced"),
    [
        ("openai", wide(5_000), True),
        ("openai", wide(5_001), False),
        ("anthropic", wide(5_000), False),
        ("gemini", wide(5_000), False),
        ("cohere", wide(5_000), False),
        ("openai", nested(10), True),
        ("openai", nested(11), False),
        ("openai", {"enum": [str(number) for number in range(1_001)]}, False),
        ("openai", {"enum": [f"{number:060}" for number in range(250)]}, True),
        ("openai", {"enum": [f"{number:060}" for number in range(251)]}, False),
        ("gemini", {"enum": [f"{number:060}" for number in range(251)]}, True),
        ("anthropic", {**wide(25), "required": []}, False),
        ("anthropic", {**wide(24), "required": []}, True),
        ("openai", {}, False),
        ("openai", {"type": "object"}, False),
        ("openai", {"type": "array"}, False),
        ("openai", {"type": "object", "properties": {"a": True}}, False),
        ("openai", {"$ref": "#/$defs/None"}, False),
        ("openai", {"type": "object", "properties": {"a": {"$ref": "https://x/y"}}}, False),
        ("openai", {"allOf": [{"type": "string"}, {"minLength": 1}]}, False),
        ("openai", {"type": ["string", "null"]}, True),
        ("openai", {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, False),
    ],
)
def test_a_schema_beyond_the_limits_has_no_strict_form(dialect, schema, is_enforced):
    """A schema beyond a provider's limits has no strict form, so the prompt asks for it."""
    assert (enforced(dialect, schema) is not None) == is_enforced


def test_bounds_that_a_provider_does_not_know_are_in_the_description():
    """Unsupported bounds are described in words; OpenAI supports bounds on numbers."""
    schema = ResponseSchema(Bounded).schema

    assert "minimum: 0" in enforced("anthropic", schema)["properties"]["age"]["description"]
    assert enforced("openai", schema)["properties"]["age"]["minimum"] == 0


def test_tools_and_a_schema_cannot_go_to_cohere_together():
    """Cohere refuses `response_format` with tools, so the prompt asks for the schema."""
    params = {"tools": []}
    request = Request((Message("user", "x"),), "m", schema=wide(1), params=params)

    assert CohereChatEngine("k").enforceable_schema(request) is None


@pytest.mark.parametrize(("mode", "schema"), [("json_object", {}), ("none", None)])
def test_an_endpoint_may_enforce_less_than_a_schema(mode, schema):
    """An entry says that its server enforces any JSON object, or nothing."""
    engine = type("Engine", (OpenAIResponsesEngine,), {"schema_mode": mode})("k", api="chat")
    request = Request((Message("user", "x"),), "m", schema=wide(1))

    assert engine.enforceable_schema(request) == schema
    sent = engine.payload(dataclasses.replace(request, schema=schema)).get("response_format")
    assert sent == ({"type": "json_object"} if mode == "json_object" else None)


@dataclass
class Firm:
    """A type whose first field has the same name as `City`'s."""

    name: str
    staff: int = 0


@dataclass
class Home:
    """A type that begins with a label."""

    kind: Literal["home"]
    name: str


@dataclass
class Office:
    """A type that begins with another label, or one of those of `Home`."""

    kind: Literal["office", "home office"]
    name: str


@dataclass
class Mixed:
    """A union within a list in a field."""

    parts: list[City | Firm]


@pytest.mark.parametrize(
    ("kind", "is_enforced"),
    [
        (City | Firm, False),
        (list[City | Firm | None], False),
        (Mixed, False),
        (City | Home, True),
        (Home | Office, True),
        (City | None, True),
    ],
)
def test_openai_distinguishes_the_objects_of_a_union_by_their_first_key(kind, is_enforced):
    """Objects that begin with the same key are refused, unless its labels differ."""
    schema = ResponseSchema(kind).schema

    for dialect in ("openai", "responses"):
        assert (enforced(dialect, schema) is not None) == is_enforced
    assert enforced("gemini", schema) is not None


def _property(part):
    """Return the first property of an object that is not a reference, or ``None``."""
    values = part.get("properties", {}).values()
    return next((value for value in values if "$ref" not in value), None)


def _set(part, **fields):
    part.update(fields)
    return True


def _lose(part, name):
    return part.pop(name, None) is not None


def _beside_reference(part):
    return "$ref" in part and _set(part, description="x")


def _optional(part):
    return bool(part.get("required")) and part["required"].pop() is not None


def _of_type(kind, **fields):
    return lambda part: part.get("type") == kind and _set(part, **fields)


def _one_of(part):
    return "anyOf" in part and _set(part, oneOf=part.pop("anyOf"))


MUTATIONS = {
    "open object": _of_type("object", additionalProperties=True),
    "object of unknown extent": lambda part: _lose(part, "additionalProperties"),
    "sibling of a reference": _beside_reference,
    "reference to nothing": lambda part: "$ref" in part and _set(part, **{"$ref": "#/$defs/No"}),
    "default": _of_type("integer", default=1),
    "constant": _of_type("string", const="x"),
    "other union": _one_of,
    "length": _of_type("string", minLength=1),
    "unknown format": _of_type("string", format="iri-reference"),
    "unique items": _of_type("array", uniqueItems=True),
    "many items": _of_type("array", minItems=2),
    "most items": _of_type("array", maxItems=3),
    "lookahead": _of_type("string", pattern="(?=x)"),
    "bound": _of_type("integer", minimum=0),
    "exclusive bound": _of_type("integer", exclusiveMinimum=0),
    "optional property": _optional,
    "unknown keyword": _of_type("object", patternProperties={}),
    "unlisted property": _of_type("object", required=["none such"]),
}
"""Changes of a part of a schema; each returns whether it has changed the part."""

DOCUMENTED = {
    "openai": {"many items", "most items", "bound", "exclusive bound"},
    "anthropic": {"optional property"},
    "gemini": {"many items", "most items", "bound", "optional property"},
    "cohere": {"optional property"},
}
DOCUMENTED["responses"] = DOCUMENTED["openai"]
"""The changes that a vendor documents as valid."""


@pytest.mark.parametrize("dialect", ENGINES)
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_checker_refuses_a_mutated_schema(dialect, name):
    """Each checker fails on every schema with something that its vendor does not document."""
    accepted, changed = [], 0
    for case in CASES + STRUCTS:
        mutated = copy.deepcopy(enforced(dialect, ResponseSchema(case.kind).schema) or {})
        if any(MUTATIONS[name](part) for part in list(parts_of(mutated))):
            changed += 1
            with contextlib.suppress(AssertionError, KeyError, ValueError, TypeError):
                check_common(mutated)
                CHECKERS[dialect](mutated)
                accepted.append(case.name)

    assert changed
    if name not in DOCUMENTED[dialect]:
        assert accepted == []


RULE_MUTATIONS = [
    ("openai", "all_required", False),
    ("openai", "formats", frozenset({"uri", "date", "date-time", "time", "decimal"})),
    ("openai", "keywords", frozenset({"minLength"})),
    ("openai", "prefix_items", True),
    ("anthropic", "keywords", frozenset({"minimum"})),
    ("anthropic", "keywords", frozenset({"minItems", "maxItems"})),
    ("anthropic", "max_min_items", None),
    ("anthropic", "formats", frozenset({"decimal"})),
    ("anthropic", "recursion", "anywhere"),
    ("gemini", "keywords", frozenset({"pattern"})),
    ("gemini", "keywords", frozenset({"multipleOf"})),
    ("gemini", "formats", frozenset({"uuid"})),
    ("gemini", "recursion", "anywhere"),
    ("cohere", "keywords", frozenset({"minimum"})),
    ("cohere", "formats", frozenset({"duration"})),
    ("cohere", "some_required", False),
    ("cohere", "prefix_items", True),
    ("cohere", "recursion", "anywhere"),
]


@pytest.mark.parametrize(("dialect", "field", "value"), RULE_MUTATIONS)
def test_a_wrong_rule_makes_a_checker_fail(dialect, field, value):
    """No rule of a vendor can be lost unnoticed: the schema of some type is then refused."""
    rules = dataclasses.replace(ENGINES[dialect].schema_rules, **{field: value})
    if field == "max_min_items":
        rules = dataclasses.replace(rules, keywords=frozenset({"minItems"}))
    failed = []
    for case in CASES:
        strict = rules.enforceable_schema(ResponseSchema(case.kind).schema)
        try:
            assert (strict is None) == (dialect in case.prompted)
            if strict is not None:
                check_common(strict)
                CHECKERS[dialect](strict)
        except AssertionError:
            failed.append(case.name)

    assert failed
