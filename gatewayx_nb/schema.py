"""Creates JSON Schemas for types, and parses replies into values of those types."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

from typing_extensions import override

from gatewayx_nb import json_schema
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.extraction import extract_json
from gatewayx_nb.json_schema_keywords import TooManyStepsError
from gatewayx_nb.json_schema_validator import MAX_STEPS, JSONSchemaValidator, validator_for
from gatewayx_nb.text import short_repr


class ResponseSchema:
    """The required format of a reply.

    A pydantic model creates its own schema and values. For other types, msgspec creates them, or
    pydantic if a type contains pydantic's types or is not supported by msgspec.

    Args:
        source: A JSON Schema as a dict, a type such as ``City``, ``list[City]``, ``City | None``,
            ``Literal["yes", "no"]`` or ``int``; ``None`` for text without a schema.
        extract: Returns the value in a reply's text; raises ValueError if there is none.
        is_loose: Whether the prompt asks for the format even if the engine enforces the schema.
        instructions: The format instruction for the prompt; derived from the schema if empty. The
            value is then not validated against a JSON Schema.
        validates: Whether answers are validated against a JSON Schema.

    Raises:
        UsageError: If ``source`` is none of these, or a JSON Schema against which no answer can be
            validated.

    Attributes:
        schema: The JSON Schema; each provider receives its own variant of it. Objects that list
            their properties do not allow others, unless the schema was passed as a dict.
        described: ``schema`` with the formats of all dates and times; msgspec omits the format if a
            time zone is optional.
        is_loose: The argument ``is_loose``.
    """

    schema: dict[str, Any] | None
    described: dict[str, Any] | None

    def __init__(
        self,
        source: object,
        *,
        extract: Callable[[str], Any] = extract_json,
        is_loose: bool = False,
        instructions: str = "",
        validates: bool = True,
    ) -> None:
        self._source = source
        self._extract, self._instructions = extract, instructions
        self.is_loose, self._validates = is_loose, validates
        self._convert: Callable[[Any], Any] | None = None
        self._validator: JSONSchemaValidator | None = None
        if source is None or isinstance(source, Mapping):
            self.schema = self.described = None if source is None else _copy_schema(source)
            if self.schema and validates and not instructions:
                self._validator = validator_for(json.dumps(self.schema))
        else:
            schema, self._convert = _read_type(source)
            self.schema = _close_objects(schema)
            self.described = _with_times(self.schema, source)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # The converters that msgspec and pydantic create cannot be pickled.
        create = partial(
            ResponseSchema,
            extract=self._extract,
            is_loose=self.is_loose,
            instructions=self._instructions,
            validates=self._validates,
        )
        return create, (self._source,)

    @property
    def is_given(self) -> bool:
        """Whether the caller passed a type or a schema, rather than only an output format."""
        return self._convert is not None or (not self._instructions and bool(self.schema))

    def instructions(self, *, in_object: bool = False) -> str:
        """Return the format instruction for the prompt.

        Args:
            in_object: Whether the answer must be an object, which wraps any other value.
        """
        if self._instructions:
            return self._instructions
        # These instructions are sent to the model, so changing them changes answers.
        instruction = "JSON alone, without a word around it"
        if not self.described:
            return f"{instruction}."
        schema = json_schema.wrap_in_object(self.described) if in_object else self.described
        return f"{instruction}, that satisfies this JSON Schema:\n{json.dumps(schema)}"

    def parse(self, text: str) -> Any:  # noqa: ANN401 - depends on the schema
        """Parse a reply into a value of the type, or into JSON data for a schema.

        By default, a code fence around the JSON and prose before and after it are ignored. A value
        that is not an object may be wrapped in an object, as its ``answer`` property. An enum value
        or another scalar may be a bare word.

        Raises:
            ValueError: If the reply contains no JSON, or JSON that does not match the type or
                schema.
        """
        try:
            return self._parse(text)
        except TooManyStepsError:
            raise ValueError("validating it against the JSON Schema takes too long") from None

    async def aparse(self, text: str) -> Any:  # noqa: ANN401 - depends on the schema
        """Parse a reply like `parse`, in another thread if its validation may be slow.

        Raises:
            ValueError: As for `parse`.
        """
        if self._validator is None:
            return self.parse(text)
        if len(text) <= _SHORT_TEXT:
            with suppress(TooManyStepsError):
                return self._parse(text, _QUICK_STEPS)
        return await asyncio.to_thread(self.parse, text)

    def unwrapped(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return JSON data without the object in which a provider may have wrapped it."""
        inner = self._unwrap(value)
        with suppress(ValueError, TooManyStepsError):
            if inner is not _NO_VALUE:
                self._fit_and_convert(inner)  # raises an error if it does not match the schema
                return inner
        return value

    def _parse(self, text: str, max_steps: int = MAX_STEPS) -> Any:  # noqa: ANN401 - as above
        try:
            value = self._extract(text)
            inner = self._unwrap(value)
            if inner is not _NO_VALUE:
                with suppress(ValueError):
                    return self._fit_and_convert(inner, max_steps)
            return self._fit_and_convert(value, max_steps)
        except ValueError:
            for candidate in self._bare_values(text):
                with suppress(ValueError):
                    return self._fit_and_convert(candidate, max_steps)
            raise

    def _unwrap(self, value: Any) -> Any:  # noqa: ANN401 - JSON
        """Return the value that a provider wrapped in an object, or `_NO_VALUE`."""
        is_in_object = self.schema and not json_schema.is_object(self.schema)
        if is_in_object and isinstance(value, dict) and list(value) == [json_schema.ANSWER]:
            return value[json_schema.ANSWER]
        return _NO_VALUE

    def _fit_and_convert(self, value: Any, max_steps: int = MAX_STEPS) -> Any:  # noqa: ANN401 - depends on the schema
        if self.schema:
            value = json_schema.fit(value, self.schema, self.schema)
        if self._validator is not None:
            self._validator.check(value, max_steps)
        return value if self._convert is None else self._convert(value)

    def _bare_values(self, text: str) -> Iterator[Any]:
        """Yield the scalars that text without JSON may represent, if the schema allows them."""
        if not self.schema or json_schema.is_open(self.schema):
            return
        word = text.strip().strip(_QUOTES_AND_MARKUP).rstrip(".").strip(_QUOTES_AND_MARKUP)
        for value in (text.strip(), word, _BARE_WORDS.get(word.casefold(), word)):
            fitted_value = json_schema.fit(value, self.schema, self.schema)
            if json_schema.accepts(fitted_value, self.schema, self.schema):
                yield value


