"""Converts, checks and selects the tools that an MCP server lists."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import ConfigError, UsageError, did_you_mean
from gatewayx_nb.text import plain, shorten, well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.mcp_server import MCPServer

MAX_TOOLS = 128
"""Maximum number of tools of one server in a call, as in OpenAI's API."""

_MAX_DECLARATION_CHARS = 100_000
"""Maximum length of a tool's description and parameters as JSON, in characters."""

_MAX_SCHEMA_DEPTH = 64
"""Maximum nesting of a tool's parameters."""

_MAX_NAME_LENGTH = 64
_DIGEST_LENGTH = 8

_CLAIM_BY_ANNOTATION = {"read_only_hint": "read-only", "destructive_hint": "destructive"}


@dataclass(frozen=True, slots=True)
class MCPTool:
    """A tool that an MCP server lists.

    Attributes:
        name: Name of the tool on the server; models see it with the server's name as a prefix.
        description: The server's description of the tool.
        parameters: JSON Schema of the arguments.
        claims: What the server claims about the effects of the tool: ``"read-only"``,
            ``"destructive"``, both or nothing. No claim is verified or relied on.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    claims: str = ""

    @property
    def digest(self) -> str:
        """Digest of the name, the description and the parameters; it identifies an allowed tool."""
        text = json.dumps([self.name, self.description, self.parameters], sort_keys=True)
        return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def full_name(server: str, name: str) -> str:
    """Return the name by which a model calls a tool: ``SERVER__TOOL``.

    Every provider accepts the result. If the tool's name is too long or has invalid characters, it
    is shortened or changed, and a digest of the original keeps it unique.

    >>> full_name("time", "now"), full_name("files", "read file")
    ('time__now', 'files__read_file_5be5c4bb')
    """
    prefix = f"{server}__"
    valid_name = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if valid_name == name and len(prefix + name) <= _MAX_NAME_LENGTH:
        return prefix + name
    digest = hashlib.blake2b(
        name.encode(errors="replace"), digest_size=_DIGEST_LENGTH // 2
    ).hexdigest()
    return f"{prefix}{valid_name[: _MAX_NAME_LENGTH - len(prefix) - _DIGEST_LENGTH - 1]}_{digest}"


def read_listing(sdk_tools: Iterable[Any]) -> list[MCPTool]:
    """Convert the SDK's tools to `MCPTool` objects."""
    return [
        MCPTool(
            tool.name,
            well_formed(tool.description or tool.title or ""),
            dict(tool.input_schema or {}),
            _claims_text(tool.annotations),
        )
        for tool in sdk_tools
    ]


def _claims_text(annotations: Any) -> str:  # noqa: ANN401 - of the SDK
    return ", ".join(
        word for name, word in _CLAIM_BY_ANNOTATION.items() if getattr(annotations, name, None)
    )


def select_tools(
    server: MCPServer, tool_names: Sequence[str], tools: Sequence[MCPTool]
) -> list[MCPTool]:
    """Return the tools of a server that a call uses.

    Args:
        server: The server.
        tool_names: The names of the tools to use; all of them if empty.
        tools: The tools that the server lists.

    Raises:
        UsageError: If a name is unknown, or there are more than `MAX_TOOLS` tools.
        ConfigError: If a tool is listed twice or cannot be declared to a model.
    """
    listed_names = [tool.name for tool in tools]
    if unknown_names := [name for name in tool_names if name not in listed_names]:
        names_text = ", ".join(listed_names[:20]) or "none"
        raise UsageError(
            f"the MCP server {server.name!r} has no tool {unknown_names[0]!r}."
            f"{did_you_mean(unknown_names[0], listed_names)}",
            hint=f"Its tools are {plain(shorten(names_text, 500))}.",
            topic="mcp-tools",
        )
    selected_tools = [tool for tool in tools if not tool_names or tool.name in tool_names]
    if len(selected_tools) > MAX_TOOLS:
        raise UsageError(
            f"the MCP server {server.name!r} has {len(selected_tools):,} tools, but a call can use"
            f" at most {MAX_TOOLS}.",
            hint="Select some of them with `only=[…]`.",
            topic="mcp-tools",
        )
    full_names: set[str] = set()
    for tool in selected_tools:
        if full_name(server.name, tool.name) in full_names:
            raise _unusable_tool_error(server, tool, "is listed twice")
        if problem := _problem(tool):
            raise _unusable_tool_error(server, tool, problem)
        full_names.add(full_name(server.name, tool.name))
    return selected_tools


def _unusable_tool_error(server: MCPServer, tool: MCPTool, problem: str) -> ConfigError:
    name = plain(shorten(tool.name, 60))
    return ConfigError(
        f"the tool {name!r} of the MCP server {server.name!r} {problem}.",
        hint="Select other tools with `only=[…]`.",
        topic="mcp-tools",
    )


def _problem(tool: MCPTool) -> str:
    """Return why a tool cannot be declared to a model; empty if it can be declared."""
    schema = tool.parameters
    if not tool.name.strip():
        return "has no name"
    if schema.get("type", "object") != "object":
        return "has parameters that are not a JSON object"
    if not isinstance(schema.get("properties", {}), dict):
        return "has parameters that are not valid JSON Schema"
    try:
        size = len(json.dumps([tool.description, schema]))
    except (TypeError, ValueError, RecursionError):
        return "has parameters that are not valid JSON Schema"
    if size > _MAX_DECLARATION_CHARS:
        return (
            f"has a description of {size:,} characters, but at most {_MAX_DECLARATION_CHARS:,} are"
            " allowed"
        )
    return (
        "has parameters that are nested too deeply"
        if _nesting_depth(schema) > _MAX_SCHEMA_DEPTH
        else ""
    )


def _nesting_depth(value: object) -> int:
    depth, level = 0, [value]
    while level and depth <= _MAX_SCHEMA_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def encode_tools(tools: Iterable[MCPTool]) -> str:
    """Return the JSON in which cassettes store tools."""
    fields = ("name", "description", "parameters", "claims")
    return json.dumps(
        [{name: value for name in fields if (value := getattr(tool, name))} for tool in tools],
        ensure_ascii=False,
    )


def decode_tools(text: str) -> list[MCPTool]:
    """Return the tools in a JSON string from `encode_tools`.

    Raises:
        ValueError: If the text is not a list of tools.
    """
    import msgspec

    try:
        return msgspec.convert(bounded_json.loads(text), list[MCPTool])
    except (msgspec.ValidationError, RecursionError):
        raise ValueError("the recorded list of tools cannot be read") from None
