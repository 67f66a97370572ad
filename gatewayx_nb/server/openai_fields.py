"""Reads the fields that OpenAI's two APIs share but nest differently.

Chat Completions nests the fields of a function or a JSON Schema in a separate object; the Responses
API puts them next to the field ``type``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.server.request_fields import (
    InvalidFieldError,
    RequestFields,
    create_schema,
    read_schema,
)
from gatewayx_nb.server.tool_fields import CHOICE_KEYWORDS, client_tool, named_choice
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.function_tools import Tool

IGNORED_FIELDS = ("user", "metadata", "safety_identifier", "prompt_cache_key")
"""Fields that are accepted but not forwarded."""

_FORMATS = ("text", "json_object", "json_schema")


def read_format(fields: RequestFields | None, *, schema_field: str = "") -> ResponseSchema | None:
    """Return the schema that the answer must match; ``None`` for text.

    Args:
        fields: The response format; ``None`` if it is not set.
        schema_field: The name of the object with the schema; empty if it is next to the type.

    Raises:
        InvalidFieldError: If a field is invalid or not supported.
    """
    if fields is None:
        return None
    schema: ResponseSchema | None = None
    match fields.require_choice("type", _FORMATS):
        case "json_schema":
            schema_fields = fields.require_object(schema_field) if schema_field else fields
            schema = read_schema(schema_fields)
            # The engine decides whether its provider enforces the schema.
            schema_fields.accept({}, ignored_names=("name", "description", "strict"))
            schema_fields.check_all_known()
        case "json_object":
            schema = ResponseSchema({"type": "object"})
    fields.check_all_known()
    return schema


def read_tool(
    value: object,
    field_path: str,
    *,
    strict_schemas: dict[str, ResponseSchema],
    function_field: str = "",
) -> Tool:
    """Return a tool that the client runs.

    Args:
        value: The tool.
        field_path: The path of the tool in the request.
        strict_schemas: If the tool is strict, the schema of its arguments is added here, under the
            tool's name.
        function_field: The name of the object with the function; empty if the function's fields are
            next to the type.

    Raises:
        InvalidFieldError: If a field is invalid or not supported.
    """
    fields = RequestFields(value, field_path)
    fields.require_choice("type", ("function",))
    function = fields.require_object(function_field) if function_field else fields
    name = function.require("name", str)
    description = function.take("description", str)
    parameters = function.take("parameters", dict)
    is_strict = function.take("strict", bool)
    function.check_all_known()
    fields.check_all_known()
    path = f"{field_path}.{function_field}" if function_field else field_path
    tool = client_tool(path, name, description, parameters)
    if is_strict:  # not all engines have strict tools, so the server validates the arguments
        strict_schemas[name] = create_schema(f"{path}.parameters", tool.definition.parameters)
    return tool


def read_tool_choice(
    value: object, tools: Sequence[Tool], *, function_field: str = ""
) -> str | None:
    """Return a tool choice as the option of a call; ``None`` if it is not set.

    Args:
        value: A keyword, or an object that names a tool.
        tools: The tools of the request.
        function_field: The name of the object with the tool's name; empty if the name is next to
            the type.

    Raises:
        InvalidFieldError: If the value is neither, or has a field that is not supported.
    """
    if value is None or (isinstance(value, str) and value in CHOICE_KEYWORDS):
        return value
    if not isinstance(value, dict):
        expected_text = ", ".join(f'"{keyword}"' for keyword in CHOICE_KEYWORDS)
        problem = f"must be {expected_text} or an object that names a tool, got {short_repr(value)}"
        raise InvalidFieldError("tool_choice", problem)
    fields = RequestFields(value, "tool_choice")
    fields.require_choice("type", ("function",))
    function = fields.require_object(function_field) if function_field else fields
    name = function.require("name", str)
    function.check_all_known()
    fields.check_all_known()
    return named_choice(
        f"tool_choice.{function_field}.name" if function_field else "tool_choice.name", name, tools
    )
