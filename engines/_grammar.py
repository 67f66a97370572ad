"""Grammars for llama.cpp that enforce JSON Schemas.

An unknown keyword, format or reference disables the grammar without an error, so only known items
are kept: https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md. Every part is
bounded: a small model repeats itself, and an answer that does not end is truncated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..errors import ProviderError
from ..json_schema import resolve

_MAX_DEPTH = 3  # nesting levels of a recursive type, or of arbitrary JSON
_MAX_LENGTH = 2_000  # characters in a string
_MAX_ITEMS = 100
_MAX_RECURSIVE_ITEMS = 4  # items in a list within a recursive type, because nested lists multiply
_MAX_PROPERTIES = 20  # properties in an object with arbitrary names
_NAME_PATTERN = r"^[^\n]{1,40}$"
_MAX_NUMBER = 10**15
_SIX_DECIMALS = {"multipleOf": 0.000001}

_DAY_PATTERN = (
    "[12][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK_PATTERN = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_DECIMAL_PATTERN = r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$"

# These are narrower than the grammar's formats, which accept dates such as 30 February.
_PATTERN_BY_FORMAT = {
    "date": f"^{_DAY_PATTERN}$",
    "date-time": f"^{_DAY_PATTERN}T{_CLOCK_PATTERN}Z$",
    "time": f"^{_CLOCK_PATTERN}$",
    "duration": "^(P[0-9]{1,4}D|PT[0-9]{1,5}[HMS])$",
    "decimal": _DECIMAL_PATTERN,
    "base64": "^([A-Za-z0-9+/]{4}){0,200}$",
    "email": r"^[a-z0-9]{1,20}([._-][a-z0-9]{1,20})?@[a-z0-9]{1,20}\.[a-z]{2,4}$",
    "uri": r"^https://[a-z0-9]{1,20}\.[a-z]{2,4}(/[a-z0-9._-]{1,40}){0,3}$",
}
_SUPPORTED_FORMATS = frozenset({"uuid", "ipv4", "ipv6", "hostname"})
# The beginning of pydantic's pattern for a Decimal, which is a lookahead.
_PYDANTIC_DECIMAL = "^(?!^[-+.]*$)"

_LAYOUT = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class _TooDeepError(Exception):
    """A recursive type has reached the maximum depth."""


def grammar(schema: Mapping[str, Any]) -> str:
    """Return the grammar for a JSON Schema; an empty schema allows objects and lists.

    Raises:
        ProviderError: If a part has an unknown type.
    """
    enforced = {**_Translation(schema).result(), "x-guidance": _LAYOUT}
    return f"%llguidance {{}}\nstart: %json {json.dumps(enforced)}"


class _Translation:
    """Translates a schema. Each level of a recursive type has its own definition."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._definitions: dict[str, dict[str, Any]] = {}

    def result(self) -> dict[str, Any]:
        strict = self._subschema(self._root, {}) if self._root else _any_container(_MAX_DEPTH)
        return {**strict, **({"$defs": self._definitions} if self._definitions else {})}

    def _subschema(self, schema: Any, levels: Mapping[str, int]) -> dict[str, Any]:  # noqa: ANN401, PLR0911 - one for each keyword
        """Return the translation of a subschema.

        Args:
            schema: The subschema.
            levels: Number of enclosing uses of each definition.
        """
        match schema:
            case {"$ref": reference}:
                return self._reference(reference, levels)
            case {"const": label}:
                return {"enum": [label]}
            case {"enum": labels}:
                return {"enum": list(labels)}
            case {"allOf": parts}:
                return self._subschema(self._merged(schema, parts), levels)
            case {"anyOf": variants} | {"oneOf": variants}:
                return {"anyOf": self._variants(variants, levels)}
            case {"type": [*types]}:
                variants = ({**schema, "type": name} for name in types)
                return {"anyOf": self._variants(variants, levels)}
        return self._typed(schema if isinstance(schema, Mapping) else {}, levels)

    def _merged(self, schema: Mapping[str, Any], parts: Iterable[Any]) -> dict[str, Any]:
        """Return a schema that combines the parts of ``allOf`` and the other keywords."""
        merged: dict[str, Any] = {}
        other_keywords = {name: value for name, value in schema.items() if name != "allOf"}
        for part in (*(resolve(part, self._root) for part in parts), other_keywords):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", ()), *part.get("required", ())]
            combined = {"properties": properties, "required": required} if properties else {}
            merged = {**merged, **part, **combined}
        return merged

    def _typed(self, schema: Mapping[str, Any], levels: Mapping[str, int]) -> dict[str, Any]:
        match schema.get("type", _implied_type(schema)):
            case "object":
                return self._object(schema, levels)
            case "array":
                return self._array(schema, levels)
            case "string":
                return _string(schema)
            case "integer" | "number" as kind:
                return _number(schema, kind)
            case None:
                return _any_value(1)
            case "boolean" | "null" as kind:
                return {"type": kind}
            case kind:
                raise ProviderError(
                    f"the `type` in a JSON Schema must be one of its seven types, got {kind!r}.",
                    hint='For example, "string".',
                    engine="local",
                )

    def _reference(self, reference: Any, levels: Mapping[str, int]) -> dict[str, Any]:  # noqa: ANN401
        level = levels.get(reference, 0) + 1
        if level > _MAX_DEPTH:
            raise _TooDeepError
        name = f"{str(reference).rpartition('/')[2]}-{level}"
        if name not in self._definitions:
            target = resolve({"$ref": reference}, self._root)
            self._definitions[name] = {}  # so that circular references end
            try:
                self._definitions[name] = self._subschema(target, {**levels, reference: level})
            except _TooDeepError:
                del self._definitions[name]
                raise
        return {"$ref": f"#/$defs/{name}"}

    def _variants(self, variants: Iterable[Any], levels: Mapping[str, int]) -> list[dict[str, Any]]:
        kept_variants = []
        for variant in variants:
            try:
                kept_variants.append(self._subschema(variant, levels))
            except _TooDeepError:
                continue
        if not kept_variants:
            raise _TooDeepError
        return kept_variants

    def _object(self, schema: Mapping[str, Any], levels: Mapping[str, int]) -> dict[str, Any]:
        if "properties" not in schema:
            extra_schema = schema.get("additionalProperties", True)
            values = (
                _any_value(1) if extra_schema is True else self._subschema(extra_schema, levels)
            )
            return _open_object(values)
        required = schema.get("required", ())
        properties = dict(self._properties(schema["properties"], required, levels))
        # Without `additionalProperties`, any number of other names would be allowed.
        kept_keywords = {"properties": properties, "required": list(required)}
        return {"type": "object", **kept_keywords, "additionalProperties": False}

    def _properties(
        self, properties: Mapping[str, Any], required: Iterable[str], levels: Mapping[str, int]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, part in properties.items():
            try:
                yield name, self._subschema(part, levels)
            except _TooDeepError:
                if name in required:
                    raise

    def _array(self, schema: Mapping[str, Any], levels: Mapping[str, int]) -> dict[str, Any]:
        first_items = [self._subschema(item, levels) for item in schema.get("prefixItems", ())]
        min_items = schema.get("minItems", 0)
        default_max = _MAX_RECURSIVE_ITEMS if levels else _MAX_ITEMS
        max_items = min(schema.get("maxItems", default_max), max(default_max, min_items))
        if first_items:
            bounds = {"minItems": min_items, "maxItems": min(max_items, len(first_items))}
            return {"type": "array", "prefixItems": first_items, **bounds}
        try:
            items = self._subschema(schema.get("items", True), levels)
        except _TooDeepError:
            if min_items:
                raise
            return {"type": "array", "maxItems": 0}
        return {"type": "array", "items": items, "minItems": min_items, "maxItems": max_items}


def _implied_type(schema: Mapping[str, Any]) -> str | None:
    return "object" if "properties" in schema else "array" if "items" in schema else None


def _string(schema: Mapping[str, Any]) -> dict[str, Any]:
    format_name = schema.get("format") or schema.get("contentEncoding")
    pattern = str(schema.get("pattern", ""))
    if pattern.startswith(_PYDANTIC_DECIMAL):
        return {"type": "string", "pattern": _DECIMAL_PATTERN}
    if format_name in _PATTERN_BY_FORMAT:
        return {"type": "string", "pattern": _PATTERN_BY_FORMAT[format_name]}
    if format_name in _SUPPORTED_FORMATS:
        return {"type": "string", "format": format_name}
    min_length = schema.get("minLength", 0)
    length_bounds = {
        "minLength": min_length,
        "maxLength": min(schema.get("maxLength", _MAX_LENGTH), max(_MAX_LENGTH, min_length)),
    }
    # The grammar does not support lookaround.
    return {
        "type": "string",
        **length_bounds,
        **({"pattern": pattern} if _is_simple(pattern) else {}),
    }


def _is_simple(pattern: str) -> bool:
    return bool(pattern) and "(?" not in pattern


def _number(schema: Mapping[str, Any], kind: str) -> dict[str, Any]:
    names = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
    bounds = {name: schema[name] for name in names if name in schema}
    if not {"minimum", "exclusiveMinimum"} & set(bounds):
        bounds["minimum"] = -_MAX_NUMBER
    if not {"maximum", "exclusiveMaximum"} & set(bounds):
        bounds["maximum"] = _MAX_NUMBER
    return {"type": kind, **(_SIX_DECIMALS if kind == "number" else {}), **bounds}


def _open_object(values: dict[str, Any]) -> dict[str, Any]:
    name_rules = {"patternProperties": {_NAME_PATTERN: values}, "additionalProperties": False}
    return {"type": "object", **name_rules, "maxProperties": _MAX_PROPERTIES}


def _any_container(depth: int) -> dict[str, Any]:
    """Return the schema of an object or a list of any values, up to a nesting depth."""
    values = _any_value(depth - 1)
    return {
        "anyOf": [
            _open_object(values),
            {"type": "array", "items": values, "maxItems": _MAX_ITEMS},
        ]
    }


def _any_value(depth: int) -> dict[str, Any]:
    """Return the schema of any value, up to a nesting depth."""
    text, number = _string({}), _number({}, "number")
    nested = _any_container(depth)["anyOf"] if depth > 0 else []
    return {"anyOf": [text, number, {"type": "boolean"}, {"type": "null"}, *nested]}
