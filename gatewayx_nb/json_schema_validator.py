"""Validates answers against a caller's JSON Schema, in a bounded number of steps.

Neither the schema nor the answer can be trusted: either may come from a client of the server.

Reference: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayx_nb.bounded_patterns import UnsupportedPatternError, compile_pattern
from gatewayx_nb.errors import UsageError
from gatewayx_nb.json_schema import TYPES
from gatewayx_nb.json_schema_keywords import TooManyStepsError, bounded, limited
from gatewayx_nb.text import short_repr, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.exceptions import SchemaError, ValidationError
    from jsonschema.protocols import Validator

JSON: TypeAlias = Any

MAX_SCHEMA = 200_000
"""Maximum number of characters of a JSON Schema; checking such a long schema takes seconds."""

MAX_STEPS = 1_000_000
"""Maximum number of steps of a validation; 1 MB of JSON takes about 300,000 steps, or a second."""

_MAX_PROBE_STEPS = 10_000
"""Maximum number of steps to validate an empty value."""

_MAX_MIXED_ITEMS = 100
"""Maximum number of items in a schema's list that cannot be sorted to find duplicates."""

_MAX_PATH_LENGTH = 100
"""Maximum number of characters of a path, whose names may come from the answer."""

_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems", "items")

_KEYWORDS_WITH_NAMES = (
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
    "dependentRequired",
    "dependencies",
)
"""Keywords whose values are objects with names that are not keywords."""

_KEYWORDS_WITH_VALUES = ("enum", "const", "default", "examples", "example")
"""Keywords whose values are not schemas."""

_EXCLUSIVE_KEYWORDS = ("patternProperties", "unevaluatedProperties")

_PROBE_VALUES: tuple[JSON, ...] = (None, {}, [])
"""Values that are validated once, to find a schema whose validation takes too long."""

_DRAFTS = ("202012", "201909", "7", "6", "4")
"""The supported drafts, the newest first."""


class JSONSchemaValidator:
    """A JSON Schema against which answers are validated.

    Its draft is that of ``$schema``, or else the newest under which it is valid. ``format`` is not
    checked. OpenAPI's ``nullable`` and types in upper case are supported. References must point
    into the schema itself; nothing is downloaded.

    Args:
        schema: The schema, as JSON.

    Raises:
        UsageError: If it is invalid, or validating an answer against it may take too long.
    """

    def __init__(self, schema: str) -> None:
        if len(schema) > MAX_SCHEMA:
            raise _invalid_schema_error(
                f"it has {len(schema):,} characters, but at most {MAX_SCHEMA:,} are allowed"
            )
        try:
            values = json.loads(schema)
            self._validator = _create_validator(_prepare_schema(values), values.get("$schema"))
            for probe in _PROBE_VALUES:
                with limited(_MAX_PROBE_STEPS):
                    list(self._validator.iter_errors(probe))
        except RecursionError:
            raise _invalid_schema_error(
                "it is nested too deeply, or refers to itself without end"
            ) from None
        except TooManyStepsError:
            raise _invalid_schema_error(
                "its parts multiply, so that comparing it would take too long"
            ) from None

    def check(self, value: object, max_steps: int = MAX_STEPS) -> None:
        """Check a value.

        Args:
            value: The value, as `json.loads` returns it.
            max_steps: Maximum number of steps, each of a few microseconds.

        Raises:
            ValueError: If it does not match. The message contains the path and what is expected,
                but not the value.
            TooManyStepsError: If the validation takes more steps.
        """
        from jsonschema.exceptions import best_match

        try:
            with limited(max_steps):
                first_error = next(self._validator.iter_errors(value), None)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if first_error is not None:
            # Describe only the first error, because 1 MB of JSON may contain 100,000 errors.
            raise ValueError(_error_text(best_match([first_error]) or first_error))


validator_for = functools.lru_cache(maxsize=64)(JSONSchemaValidator)
"""`JSONSchemaValidator`, cached for the most recently used schemas."""


