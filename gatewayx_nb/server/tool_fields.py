"""Reads the tools of a request, which the client itself runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from gatewayx_nb.errors import did_you_mean
from gatewayx_nb.function_tools import Tool
from gatewayx_nb.messages import ToolDefinition
from gatewayx_nb.server.request_fields import InvalidFieldError
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHOICE_KEYWORDS = ("auto", "none", "required")
"""The values of a call's option ``tool_choice`` that are not names of tools."""

_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def client_tool(
    field_path: str,
    name: str,
    description: str | None,
    schema: Mapping[str, Any] | None,
    schema_field: str = "parameters",
) -> Tool:
    """Return a tool that the model may call and that the client runs.

    Args:
        field_path: The path in the request of the object with the tool's fields.
        name: The name of the tool.
        description: What the tool does.
        schema: The JSON Schema of the tool's arguments; ``None`` or empty if it takes none.
        schema_field: The name of the field with the schema.

    Raises:
        InvalidFieldError: If the name or the schema is invalid.
    """
    if not _TOOL_NAME.fullmatch(name):
        rule = "must be 1 to 64 ASCII letters, digits, '_' or '-', and not begin with a digit"
        raise InvalidFieldError(f"{field_path}.name", rule)
    parameters = {"type": "object", **schema} if schema else {"type": "object", "properties": {}}
    if parameters["type"] != "object":
        raise InvalidFieldError(f"{field_path}.{schema_field}", "must describe an object")
    return Tool(_run_by_client, ToolDefinition(name, description or "", parameters))


def named_choice(field_path: str, name: str, tools: Sequence[Tool]) -> str:
    """Return the name of the tool that the model must call, as the option of a call.

    Args:
        field_path: The path of the name in the request.
        name: The name.
        tools: The tools of the request.

    Raises:
        InvalidFieldError: If no tool has the name, or the name is a keyword of the option.
    """
    names = [tool.name for tool in tools]
    if name in CHOICE_KEYWORDS or name not in names:
        problem = f"must be the name of a tool, other than {', '.join(CHOICE_KEYWORDS)}"
        hint = did_you_mean(name, names).strip()
        raise InvalidFieldError(field_path, f"{problem}, got {short_repr(name)}", hint)
    return name


def tool_options(tools: Sequence[Tool], choice: str | None) -> dict[str, Any]:
    """Return the options of a call that ends when the model calls a tool.

    Args:
        tools: The tools.
        choice: A keyword or the name of a tool; ``None`` if it is not set.

    Raises:
        InvalidFieldError: If the choice requires a tool, but there is none.
    """
    if tools:
        return {"tools": list(tools), "tool_choice": choice, "max_turns": 1}
    if choice == "required":
        raise InvalidFieldError("tool_choice", "requires tools")
    return {}


def _run_by_client(**_: object) -> NoReturn:
    raise NotImplementedError  # the call ends before its tools are run
