"""JSON Schema from a type, and a value of that type from an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gatewayx_nb import fences
from gatewayx_nb.errors import UsageError


class Shape:
    """What an answer must look like.

    A pydantic model makes its own schema and values; of every other type msgspec does.

    Args:
        source: A JSON Schema as a dict, a pydantic model, a dataclass, a TypedDict, or a type
            made of them, such as ``list[City]``.

    Raises:
        UsageError: It is none of these.

    Attributes:
        schema: The JSON Schema. Its objects take no further properties, as the providers'
            strict modes ask (https://platform.openai.com/docs/guides/structured-outputs).
        is_loose: Whether it is a type such as ``dict`` or ``list[dict]``, which strict modes do not
            take, so that a model is asked for it in words. A schema given as one is sent as it is.
    """

    schema: dict[str, Any] | None
    is_loose: bool = False

    def __init__(self, source: object) -> None:
        self._type = None if isinstance(source, Mapping) else source
        if isinstance(source, Mapping):
            self.schema = dict(source)
        else:
            self.schema = _closed(_schema_of(source))
            self.is_loose = self.schema.get("type") != "object" or _is_open(self.schema)

    @property
    def asked(self) -> str:
        """What a model is asked to answer with, where it is asked in words."""
        words = "JSON alone, without a word around it"
        if not self.schema:
            return f"{words}."
        return f"{words}, that satisfies this JSON Schema:\n{json.dumps(self.schema)}"

    def read(self, text: str) -> Any:  # noqa: ANN401 - of the type that was asked for
        """Give an answer as data: of the type, or as JSON for a schema.

        A code fence around it, and prose before and after, are left out.

        Raises:
            ValueError: It is no JSON, or does not fit the type.
        """
        value = fences.data(text)
        if self._type is None:
            return value
        if hasattr(self._type, "model_validate"):
            return self._type.model_validate(value)
        import msgspec

        return msgspec.convert(value, self._type)


def _schema_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the caller gave
    if hasattr(kind, "model_json_schema"):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    import msgspec

    try:
        return _inlined(msgspec.json.schema(kind))
    except (TypeError, NameError) as error:
        raise UsageError(
            f"{kind!r} is no schema: {str(error).splitlines()[-1]}.",
            mend="Give a JSON Schema dict, a pydantic model, a dataclass or a TypedDict.",
        ) from None


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Put the definition of the type itself in the place of a reference to it."""
    definitions = schema.get("$defs", {})
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if name not in definitions:
        return schema
    others = {other: value for other, value in definitions.items() if other != name}
    return {**definitions[name], **({"$defs": others} if others else {})}


def _closed(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Forbid further properties of every object whose properties are named."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    return {"additionalProperties": False, **closed} if "properties" in schema else closed


def _is_open(schema: Any) -> bool:  # noqa: ANN401 - JSON
    """Tell whether a schema leaves open what an object holds, which strict modes do not take."""
    if not isinstance(schema, Mapping):
        return False
    parts = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    parts += [*schema.get("anyOf", []), *schema.get("prefixItems", [])]
    parts += [schema["items"]] if schema.get("type") == "array" and "items" in schema else []
    leaves_open = schema.get("type") == "object" and not schema.get("properties")
    says_nothing = not {"type", "$ref", "anyOf", "enum", "const"} & set(schema)
    return leaves_open or says_nothing or any(map(_is_open, parts))
