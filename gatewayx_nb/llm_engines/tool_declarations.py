"""Declares the functions that a model may call, in the form of each dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewayx_nb.messages import Request, ToolDefinition


def chat_tools(request: Request) -> list[dict[str, Any]] | None:
    """Return the ``tools`` of Chat Completions and of Cohere's Chat API; ``None`` without tools.

    https://platform.openai.com/docs/api-reference/chat/create
    """
    return [
        {"type": "function", "function": _function_declaration(tool)} for tool in request.tools
    ] or None


def chat_choice(request: Request) -> str | dict[str, Any] | None:
    """Return the ``tool_choice`` of Chat Completions."""
    choice = request.tool_choice
    return choice if _is_mode(choice) else {"type": "function", "function": {"name": choice}}


def responses_tools(request: Request) -> list[dict[str, Any]] | None:
    """Return the ``tools`` of the Responses API, which requires the field ``strict``.

    Strict mode would require every parameter, so that none could have a default.
    """
    return [
        {"type": "function", **_function_declaration(tool), "strict": False}
        for tool in request.tools
    ] or None


def responses_choice(request: Request) -> str | dict[str, Any] | None:
    """Return the ``tool_choice`` of the Responses API."""
    choice = request.tool_choice
    return choice if _is_mode(choice) else {"type": "function", "name": choice}


def anthropic_tools(request: Request) -> list[dict[str, Any]] | None:
    """Return the ``tools`` of the Messages API.

    https://platform.claude.com/docs/en/api/messages
    """
    return [
        {**_name_and_description(tool), "input_schema": dict(tool.parameters)}
        for tool in request.tools
    ] or None


def anthropic_choice(request: Request) -> dict[str, Any] | None:
    """Return the ``tool_choice`` of the Messages API."""
    choice = request.tool_choice
    if choice is None:
        return None
    if _is_mode(choice):
        return {"type": "any" if choice == "required" else choice}
    return {"type": "tool", "name": choice}


def gemini_tools(request: Request) -> list[dict[str, Any]] | None:
    """Return the ``tools`` of generateContent.

    https://ai.google.dev/api/caching#FunctionDeclaration
    """
    if not request.tools:
        return None
    declarations = [{**_name_and_description(tool), **_json_schema(tool)} for tool in request.tools]
    return [{"functionDeclarations": declarations}]


def _json_schema(tool: ToolDefinition) -> dict[str, Any]:
    """Return the parameters of a declaration; Gemini refuses an object without properties."""
    if not tool.parameters.get("properties"):
        return {}
    return {"parametersJsonSchema": dict(tool.parameters)}


def gemini_config(request: Request) -> dict[str, Any] | None:
    """Return the ``toolConfig`` of generateContent."""
    choice = request.tool_choice
    if choice is None:
        return None
    mode = {"auto": "AUTO", "none": "NONE"}.get(choice, "ANY")
    allowed_names = {} if _is_mode(choice) else {"allowedFunctionNames": [choice]}
    return {"functionCallingConfig": {"mode": mode, **allowed_names}}


def chosen_tools(request: Request) -> list[dict[str, Any]] | None:
    """Return the ``tools`` for Cohere's Chat API and llama.cpp.

    Their ``tool_choice`` cannot name a tool, so if a tool is chosen, only that tool is declared.
    """
    tools = chat_tools(request)
    if tools is None or _is_mode(request.tool_choice):
        return tools
    return [tool for tool in tools if tool["function"]["name"] == request.tool_choice]


def cohere_choice(request: Request) -> str | None:
    """Return the ``tool_choice`` of Cohere's Chat API, which has no value for ``auto``.

    https://docs.cohere.com/reference/chat
    """
    choice = request.tool_choice
    if choice in (None, "auto"):
        return None
    return "NONE" if choice == "none" else "REQUIRED"


def _is_mode(choice: str | None) -> bool:
    """Return whether a choice is not the name of a tool."""
    return choice in (None, "auto", "none", "required")


def _name_and_description(tool: ToolDefinition) -> dict[str, Any]:
    description = {"description": tool.description} if tool.description else {}
    return {"name": tool.name, **description}


def _function_declaration(tool: ToolDefinition) -> dict[str, Any]:
    return {**_name_and_description(tool), "parameters": dict(tool.parameters)}