_NO_VALUE = object()

_SHORT_TEXT = 10_000
"""Maximum number of characters of a reply that is parsed on the event loop."""

_QUICK_STEPS = 1_000
"""Maximum number of steps of a validation on the event loop, which take about 3 ms."""

_QUOTES_AND_MARKUP = "\"'`*_\u201c\u201d\u2018\u2019\xab\xbb \n\t"
"""Quotation marks and Markdown characters that may surround a word."""

_BARE_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None, "null": None}
"""Values of the words that a reply may contain instead of JSON."""


_KEYWORDS = frozenset({"type", "title", "description", "const", "format", "pattern", "default"})
"""Keywords of JSON Schema whose values may be strings."""


def _copy_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a caller's JSON Schema.

    Raises:
        UsageError: If it cannot be written as JSON.
    """
    try:
        json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"schema must be a type or a JSON Schema; it cannot be written as JSON: {error}.",
            hint="For example, a dataclass with the fields of the answer.",
        ) from None
    has_keyword = schema.keys() & _KEYWORDS or any(name.startswith("$") for name in schema)
    if schema and not has_keyword and all(isinstance(value, str) for value in schema.values()):
        raise UsageError(
            f"schema must be a JSON Schema, got a dict of strings, {short_repr(dict(schema))}.",
            hint="For example, a dataclass with the fields of the answer.",
        )
    if schema and not any(
        name in json_schema.KEYWORDS or name.startswith(("$", "x-")) for name in schema
    ):
        raise UsageError(
            "schema must be a JSON Schema, got a dict without JSON Schema keywords:"
            f" {short_repr(schema)}.",
            hint="For example, a dataclass with the fields of the answer.",
        )
    if json_schema.has_too_many_variants(schema):
        raise UsageError(
            "the `anyOf` and `oneOf` of a JSON Schema have more than 1,000 combinations, or refer"
            " to themselves.",
            hint="List the variants in one `anyOf`.",
        )
    for name in json_schema.unknown_types(schema):
        raise UsageError(
            f"the `type` in a JSON Schema must be one of {', '.join(json_schema.TYPES)}, got"
            f" {short_repr(name)}.{did_you_mean(str(name), json_schema.TYPES)}",
            hint="For example, a dataclass with the fields of the answer.",
        )
    return dict(schema)


def _read_type(value_type: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:  # noqa: ANN401 - a type
    """Return the JSON Schema of a type, and the function that converts JSON data to the type.

    Raises:
        UsageError: If ``value_type`` is not a type or has no schema.
    """
    import msgspec  # imported on first use, because most calls have no schema

    if _uses_pydantic(value_type, set()):
        return _read_with_pydantic(value_type)
    try:
        type_schema = msgspec.json.schema(value_type)
        # msgspec finds a field whose name is not ASCII only after the name has been encoded.
        msgspec.json.encode(type_schema)
        schema = _inline_reference(type_schema)
    except (TypeError, NameError) as error:
        # msgspec does not support every type, for example a union of dataclasses. It is right to
        # reject complex numbers, which pydantic would represent as a str.
        is_complex = repr(complex) in str(error)
        if _is_type(value_type) and not is_complex and importlib.util.find_spec("pydantic"):
            with suppress(UsageError):  # msgspec's error names the field's type
                return _read_with_pydantic(value_type)
        raise _unusable_type_error(value_type, error) from None
    if dataclasses.is_dataclass(value_type) and not dataclasses.fields(value_type):
        raise _unusable_type_error(value_type, TypeError("it has no fields"))
    return schema, partial(msgspec.convert, type=value_type, str_keys=True)


def _read_with_pydantic(value_type: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:  # noqa: ANN401
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(value_type)
        schema = dict(adapter.json_schema())
    except (pydantic.errors.PydanticUserError, TypeError, NameError) as error:
        raise _unusable_type_error(value_type, error) from None
    # Pass the value as JSON, in which even a strict model accepts a str for a date.
    return schema, lambda value: adapter.validate_json(json.dumps(value))


def _is_type(value_type: object) -> bool:
    return isinstance(value_type, type) or get_origin(value_type) is not None


def _uses_pydantic(value_type: Any, seen_types: set[Any]) -> bool:  # noqa: ANN401 - a type
    """Return whether a type is one of pydantic's types or constraints, or contains one."""
    if "pydantic" not in sys.modules or not _is_type(value_type) or value_type in seen_types:
        return False
    seen_types.add(value_type)
    if hasattr(value_type, "__pydantic_validator__"):
        return True
    constraints = (type(item).__module__ for item in getattr(value_type, "__metadata__", ()))
    if any(name.partition(".")[0] in ("pydantic", "annotated_types") for name in constraints):
        return True
    try:
        hints = (
            get_type_hints(value_type, include_extras=True) if isinstance(value_type, type) else {}
        )
    except (NameError, TypeError):  # raised for a class that is defined in a function
        hints = {}
    return any(
        _uses_pydantic(part, seen_types) for part in (*get_args(value_type), *hints.values())
    )