def _invalid_schema_error(problem: str) -> UsageError:
    return UsageError(
        f"the JSON Schema cannot be used: {problem}.",
        hint="Correct it, or pass a class with the fields of the answer.",
        topic="invalid-schema",
    )


def _prepare_schema(schema: JSON, name: str | None = None) -> JSON:
    """Return a schema without IDs, and with types in lower case; Gemini's SDK writes ``STRING``.

    Without IDs, all references are relative to the schema. A ``$schema`` in a subschema would
    replace the bounded validator with another.

    Args:
        schema: The schema, or a value in it.
        name: The keyword of the value; ``None`` for the whole schema.

    Raises:
        UsageError: If a subschema has an ID, or a list could not be searched for duplicates
            quickly.
    """
    if isinstance(schema, list):
        if name not in _LISTS_OF_SCHEMAS:
            _check_list(schema)
        return schema if name == "enum" else [_prepare_schema(item, "") for item in schema]
    if not isinstance(schema, dict):
        return schema
    prepared_schema: dict[str, JSON] = {}
    for key, value in schema.items():
        if isinstance(value, str) and key in ("$id", "$schema", "id"):
            if key == "$id" and name is not None:
                raise _invalid_schema_error("`$id` is only supported at the top")
        elif key == "type" and isinstance(value, str | list):
            prepared_schema[key] = _lower_type(value)
        elif key in _KEYWORDS_WITH_NAMES and isinstance(value, dict):
            prepared_schema[key] = {
                inner_name: _prepare_schema(subschema, "")
                for inner_name, subschema in value.items()
            }
        else:
            is_kept = key in _KEYWORDS_WITH_VALUES and not isinstance(value, list)
            prepared_schema[key] = value if is_kept else _prepare_schema(value, key)
    return prepared_schema


def _check_list(values: list[Any]) -> None:
    sortable_types = (str, int | float)
    is_sortable = any(
        all(isinstance(value, sortable_type) for value in values)
        for sortable_type in sortable_types
    )
    if len(values) > _MAX_MIXED_ITEMS and not is_sortable:
        raise _invalid_schema_error(
            f"a list has more than {_MAX_MIXED_ITEMS} items that are neither all strings nor all"
            " numbers"
        )


def _lower_type(value: JSON) -> JSON:
    if isinstance(value, list):
        _check_list(value)
        return [_lower_type(item) for item in value]
    is_upper = isinstance(value, str) and value.lower() in TYPES
    return value.lower() if is_upper else value


def _create_validator(schema: JSON, dialect: object) -> Validator:
    """Return the validator of the draft of a schema."""
    from jsonschema import exceptions
    from referencing import Registry

    problem: SchemaError | None = None
    for draft in _drafts(dialect):
        try:
            draft.check_schema(schema, format_checker=None)
        except exceptions.SchemaError as error:
            problem = problem or error
        else:
            _check_parts(schema, draft)
            # Without a registry, references to URLs would be downloaded.
            return bounded(draft)(schema, registry=Registry())
    raise _invalid_schema_error("" if problem is None else _error_text(problem))


def _drafts(dialect: object) -> list[Any]:
    """Return the validators of the draft that ``$schema`` names, or of all drafts."""
    from jsonschema import validators

    drafts = [getattr(validators, f"Draft{name}Validator") for name in _DRAFTS]
    dialect_id = str(dialect).removesuffix("#")
    ids = [str(draft.ID_OF(draft.META_SCHEMA)).removesuffix("#") for draft in drafts]
    return [drafts[ids.index(dialect_id)]] if dialect_id in ids else drafts


