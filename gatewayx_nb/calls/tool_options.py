"""The options of calls whose model may call functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable  # noqa: TC003 - evaluated by `get_type_hints`
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from gatewayx_nb.calls.option import InvalidValueError, Option, checker, count
from gatewayx_nb.function_tools import Tool, read_tools

if TYPE_CHECKING:
    from gatewayx_nb.messages import ToolDefinition

MAX_TURNS = 8
"""Default maximum number of requests of a call with tools."""

_choice = checker(
    "'auto', 'none', 'required' or the name of a tool",
    lambda value: isinstance(value, str) and bool(value),
)


def _approve(value: object) -> object:
    if value not in ("ask", "never", "always") and not callable(value):
        raise InvalidValueError("'ask', 'never', 'always' or a function of the call")
    return value


def _to_recorded(tools: Iterable[Tool | ToolDefinition]) -> tuple[dict[str, Any], ...]:
    definitions = (each.definition if isinstance(each, Tool) else each for each in tools)
    return tuple(
        {"name": each.name, "description": each.description, "parameters": dict(each.parameters)}
        for each in definitions
    )


class ResumeOptions(TypedDict, total=False):
    """The keyword arguments of a call with tools that may change when it is continued."""

    tools: Annotated[
        object,
        Option(
            read_tools,
            "one or more functions that the model may call; see the guide `calling-functions`",
            "--tools NAME",
            to_recorded=_to_recorded,
            repeatable=True,
            default=(),
            group="Context",
        ),
    ]
    max_turns: Annotated[
        int | None,
        Option(
            count, f"maximum number of requests of a call with tools; {MAX_TURNS} if omitted", "", 3
        ),
    ]
    approve: Annotated[
        Literal["ask", "never", "always"] | Callable[..., object] | None,
        Option(
            _approve,
            "who permits risky calls: 'ask', 'never', 'always' or a function; [tools] approve if"
            " omitted",
            "",
            "never",
        ),
    ]


class ToolOptions(ResumeOptions, total=False):
    """The keyword arguments for functions that the model may call."""

    tool_choice: Annotated[
        str | None,
        Option(
            _choice,
            "'auto', 'none', 'required' or the name of the tool to call first; 'auto' if omitted",
            "",
            "required",
            to_recorded=str,
        ),
    ]
