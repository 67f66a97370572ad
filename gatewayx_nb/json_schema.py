"""JSON Schemas as data: resolves references, wraps schemas, and adjusts values to a schema.

Reference: https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

ANSWER = "answer"
"""Name of the single property of the object that wraps a non-object value."""

_MAX_REFERENCES = 20
"""Maximum length of a chain of references, which may be circular."""

_MAX_VARIANTS = 1_000
"""Maximum number of variants with which a value is compared."""

_MAX_SMALLEST_DEPTH = 5
"""Maximum nesting depth of the value that `smallest` returns."""

TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}

_KEYWORD_NAMES = (
    "type enum const title description default examples example format nullable deprecated readOnly"
    " writeOnly definitions properties patternProperties additionalProperties required"
    " propertyNames minProperties maxProperties dependencies dependentRequired dependentSchemas"
    " unevaluatedProperties items prefixItems additionalItems unevaluatedItems contains minContains"
    " maxContains minItems maxItems uniqueItems minLength maxLength pattern minimum maximum"
    " exclusiveMinimum exclusiveMaximum multipleOf anyOf oneOf allOf not if then else id"
    " contentEncoding contentMediaType contentSchema discriminator propertyOrdering"
)

KEYWORDS = frozenset(_KEYWORD_NAMES.split())
"""The keywords of JSON Schema, its older drafts and OpenAPI, except those that begin with ``$``."""

_SMALLEST_VALUES: Mapping[str, str] = {
    "integer": "0",
    "number": "0",
    "boolean": "true",
    "null": "null",
}
"""One of the shortest values of each scalar type except ``string``."""


def resolve(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
    """Return the schema that a reference points to, or the schema itself if it is not a reference.

    If the reference points to nothing, return an empty schema, which allows everything.
    """
    for _ in range(_MAX_REFERENCES):
        if not isinstance(schema, Mapping):
            break
        if not isinstance(schema.get("$ref"), str):
            return schema
        schema = _look_up(schema["$ref"], root)
    return {}


def _look_up(pointer: str, root: Mapping[str, Any]) -> object:
    node: object = root
    for token in pointer.removeprefix("#").split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        node = node.get(name) if isinstance(node, Mapping) else None
    return node if pointer.startswith("#") else None


def is_object(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema describes objects, as providers require for an answer."""
    resolved_schema = resolve(schema, schema)
    return bool(
        resolved_schema.get("type", "properties" in resolved_schema and "object") == "object"
    )


def unknown_types(schema: object) -> Iterator[object]:
    """Yield the values of ``type`` in a schema and its subschemas that JSON Schema does not define.

    Upper-case types, such as ``STRING`` in the schemas of Gemini's SDK, are accepted.
    """
    if not isinstance(schema, Mapping):
        return
    types = schema.get("type", ())
    for type_name in types if isinstance(types, list | tuple) else [types]:
        if not isinstance(type_name, str) or type_name.lower() not in TYPES:
            yield type_name
    for keyword, value in schema.items():
        if keyword in ("properties", "patternProperties", "$defs", "definitions"):
            subschemas = list(value.values()) if isinstance(value, Mapping) else []
        elif keyword in ("items", "additionalProperties", "prefixItems", "anyOf", "oneOf", "allOf"):
            subschemas = value if isinstance(value, list) else [value]
        else:
            continue
        for subschema in subschemas:
            yield from unknown_types(subschema)


def has_too_many_variants(schema: Mapping[str, Any]) -> bool:
    """Return whether a value would be compared with too many variants, or with endlessly many.

    The variants of a variant multiply: thirty definitions that each refer twice to the next one
    would take years. A reference to the schema itself, without a property or an item in between,
    never ends.
    """
    count_by_id: dict[int, int] = {}

    def count(node: object) -> int:
        resolved_node = resolve(node, schema)
        variants = [*resolved_node.get("anyOf", []), *resolved_node.get("oneOf", [])]
        if not variants:
            return 1
        if id(resolved_node) not in count_by_id:
            count_by_id[id(resolved_node)] = _MAX_VARIANTS + 1  # what a reference to itself finds
            count_by_id[id(resolved_node)] = min(sum(map(count, variants)), _MAX_VARIANTS + 1)
        return count_by_id[id(resolved_node)]

    pending_nodes: list[object] = [schema]
    while pending_nodes:
        node = pending_nodes.pop()
        if isinstance(node, Mapping):
            if count(node) > _MAX_VARIANTS:
                return True
            pending_nodes += node.values()
        elif isinstance(node, list | tuple):
            pending_nodes += node
    return False


