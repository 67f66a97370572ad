"""Creates strict variants of a JSON Schema, because each provider enforces another subset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gatewayx_nb.json_schema import resolve, wrap_in_object

_IGNORED_KEYWORDS = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "discriminator", "deprecated"}
)
"""Keywords that are meaningless to a model."""

_STRUCTURE_KEYWORDS = frozenset(
    {"$ref", "additionalProperties", "allOf", "anyOf", "const", "description", "enum", "format"}
    | {"items", "oneOf", "prefixItems", "properties", "required", "title", "type"}
)

_NULL_TYPE = {"type": "null"}

_JSON_TYPE_BY_CLASS: Mapping[type, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


class NotEnforceableError(Exception):
    """The provider cannot enforce the schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRules:
    """The subset of JSON Schema that a provider enforces.

    Attributes:
        keywords: The supported constraints. Other constraints are moved to the description, where
            the model may follow them.
        formats: The supported formats.
        all_required: Whether every property must be required; optional properties become nullable.
        some_required: Whether an object must have at least one required property.
        prefix_items: Whether the items of a tuple may have different schemas.
        recursion: Where a type may contain itself: anywhere, only in optional properties, or
            nowhere.
        enum_needs_type: Whether ``type`` must accompany ``enum``; otherwise, it must not.
        max_properties: Maximum number of properties in all objects.
        max_depth: Maximum depth of nested objects.
        max_optional: Maximum number of optional properties.
        max_unions: Maximum number of properties and items with several types.
        max_enum_values: Maximum number of values in all enums.
        max_long_labels: Maximum number of characters in an enum with more than 250 values.
        distinct_variants: Whether the objects of a union must differ in the name or the labels of
            their first property.
        max_min_items: Highest value of ``minItems``.
        max_chars: Maximum number of characters in all names and labels.
    """

    keywords: frozenset[str] = frozenset()
    formats: frozenset[str] = frozenset()
    all_required: bool = False
    some_required: bool = False
    prefix_items: bool = False
    recursion: Literal["anywhere", "optional", "no"] = "no"
    enum_needs_type: bool = True
    max_properties: int | None = None
    max_depth: int | None = None
    max_optional: int | None = None
    max_unions: int | None = None
    max_enum_values: int | None = None
    max_long_labels: int | None = None
    distinct_variants: bool = False
    max_min_items: int | None = None
    max_chars: int | None = None

    def enforceable_schema(self, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the variant of a schema that the provider enforces.

        A value that is not an object is wrapped in an object. The result is ``None`` if the
        provider cannot enforce the schema because it is open, too large or uses other keywords.
        """
        try:
            strict_schema = _Translation(self, wrap_in_object(schema)).result()
            self._check_size(strict_schema)
        except (NotEnforceableError, RecursionError):
            return None
        return strict_schema

    def _check_size(self, strict_schema: dict[str, Any]) -> None:
        parts = list(_parts(strict_schema))
        objects = [part for part in parts if "properties" in part]
        names = [name for part in objects for name in part["properties"]]
        labels = [label for part in parts for label in part.get("enum", ())]
        required_count = sum(len(part.get("required", ())) for part in objects)
        counted_texts = [*names, *strict_schema.get("$defs", {}), *map(str, labels)]
        sizes = (
            (len(names), self.max_properties),
            (len(names) - required_count, self.max_optional),
            (sum("anyOf" in part for part in parts), self.max_unions),
            (len(labels), self.max_enum_values),
            (sum(map(len, counted_texts)), self.max_chars),
            (_depth(strict_schema, {}, strict_schema), self.max_depth),
            (max(map(_long_label_size, parts)), self.max_long_labels),
        )
        if any(limit is not None and size > limit for size, limit in sizes):
            raise NotEnforceableError
        unions = (part["anyOf"] for part in parts if "anyOf" in part)
        if self.distinct_variants and not all(
            _are_distinct(union, strict_schema) for union in unions
        ):
            raise NotEnforceableError


class _Translation:
    """The translation of one schema, which describes an object."""

    def __init__(self, rules: SchemaRules, root: Mapping[str, Any]) -> None:
        self._rules = rules
        self._root = root
        self._definitions = {**root.get("definitions", {}), **root.get("$defs", {})}
        self._recursive_names = set(self._find_recursive())

    def result(self) -> dict[str, Any]:
        """Return the schema with the referenced definitions."""
        strict_schema = self._part(self._root)
        definitions: dict[str, Any] = {}
        pending_names = list(_references(strict_schema))
        while pending_names:
            name = pending_names.pop()
            if name not in definitions:
                definitions[name] = self._part(self._definitions[name])
                pending_names += _references(definitions[name])
        ordered_definitions = {
            name: definitions[name] for name in self._definitions if name in definitions
        }
        return {**strict_schema, **({"$defs": ordered_definitions} if ordered_definitions else {})}

    def _find_recursive(self) -> Iterator[str]:
        direct_names_by_definition = {
            name: set(_references(part)) for name, part in self._definitions.items()
        }
        for name, direct_names in direct_names_by_definition.items():
            pending_names, reached_names = list(direct_names), set(direct_names)
            while pending_names:
                new_names = (
                    direct_names_by_definition.get(pending_names.pop(), set()) - reached_names
                )
                reached_names |= new_names
                pending_names += new_names
            if name in reached_names:
                yield name

    def _part(self, schema: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        if not isinstance(schema, Mapping):
            raise NotEnforceableError
        part = {name: value for name, value in schema.items() if name not in _IGNORED_KEYWORDS}
        match part:
            case {"allOf": [subschema]}:
                translated = self._part(
                    {**subschema, **{k: v for k, v in part.items() if k != "allOf"}}
                )
            case {"allOf": _} | {"patternProperties": _}:
                raise NotEnforceableError
            case {"$ref": reference}:
                translated = self._reference(str(reference), part)
            case {"const": label}:
                translated = self._labels([label], part)
            case {"enum": labels}:
                translated = self._labels(labels, part)
            case {"anyOf": variants} | {"oneOf": variants}:
                translated = self._union(variants, part)
            case {"type": [*types]}:
                variants = [_of_type(part, name) for name in types]
                translated = self._union(
                    variants, {k: part[k] for k in _NOTE_KEYWORDS if k in part}
                )
            case _:
                translated = self._of_declared_type(part)
        return translated

    def _of_declared_type(self, part: dict[str, Any]) -> dict[str, Any]:
        type_name = part.get("type", "object" if "properties" in part else None)
        allowed_keywords = self._rules.keywords
        match type_name:
            case "object":
                return {"type": type_name, **self._object(part), **self._notes(part)}
            case "array":
                return self._array(part)
            case "string" | "number" | "integer" | "boolean" | "null":
                constraints = {
                    k: v for k, v in part.items() if k in allowed_keywords and _is_simple(k, v)
                }
                if part.get("format") in self._rules.formats:
                    constraints["format"] = part["format"]
                return {"type": type_name, **constraints, **self._notes(part, constraints)}
        raise NotEnforceableError

    def _object(self, part: dict[str, Any]) -> dict[str, Any]:
        additional_properties = part.get("additionalProperties", "properties" not in part)
        if additional_properties is not False:
            raise NotEnforceableError
        declared_properties = part.get("properties", {})
        properties = {name: self._part(value) for name, value in declared_properties.items()}
        required_names = [name for name in properties if name in part.get("required", ())]
        if self._rules.some_required and not properties:
            raise NotEnforceableError
        if self._rules.all_required or (self._rules.some_required and not required_names):
            optional_names = set(properties) - set(required_names)
            properties |= {name: _nullable(properties[name]) for name in optional_names}
            required_names = list(properties)
        elif self._rules.recursion == "optional":
            required_names = [
                name for name in required_names if not self._is_recursive(declared_properties[name])
            ]
        return {"properties": properties, "required": required_names, "additionalProperties": False}

    def _is_recursive(self, schema: object) -> bool:
        return not self._recursive_names.isdisjoint(_references(schema))

    def _array(self, part: dict[str, Any]) -> dict[str, Any]:
        constraints = {name: value for name, value in part.items() if name in self._rules.keywords}
        limit = self._rules.max_min_items
        if limit is not None and constraints.get("minItems", 0) > limit:
            del constraints["minItems"]
        if prefix_items := part.get("prefixItems"):
            if part.get("items"):
                raise NotEnforceableError
            items = [self._part(item) for item in prefix_items]
            if self._rules.prefix_items:
                return {
                    "type": "array",
                    "prefixItems": items,
                    **constraints,
                    **self._notes(part, constraints),
                }
            unique_items = [item for index, item in enumerate(items) if item not in items[:index]]
            item = (
                unique_items[0]
                if len(unique_items) == 1
                else {"anyOf": list(_flattened(unique_items))}
            )
            order = ", ".join(str(_name_of(item)) for item in items)
            part = {**part, "items in this order": order}
        else:
            item = self._part(part.get("items"))
        return {"type": "array", "items": item, **constraints, **self._notes(part, constraints)}

    def _reference(self, reference: str, part: dict[str, Any]) -> dict[str, Any]:
        name = _definition(reference)
        if name is None or not resolve({"$ref": reference}, self._root):
            raise NotEnforceableError
        if name in self._recursive_names and self._rules.recursion == "no":
            raise NotEnforceableError
        target = {"$ref": f"#/$defs/{name}"}
        notes = self._notes(part)
        return {"anyOf": [target], **notes} if notes else target

    def _labels(self, labels: Iterable[Any], part: dict[str, Any]) -> dict[str, Any]:
        labels_by_type: dict[str, list[Any]] = {}
        for label in labels:
            if type(label) not in _JSON_TYPE_BY_CLASS:
                raise NotEnforceableError
            labels_by_type.setdefault(_JSON_TYPE_BY_CLASS[type(label)], []).append(label)
        variants = [
            self._labels_of_type(type_name, group) for type_name, group in labels_by_type.items()
        ]
        if not variants:
            raise NotEnforceableError
        notes = self._notes(part)
        return {**variants[0], **notes} if len(variants) == 1 else {"anyOf": variants, **notes}

    def _labels_of_type(self, type_name: str, labels: list[Any]) -> dict[str, Any]:
        if type_name in ("null", "boolean"):  # not all providers support an enum of this type
            note = {"description": f"{{enum: {labels}}}"} if labels in ([True], [False]) else {}
            return {"type": type_name, **note}
        return (
            {"type": type_name, "enum": labels} if self._rules.enum_needs_type else {"enum": labels}
        )

    def _union(self, variants: Iterable[Any], part: dict[str, Any]) -> dict[str, Any]:
        if "properties" in part or not variants:
            raise NotEnforceableError
        return {"anyOf": list(_flattened(map(self._part, variants))), **self._notes(part)}

    def _notes(self, part: Mapping[str, Any], kept_keywords: Iterable[str] = ()) -> dict[str, Any]:
        """Return the title and description, to which the other constraints are appended.

        Anthropic's SDK does the same (``anthropic.transform_schema``).
        """
        notes = {name: part[name] for name in ("description", "title") if name in part}
        other_constraints = {
            name: value
            for name, value in part.items()
            if name not in kept_keywords and name not in _STRUCTURE_KEYWORDS - {"format"}
            if not (name == "default" and value is None)
        }
        if other_constraints:
            constraint_note = (
                "{"
                + ", ".join(f"{name}: {value}" for name, value in other_constraints.items())
                + "}"
            )
            notes["description"] = "\n\n".join(
                filter(None, (notes.get("description"), constraint_note))
            )
        return notes


_NOTE_KEYWORDS = ("title", "description", "default")


def _of_type(part: dict[str, Any], type_name: str) -> dict[str, Any]:
    """Return the part of a multi-type schema that applies to one of its types."""
    constraints = {name: value for name, value in part.items() if name not in _NOTE_KEYWORDS}
    return (
        {"type": type_name}
        if type_name in ("null", "boolean")
        else {**constraints, "type": type_name}
    )


def _is_simple(keyword: str, value: object) -> bool:
    """Return whether a keyword is enforceable; grammars do not support lookaround."""
    return keyword != "pattern" or "(?" not in str(value)


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    variants = schema.get("anyOf", [schema])
    if _NULL_TYPE in variants or schema.get("type") == "null":
        return schema
    return (
        {**schema, "anyOf": [*variants, _NULL_TYPE]}
        if "anyOf" in schema
        else {"anyOf": [schema, _NULL_TYPE]}
    )


def _flattened(variants: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the variants of a union, including those of nested unions."""
    for variant in variants:
        yield from variant["anyOf"] if set(variant) == {"anyOf"} else (variant,)


_MAX_SHORT_ENUM_VALUES = 250
"""Maximum number of values in an enum whose labels may have any length."""


def _long_label_size(part: Mapping[str, Any]) -> int:
    """Return the number of characters in an enum with many values, otherwise 0."""
    labels = part.get("enum", ())
    return sum(len(str(label)) for label in labels) if len(labels) > _MAX_SHORT_ENUM_VALUES else 0


def _are_distinct(variants: Iterable[Any], root: Mapping[str, Any]) -> bool:
    """Return whether the objects of a union differ in the name or the labels of their first key."""
    labels_by_name: dict[str, list[set[str]]] = {}
    for variant in variants:
        properties = resolve(variant, root).get("properties", {})
        for name in itertools.islice(properties, 1):
            labels = set(map(repr, resolve(properties[name], root).get("enum", ())))
            labels_by_name.setdefault(name, []).append(labels)
    return all(
        all(first and second and first.isdisjoint(second) for first, second in pairs)
        for pairs in (itertools.combinations(group, 2) for group in labels_by_name.values())
    )


def _name_of(schema: Mapping[str, Any]) -> object:
    name = schema.get("title") or schema.get("type") or _definition(schema.get("$ref", ""))
    return name or schema.get("enum") or "any of several"


def _definition(reference: str) -> str | None:
    """Return the name of the definition that a reference points to."""
    for prefix in ("#/$defs/", "#/definitions/"):
        if reference.startswith(prefix):
            return reference.removeprefix(prefix).replace("~1", "/").replace("~0", "~")
    return None


def _parts(schema: object) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all schemas in it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    named_schemas = (schema.get(key, {}).values() for key in ("properties", "$defs"))
    listed_schemas = (schema.get(key, []) for key in ("anyOf", "oneOf", "allOf", "prefixItems"))
    for part in itertools.chain(*named_schemas, *listed_schemas, (schema.get("items"),)):
        yield from _parts(part)


def _references(schema: object) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to."""
    for part in _parts(schema):
        name = _definition(str(part.get("$ref", "")))
        if name is not None:
            yield name


def _depth(
    schema: Mapping[str, Any], depth_by_definition: dict[str, int], root: Mapping[str, Any]
) -> int:
    """Return the depth of nested objects; a type that contains itself is counted once.

    Args:
        schema: A strict schema.
        depth_by_definition: The known depths of definitions, to which this function adds.
        root: The schema with the definitions.
    """
    name = _definition(str(schema.get("$ref", "")))
    if name is not None:
        if name not in depth_by_definition:
            depth_by_definition[name] = 0
            depth_by_definition[name] = _depth(root["$defs"][name], depth_by_definition, root)
        return depth_by_definition[name]
    subschemas = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    subschemas += [
        *schema.get("prefixItems", []),
        *([schema["items"]] if "items" in schema else []),
    ]
    return ("properties" in schema) + max(
        (_depth(part, depth_by_definition, root) for part in subschemas), default=0
    )
