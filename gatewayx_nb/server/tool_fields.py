"""The tools in a request, which the client itself runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from gatewayx_nb.errors import did_you_mean
from gatewayx_nb.function_tools import Tool
from gatewayx_nb.messages import ToolDefinition
from gatewayx_nb.server.request_fields import InvalidFieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


_KEYWORDS = ("auto", "none", "required")


def named_choice(place: str, name: str) -> str:
    """Return the name of the tool that the model must call, as the option of a call.

    Raises:
        InvalidFieldError: If it is a keyword of the option, which would have another meaning.
    """
    if name in _KEYWORDS:
        raise InvalidFieldError(place, "must not be 'auto', 'none' or 'required'")
    return name


def client_tool(place: str, name: str, description: str | None, parameters: object) -> Tool:
    """Return a tool that the model may call and that the client runs.

    Args:
        place: The path of the tool's name in the request, for messages.
        name: Its name.
        description: What it does.
        parameters: JSON Schema of its arguments; ``None`` if it has none.

    Raises:
        InvalidFieldError: If the name is invalid.
    """
    if not _NAME.fullmatch(name):
        rule = "must be 1 to 64 ASCII letters, digits, '_' or '-', and not begin with a digit"
        raise InvalidFieldError(place, rule)
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    if isinstance(parameters, dict) and parameters:
        schema = {"type": "object", **parameters}
    if schema["type"] != "object":
        raise InvalidFieldError(
            place.removesuffix("name") + "parameters", "must describe an object"
        )
    return Tool(_run_by_client, ToolDefinition(name, description or "", schema))


def tool_options(tools: Sequence[Tool], choice: str | None) -> dict[str, Any]:
    """Return the options of a call that ends when the model calls a tool.

    Args:
        tools: The tools.
        choice: ``"auto"``, ``"none"``, ``"required"`` or the name of a tool; ``None`` if not set.

    Raises:
        InvalidFieldError: If the choice needs tools, and there are none.
    """
    names = [tool.name for tool in tools]
    if choice not in (None, *_KEYWORDS, *names):
        rule = f"must be one of {', '.join(_KEYWORDS)} or the name of a tool"
        raise InvalidFieldError("tool_choice", rule, did_you_mean(choice or "", names).strip())
    if not tools:
        if choice in (None, "auto", "none"):
            return {}
        raise InvalidFieldError("tool_choice", "requires tools")
    return {"tools": list(tools), "tool_choice": choice, "max_turns": 1}


def _run_by_client(**_: object) -> NoReturn:
    raise NotImplementedError  # the call ends before its tools are run
