"""Options for calls in which the model may call functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping  # noqa: TC003 - evaluated by `get_type_hints`
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, cast

from gatewayx_nb.calls.option import InvalidValueError, Option, checker, positive_int
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.function_tools import Tool, read_tools
from gatewayx_nb.hints import Hint
from gatewayx_nb.mcp_server import MCPServer

if TYPE_CHECKING:
    from gatewayx_nb.messages import ToolDefinition

DEFAULT_MAX_TURNS = 8
"""Default maximum number of requests in a call with tools."""

_check_tool_choice = checker(
    "'auto', 'none', 'required' or the name of a tool",
    lambda value: isinstance(value, str) and bool(value),
)


def _check_approve(value: object) -> object:
    if value not in ("ask", "never", "always") and not callable(value):
        raise InvalidValueError("'ask', 'never', 'always' or a function that receives the call")
    return value


def _recorded_tools(
    tools: Iterable[Tool | ToolDefinition | MCPServer],
) -> tuple[dict[str, Any], ...]:
    return tuple(
        # The tools of a server are known, and recorded, only when the call runs.
        {"mcp": tool.name, "only": sorted(tool.only)}
        if isinstance(tool, MCPServer)
        else _declaration(tool.definition if isinstance(tool, Tool) else tool)
        for tool in tools
    )


def _declaration(tool: ToolDefinition) -> dict[str, Any]:
    schema = dict(tool.parameters)
    return {"name": tool.name, "description": tool.description, "parameters": schema}


class ResumeOptions(TypedDict, total=False):
    """Keyword arguments that may be changed when a call with tools is resumed."""

    tools: Annotated[
        object,
        Option(
            read_tools,
            "functions and MCP servers that the model may call; see the guide `calling-functions`",
            "--tools NAME",
            to_recorded=_recorded_tools,
            repeatable=True,
            default=(),
            group="Context",
        ),
    ]
    max_turns: Annotated[
        int | None,
        Option(
            positive_int,
            f"maximum number of requests in a call with tools; {DEFAULT_MAX_TURNS} if omitted",
            example=3,
        ),
    ]
    approve: Annotated[
        Literal["ask", "never", "always"] | Callable[..., object] | None,
        Option(
            _check_approve,
            "approval of risky calls: 'ask', 'never', 'always' or a function; [tools] approve if"
            " omitted",
            example="never",
        ),
    ]


class ToolOptions(ResumeOptions, total=False):
    """Keyword arguments that control which functions the model may call, and when."""

    tool_choice: Annotated[
        str | None,
        Option(
            _check_tool_choice,
            "'auto', 'none', 'required' or the name of the tool to call first; 'auto' if omitted",
            example="required",
            to_recorded=str,
        ),
    ]


_TOOL_ONLY_OPTIONS = ("tool_choice", "max_turns", "approve")
"""Options that have no effect without tools."""


def check_tool_options(options: Mapping[str, Any]) -> None:
    """Check a call's tool options against its tools.

    Raises:
        UsageError: If an option needs tools and there are none, or ``tool_choice`` is neither a
            keyword nor the name of a tool.
    """
    tools = cast("tuple[Tool | MCPServer, ...]", options.get("tools", ()))
    if not tools:
        for option in _TOOL_ONLY_OPTIONS:
            if options.get(option) is not None:
                raise UsageError(
                    f"{option} has no effect without `tools`.",
                    hint=Hint("omit_option", option=option),
                )
        return
    if any(isinstance(tool, MCPServer) for tool in tools):
        return  # the names of a server's tools are known only when the call runs
    names = [tool.name for tool in tools]
    choice = options.get("tool_choice")
    if choice not in (None, "auto", "none", "required", *names):
        raise UsageError(
            f"tool_choice must be 'auto', 'none', 'required' or the name of a tool, got {choice!r}."
            f"{did_you_mean(str(choice), names)}",
            hint=f"The tools are {', '.join(names)}.",
        )
