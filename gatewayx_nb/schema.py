"""JSON Schemas for types, and replies parsed as values of those types."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from gatewayx_nb.errors import UsageError
from gatewayx_nb.extraction import extract_json


class ResponseSchema:
    """The required format of a reply.

    A pydantic model makes its own schema and values; msgspec makes them for all other types.

    Args:
        source: A JSON Schema as a dict, a pydantic model, a dataclass, a TypedDict, or a type
            built from these, such as ``list[City]``; ``None`` for text without a schema.
        extract: Returns the value in a reply's text; raises ValueError if there is none.
        is_loose: Whether the prompt asks for the format, instead of the provider's strict mode.
        instructions: The format instruction for the prompt; derived from the schema if empty.

    Raises:
        UsageError: If ``source`` is none of these.

    Attributes:
        schema: The JSON Schema. Its objects forbid additional properties, as the providers'
            strict modes require (https://platform.openai.com/docs/guides/structured-outputs).
        is_loose: For a type, whether strict modes reject it, as they do ``list[dict]``;
            otherwise as passed. A schema passed as a dict is sent unchanged.
    """

    schema: dict[str, Any] | None

    def __init__(
        self,
        source: object,
        *,
        extract: Callable[[str], Any] = extract_json,
        is_loose: bool = False,
        instructions: str = "",
    ) -> None:
        self._extract, self._instructions = extract, instructions
        self.is_loose = is_loose
        self._type = None if isinstance(source, Mapping) else source
        if source is None or isinstance(source, Mapping):
            self.schema = None if source is None else dict(source)
        else:
            self.schema = _closed(_schema_of(source))
            self.is_loose = self.schema.get("type") != "object" or _is_open(self.schema)

    @property
    def is_given(self) -> bool:
        """Whether the caller passed a type or a schema, instead of only an output format."""
        return self._type is not None or (not self._instructions and bool(self.schema))

    @property
    def instructions(self) -> str:
        """The format instruction for the prompt."""
        if self._instructions:
            return self._instructions
        # These texts are sent, so changing them changes answers.
        instruction = "JSON alone, without a word around it"
        if not self.schema:
            return f"{instruction}."
        return f"{instruction}, that satisfies this JSON Schema:\n{json.dumps(self.schema)}"

    def parse(self, text: str) -> Any:  # noqa: ANN401 - depends on the schema
        """Parse a reply into a value of the type, or into JSON data for a schema.

        By default, a code fence around the JSON and prose before and after it are ignored.

        Raises:
            ValueError: If the reply contains no JSON, or JSON that does not fit the type.
        """
        value = self._extract(text)
        if self._type is None:
            return value
        if hasattr(self._type, "model_validate"):
            return self._type.model_validate(value)
        import msgspec  # on first use, as most calls have no schema

        return msgspec.convert(value, self._type)


def _schema_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - any value from the caller
    if hasattr(kind, "model_json_schema"):
        return dict(kind.model_json_schema())
    import msgspec

    try:
        return _inlined(msgspec.json.schema(kind))
    except (TypeError, NameError) as error:
        raise UsageError(
            "schema must be a JSON Schema dict, a pydantic model, a dataclass or a TypedDict,"
            f" got {kind!r}: {str(error).splitlines()[-1]}.",
            hint="For example, a dataclass with the fields of the answer.",
        ) from None


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Replace a top-level reference with the definition that it points to."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name not in definitions:
        return schema
    remaining = {key: value for key, value in definitions.items() if key != name}
    return {**definitions[name], **({"$defs": remaining} if remaining else {})}


def _closed(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Forbid additional properties in every object that lists its properties."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    # In this order, so that the schema's own setting wins.
    return {"additionalProperties": False, **closed} if "properties" in schema else closed


def _is_open(schema: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether a schema allows arbitrary objects, which strict modes reject."""
    if not isinstance(schema, Mapping):
        return False
    # A part may be a boolean: msgspec writes `items: false` for a tuple.
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [*schema.get("anyOf", []), *schema.get("prefixItems", [])]
    parts += [schema["items"]] if schema.get("type") == "array" and "items" in schema else []
    is_free_object = schema.get("type") == "object" and not schema.get("properties")
    is_unconstrained = not {"type", "$ref", "anyOf", "enum", "const"} & set(schema)
    return is_free_object or is_unconstrained or any(map(_is_open, parts))