def _unusable_type_error(value_type: object, error: Exception) -> UsageError:
    lines = [line for line in str(error).splitlines() if line.strip() and "https://" not in line]
    reason = lines[-1].strip().rstrip(".") if lines else type(error).__name__
    if isinstance(error, NameError) and error.name:
        reason = f"annotation {error.name!r} is not defined"
    return UsageError(
        "schema must be a JSON Schema dict, a pydantic model, a dataclass, a TypedDict or a type"
        f" built from these, got {short_repr(value_type)}: {reason}.",
        hint=_schema_advice(value_type),
    )


def _schema_advice(value_type: object) -> str:
    """Return advice for a value that is not a type."""
    match value_type:
        case str():
            return "Pass the type itself, without quotation marks."
        case [type() as item]:
            return f"Pass `list[{item.__name__}]`."
        case type():
            return "Put `@dataclass` above the class, and annotate each field with its type."
    if dataclasses.is_dataclass(value_type):
        return f"Pass the class, `{type(value_type).__name__}`, not an instance of it."
    return "For example, a dataclass with the fields of the answer."


def _inline_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace a top-level reference with the definition that it points to."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name not in definitions:
        return schema
    is_recursive = f'"#/$defs/{name}"' in json.dumps(definitions)
    remaining_definitions = {
        key: value for key, value in definitions.items() if key != name or is_recursive
    }
    return {
        **definitions[name],
        **({"$defs": remaining_definitions} if remaining_definitions else {}),
    }