def wrap_in_object(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of an object whose only property has the given schema.

    The schema of an object is returned unchanged, except that a top-level reference is resolved.
    """
    definitions = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    if is_object(schema):
        return {**resolve(schema, schema), **definitions}
    return {
        "type": "object",
        "properties": {ANSWER: {k: v for k, v in schema.items() if k not in definitions}},
        "required": [ANSWER],
        "additionalProperties": False,
        **definitions,
    }


def is_open(schema: object) -> bool:
    """Return whether a schema allows arbitrary objects or values, which strict modes reject."""
    if not isinstance(schema, Mapping):
        return False
    # A subschema may be a boolean: msgspec writes `items: false` for a tuple.
    subschemas = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    subschemas += [*schema.get("anyOf", []), *schema.get("prefixItems", [])]
    subschemas += [schema["items"]] if schema.get("type") == "array" and "items" in schema else []
    is_free_object = schema.get("type") == "object" and not schema.get("properties")
    is_unconstrained = not {"type", "$ref", "anyOf", "enum", "const"} & set(schema)
    return is_free_object or is_unconstrained or any(map(is_open, subschemas))


def fit(
    value: Any,  # noqa: ANN401 - JSON
    schema: object,
    root: Mapping[str, Any],
    *,
    is_deep: bool = True,
) -> Any:  # noqa: ANN401 - JSON
    """Return a value without the small deviations that models and strict modes introduce.

    A null is dropped for an optional property whose schema does not allow null, because strict
    modes require every property to be present. An enum value that differs only in case is replaced
    with the schema's spelling.

    Args:
        value: The value, as `json.loads` returns it.
        schema: The schema, or a subschema.
        root: The schema to which references in ``schema`` are relative.
        is_deep: Whether to also change the objects and lists within the value.
    """
    schema = resolve(schema, root)
    if variants := [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        # `accepts` checks only the top level. Below it, only the chosen variant is applied, because
        # applying each variant at each level would take exponential time.
        fitted_values = (
            (variant, fit(value, variant, root, is_deep=False)) for variant in variants
        )
        for variant, fitted_value in fitted_values:
            if accepts(fitted_value, variant, root):
                return fit(value, variant, root) if is_deep else fitted_value
        return value
    match value:
        case dict():
            return dict(_fitted_properties(value, schema, root, is_deep=is_deep))
        case list() if is_deep:
            return _fitted_items(value, schema, root)
        case str():
            return _match_enum_value(value, _enum_values(schema))
    return value


def _fitted_properties(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], *, is_deep: bool
) -> Any:  # noqa: ANN401 - pairs
    properties, required_names = schema.get("properties", {}), schema.get("required", ())
    for name, item in value.items():
        subschema = properties.get(name, schema.get("additionalProperties"))
        is_optional = name in properties and name not in required_names
        if item is None and is_optional and not accepts(None, subschema, root):
            continue
        yield name, fit(item, subschema, root) if is_deep or isinstance(item, str) else item


def _fitted_items(
    value: list[Any], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> list[Any]:
    prefix = schema.get("prefixItems", [])
    subschemas = [*prefix, *[schema.get("items")] * (len(value) - len(prefix))]
    fitted_items = [
        fit(item, subschema, root) for item, subschema in zip(value, subschemas, strict=False)
    ]
    return fitted_items + value[len(subschemas) :]


def _enum_values(schema: Mapping[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _match_enum_value(text: str, enum_values: list[Any]) -> str:
    """Return the enum value that equals a string except for case, or the string if none does."""
    if text in enum_values:
        return text
    folded_text = text.strip().casefold()
    matching_values = [
        item for item in enum_values if isinstance(item, str) and item.casefold() == folded_text
    ]
    return matching_values[0] if len(matching_values) == 1 else text


def accepts(value: object, schema: object, root: Mapping[str, Any]) -> bool:
    """Return whether a value could match a schema, judging by its type, enum values and properties.

    The items of lists are not checked. For an object, only the names of its properties and the
    values of enums and constants are checked, which distinguish the variants of a union.
    """
    if isinstance(schema, bool):
        return schema
    schema = resolve(schema, root)
    if variants := [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
        return any(accepts(value, variant, root) for variant in variants)
    if ("const" in schema or "enum" in schema) and value not in _enum_values(schema):
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(TYPES.get(name, bool)(value) for name in types):
        return False
    return not isinstance(value, dict) or _matches_properties(value, schema, root)


def _matches_properties(
    value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]
) -> bool:
    properties = schema.get("properties", {})
    if not set(schema.get("required", ())) <= set(value):
        return False
    if schema.get("additionalProperties") is False and not set(value) <= set(properties):
        return False
    items = (
        (value[name], _enum_values(resolve(subschema, root)))
        for name, subschema in properties.items()
        if name in value
    )
    return all(item in enum_values for item, enum_values in items if enum_values)


def smallest(schema: object, root: Mapping[str, Any], depth: int = _MAX_SMALLEST_DEPTH) -> str:
    """Return the shortest JSON that a schema accepts, judging by its types and lengths.

    Args:
        schema: The schema, or a subschema.
        root: The schema to which references in ``schema`` are relative.
        depth: Maximum nesting depth, because a recursive type grows exponentially with it.
    """
    if depth == 0:
        return "null"
    schema = resolve(schema, root)
    smallest_inner = functools.partial(smallest, root=root, depth=depth - 1)
    if enum_values := _enum_values(schema):
        return min(map(json.dumps, enum_values), key=len)
    if subschemas := schema.get("allOf"):
        return max(map(smallest_inner, subschemas), key=len)
    types = schema.get("type", "object" if "properties" in schema else "null")
    variants = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if isinstance(types, list):
        variants = [{**schema, "type": name} for name in types]
    if variants:
        return min(map(smallest_inner, variants), key=len)
    return _smallest_of_type(types, schema, smallest_inner)


def _smallest_of_type(
    type_name: str, schema: Mapping[str, Any], smallest_inner: Callable[[object], str]
) -> str:
    """Return the JSON text of one of the shortest values of a type."""
    if type_name == "object":
        properties = schema.get("properties", {})
        names = [name for name in schema.get("required", ()) if name in properties]
        pairs = (f"{json.dumps(name)}: {smallest_inner(properties[name])}" for name in names)
        return f"{{{', '.join(pairs)}}}"
    if type_name == "array":
        prefix_items = [smallest_inner(item) for item in schema.get("prefixItems", ())]
        missing_count = schema.get("minItems", 0) - len(prefix_items)
        further_items = [smallest_inner(schema.get("items"))] * missing_count
        return f"[{', '.join(prefix_items + further_items)}]"
    if type_name == "string":
        return f'"{"x" * schema.get("minLength", 0)}"'
    return _SMALLEST_VALUES.get(type_name, "null")