def _check_parts(schema: JSON, draft: JSON) -> None:
    """Check the references and the patterns, which the meta-schema does not check.

    Raises:
        UsageError: If a reference points to nothing, or a pattern is not supported.
    """
    nodes = list(_nodes(schema))
    # An object that is not visited, such as the value of a `const`, has not been prepared.
    visited_ids = {id(node) for node in nodes}
    for node in nodes:
        for keyword in ("$dynamicRef", "$recursiveRef"):
            if keyword in node:
                raise _invalid_schema_error(f"`{keyword}` is not supported; use `$ref`")
        for pattern in (*node.get("patternProperties", ()), node.get("pattern")):
            if isinstance(pattern, str):
                _check_pattern(pattern)
    for reference in {node["$ref"] for node in nodes if isinstance(node.get("$ref"), str)}:
        _check_reference(reference, schema, draft, visited_ids)
    # `jsonschema` itself would search the names of properties for the patterns.
    if all(any(keyword in node for node in nodes) for keyword in _EXCLUSIVE_KEYWORDS):
        raise _invalid_schema_error(
            f"`{'` and `'.join(_EXCLUSIVE_KEYWORDS)}` cannot be used together"
        )


def _nodes(schema: JSON) -> Iterator[dict[str, JSON]]:
    """Yield a schema and every object within it that may itself be a schema."""
    pending_nodes = [schema]
    while pending_nodes:
        node = pending_nodes.pop()
        if isinstance(node, list):
            pending_nodes += node
        elif isinstance(node, dict):
            yield node
            for key, value in node.items():
                if key in _KEYWORDS_WITH_NAMES and isinstance(value, dict):
                    pending_nodes += value.values()
                elif key not in _KEYWORDS_WITH_VALUES:
                    pending_nodes.append(value)


def _check_reference(reference: str, schema: JSON, draft: JSON, visited_ids: set[int]) -> None:
    from jsonschema import exceptions
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable

    quoted_reference = short_repr(reference)
    if reference != "#" and not reference.startswith("#/"):
        raise _invalid_schema_error(
            f"`$ref` must be `#` or begin with `#/`, got {quoted_reference}; nothing is downloaded"
        )
    resolver = Registry().resolver_with_root(Resource.opaque(schema))
    try:
        target: JSON = resolver.lookup(reference).contents
        if not isinstance(target, bool) and id(target) not in visited_ids:
            raise _invalid_schema_error(f"`$ref` {quoted_reference} points to no schema")
        draft.check_schema(target, format_checker=None)
    except (Unresolvable, ValueError, TypeError):
        raise _invalid_schema_error(f"`$ref` {quoted_reference} points to nothing") from None
    except exceptions.SchemaError as error:
        raise _invalid_schema_error(
            f"`$ref` {quoted_reference} points to no schema: {_error_text(error)}"
        ) from None


def _check_pattern(pattern: str) -> None:
    try:
        compile_pattern(pattern)
    except UnsupportedPatternError as error:
        raise _invalid_schema_error(
            f"the pattern {short_repr(pattern)} cannot be compared: {error}"
        ) from None


def _error_text(error: ValidationError) -> str:
    """Return what is expected, and at which path, in msgspec's wording."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path)
    shown_path = shorten(path, _MAX_PATH_LENGTH)
    return f"{_expectation_text(error)} - at `${shown_path}`" if path else _expectation_text(error)


def _expectation_text(error: ValidationError) -> str:
    value, instance = error.validator_value, error.instance
    match error.validator:
        case "type":
            types = " | ".join([value] if isinstance(value, str) else value)
            return f"Expected `{types}`, got `{_type_name(instance)}`"
        case "required" if isinstance(value, list):
            missing_name = next((name for name in value if name not in instance), "")
            return f"Object missing required field {shorten(f'`{missing_name}`', _MAX_PATH_LENGTH)}"
        case "additionalProperties" if value is False:
            return (
                f"Object contains unknown field {shorten(f'`{error.message}`', _MAX_PATH_LENGTH)}"
            )
        case "enum":
            values_text = json.dumps(value, ensure_ascii=False)
            return f"Expected one of {shorten(values_text, _MAX_PATH_LENGTH)}"
        case None:
            return "Expected no value"
    value_text = shorten(json.dumps(value, ensure_ascii=False), _MAX_PATH_LENGTH)
    return f"Expected a value with `{error.validator}` {value_text}"


def _type_name(value: object) -> str:
    return next((name for name, is_type in TYPES.items() if is_type(value)), "null")