def _with_times(schema: dict[str, Any], value_type: Any) -> dict[str, Any]:  # noqa: ANN401 - a type
    """Return a msgspec schema with the date-time and time formats added to every field."""
    import msgspec

    try:
        infos = [msgspec.inspect.type_info(value_type)]
    except (TypeError, NameError):
        return schema  # the schema is pydantic's, which already contains the formats
    with_formats: dict[str, Any] = copy.deepcopy(schema)
    _add_time_format(infos[0], with_formats)
    seen_types: list[Any] = []
    while infos:
        msgspec_type = infos.pop()
        if not (fields := getattr(msgspec_type, "fields", None)):
            infos += _inner_types(msgspec_type)
        elif msgspec_type not in seen_types:
            seen_types.append(msgspec_type)
            infos += [field.type for field in fields]
            _add_time_formats(msgspec_type, with_formats)
    return with_formats


def _add_time_formats(msgspec_type: Any, schema: dict[str, Any]) -> None:  # noqa: ANN401 - a msgspec type
    title = getattr(msgspec_type, "cls", type(msgspec_type)).__name__
    for part in (schema, *schema.get("$defs", {}).values()):
        properties = part.get("properties", {}) if part.get("title") == title else {}
        for field in msgspec_type.fields:
            _add_time_format(field.type, properties.get(field.encode_name))


def _add_time_format(msgspec_type: Any, schema: Any) -> None:  # noqa: ANN401 - a msgspec type, and JSON
    """Add the format to every string of a schema if all strings of the type are times."""
    leaves = [msgspec_type]
    for leaf in leaves:
        leaves += [] if hasattr(leaf, "fields") else _inner_types(leaf)
    leaf_types = {type(leaf).__name__ for leaf in leaves}
    formats = [name for leaf_type, name in _TIME_FORMATS.items() if leaf_type in leaf_types]
    if len(formats) != 1 or "StrType" in leaf_types:
        return
    parts = [schema]
    for part in parts:
        if isinstance(part, dict):
            parts += [*part.get("anyOf", []), *part.get("prefixItems", []), part.get("items")]
            parts += [part.get("additionalProperties")]
            if part.get("type") == "string":
                part.setdefault("format", formats[0])


_TIME_FORMATS = {"DateTimeType": "date-time", "TimeType": "time"}


def _inner_types(msgspec_type: Any) -> list[Any]:  # noqa: ANN401 - a msgspec type
    names = ("item_type", "key_type", "value_type", "type")
    inner = [getattr(msgspec_type, name) for name in names if hasattr(msgspec_type, name)]
    return [*inner, *getattr(msgspec_type, "types", ()), *getattr(msgspec_type, "item_types", ())]


def _close_objects(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Forbid additional properties in every object that lists its properties."""
    if isinstance(schema, list):
        return [_close_objects(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed_schema = {name: _close_objects(value) for name, value in schema.items()}
    # `closed_schema` comes last, so that the schema's own setting takes precedence.
    return (
        {"additionalProperties": False, **closed_schema}
        if "properties" in schema
        else closed_schema
    )
