"""Implementations of JSON Schema's keywords for `jsonschema`, with a limit on their steps.

Reference: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

from gatewayx_nb.bounded_patterns import compile_pattern
from gatewayx_nb.json_schema import TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

JSON: TypeAlias = Any

Keyword: TypeAlias = "Callable[[Validator, JSON, JSON, JSON], Iterator[ValidationError] | None]"

_KEYWORDS_PER_ITEM = frozenset(
    ["additionalProperties", "contains", "patternProperties", "propertyNames", "uniqueItems"]
)
"""Keywords that check every item or property."""

_KEYWORDS_PER_PAIR = frozenset(["unevaluatedItems", "unevaluatedProperties"])
"""Keywords that compare every pair of items or properties."""


_REFERENCE_COST = 5
"""Number of steps that a reference takes, because it is resolved at each use."""


class TooManyStepsError(Exception):
    """A validation takes more steps than allowed."""


class _Steps:
    """The number of steps that a validation may still take, and the keys of enums already read."""

    def __init__(self, allowed_steps: int) -> None:
        self._remaining_steps = allowed_steps
        self._keys: dict[int, frozenset[object]] = {}

    def spend(self, count: int) -> None:
        self._remaining_steps -= count
        if self._remaining_steps < 0:
            raise TooManyStepsError

    def keys_of(self, values: list[JSON]) -> frozenset[object]:
        """Return the keys of an enum's values; they are computed once per validation."""
        if id(values) not in self._keys:
            self._keys[id(values)] = frozenset(map(_key, values))
        return self._keys[id(values)]


_CURRENT_STEPS: ContextVar[_Steps] = ContextVar("steps")
"""The steps of the current validation; `jsonschema` passes no context to keywords."""


@contextmanager
def limited(steps: int) -> Iterator[None]:
    """Limit the number of steps of the validation in the ``with`` block.

    Raises:
        TooManyStepsError: If the validation takes more steps.
    """
    token = _CURRENT_STEPS.set(_Steps(steps))
    try:
        yield
    finally:
        _CURRENT_STEPS.reset(token)


@functools.cache
def bounded(draft: Any) -> Any:  # noqa: ANN401 - a class that `jsonschema` creates
    """Return a draft's validator class, with keywords that count their steps."""
    from jsonschema import validators

    replacements = {
        "type": _type,
        "enum": _enum,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {name: replacements.get(name, keyword) for name, keyword in draft.VALIDATORS.items()}
    counted_keywords = {name: _count_steps(name, keyword) for name, keyword in keywords.items()}
    return validators.extend(draft, counted_keywords)


def _count_steps(name: str, keyword: Keyword) -> Keyword:
    """Return a keyword that counts its steps whenever it validates a value."""

    def counted(
        validator: Validator,
        value: JSON,
        instance: JSON,
        schema: JSON,
    ) -> Iterator[ValidationError]:
        steps = _CURRENT_STEPS.get()
        cost = _REFERENCE_COST if name == "$ref" else 1
        cost += len(value) if isinstance(value, dict | list) else 0
        if isinstance(instance, dict | list):
            if name in _KEYWORDS_PER_ITEM:
                cost += len(instance)
            elif name in _KEYWORDS_PER_PAIR:
                cost += len(instance) ** 2 // 100
        steps.spend(cost)
        for error in keyword(validator, value, instance, schema) or ():
            steps.spend(len(error.message) // 100)  # it may repeat the whole value
            yield error

    return counted


def _mismatch(name: str = "") -> ValidationError:
    """Return an error whose message, unlike those of `jsonschema`, does not repeat the value.

    Args:
        name: The name of a property that is not allowed, if that is the error.
    """
    from jsonschema.exceptions import ValidationError

    return ValidationError(name)


def _type(_: Validator, types: JSON, instance: JSON, schema: JSON) -> Iterator[ValidationError]:
    names = [types] if isinstance(types, str) else types
    is_null = instance is None and schema.get("nullable") is True
    # JSON Schema regards 1.0 as an integer.
    is_integer = "integer" in names and isinstance(instance, float) and instance.is_integer()
    if not (is_null or is_integer or any(TYPES[name](instance) for name in names)):
        yield _mismatch()


def _enum(_: Validator, values: JSON, instance: JSON, schema: JSON) -> Iterator[ValidationError]:
    is_null = instance is None and schema.get("nullable") is True
    if not is_null and _key(instance) not in _CURRENT_STEPS.get().keys_of(values):
        yield _mismatch()


def _pattern(_: Validator, pattern: JSON, instance: JSON, __: JSON) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(pattern).search(
        instance, _CURRENT_STEPS.get().spend
    ):
        yield _mismatch()


def _pattern_properties(
    validator: Validator,
    patterns: JSON,
    instance: JSON,
    _: JSON,
) -> Iterator[ValidationError]:
    for pattern, subschema in patterns.items():
        for name, item in instance.items() if isinstance(instance, dict) else ():
            if compile_pattern(pattern).search(name, _CURRENT_STEPS.get().spend):
                yield from validator.descend(item, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Validator,
    subschema: JSON,
    instance: JSON,
    schema: JSON,
) -> Iterator[ValidationError]:
    for name, item in instance.items() if isinstance(instance, dict) else ():
        if name not in schema.get("properties", {}) and not _matches_pattern(name, schema):
            if subschema is False:
                yield _mismatch(name)
            else:
                yield from validator.descend(item, subschema, path=name)


def _matches_pattern(name: str, schema: Mapping[str, JSON]) -> bool:
    patterns, spend = schema.get("patternProperties", {}), _CURRENT_STEPS.get().spend
    return any(compile_pattern(pattern).search(name, spend) for pattern in patterns)


def _unique_items(_: Validator, value: JSON, instance: JSON, __: JSON) -> Iterator[ValidationError]:
    if value and isinstance(instance, list) and len(set(map(_key, instance))) < len(instance):
        yield _mismatch()


def _key(value: object) -> object:
    """Return a hashable object that is equal for equal JSON values; 1 equals 1.0, but not true."""
    match value:
        case dict():
            return frozenset((name, _key(item)) for name, item in value.items())
        case list():
            return tuple(map(_key, value))
        case bool():
            return (bool, value)
    return value
