"""Manages the MCP servers of a pool: their connections, tools, and permissions."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.concurrency import Portal
from gatewayx_nb.errors import ConfigError, GatewayError
from gatewayx_nb.function_tools import Tool, read_arguments
from gatewayx_nb.masking import redact
from gatewayx_nb.mcp_client.declarations import full_name, select_tools
from gatewayx_nb.mcp_client.launch import resolve_launch
from gatewayx_nb.mcp_client.server_connection import THREAD, ServerConnection
from gatewayx_nb.mcp_client.tool_content import content_of
from gatewayx_nb.mcp_server import MCPServer
from gatewayx_nb.messages import ToolDefinition
from gatewayx_nb.secure_config import Permission
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable

    from gatewayx_nb.images import Image
    from gatewayx_nb.mcp_client.declarations import MCPTool
    from gatewayx_nb.mcp_client.launch import Launch
    from gatewayx_nb.secure_config import Config

CHANGED_REASON = ", which has changed since you allowed it"
NEW_TOOL_REASON = ", which the server did not list when you first allowed one of its tools"
UNREADABLE_LIST_REASON = ", and the list of tools that you have allowed cannot be read"
"""Why the user is asked in spite of ``approve="always"``, as part of the question."""

_LISTED_MARK = "listed"
"""Marks a tool that the server listed when the user first allowed one of its tools."""

_ALLOWED_DIGESTS: dict[Path, dict[str, str]] = {}
"""The digests of the tools that were allowed in this process, by server and tool name."""

_CLOSE_TIMEOUT = 1.8
"""Maximum number of seconds for all servers to end, which they do concurrently."""


class ServerToolError(Exception):
    """Raised if the call of a tool has failed; the model receives the message."""


class _Arguments(inspect.BoundArguments):
    """Keyword arguments whose names need not be Python identifiers."""

    @property
    @override
    def args(self) -> tuple[Any, ...]:
        """Empty, because there are no positional arguments."""
        return ()

    @property
    @override
    def kwargs(self) -> dict[str, Any]:
        """The arguments by name."""
        return dict(self.arguments)

    @override
    def apply_defaults(self) -> None:
        """Do nothing, because the server fills in the defaults."""


@dataclass(frozen=True, slots=True)
class ServerTool(Tool):
    """A tool of an MCP server; the server validates the arguments."""

    @override
    def bind(self, arguments: str) -> inspect.BoundArguments:
        """Return the arguments of a call.

        Raises:
            ValueError: If the arguments are not a JSON object.
        """
        bound_arguments = _Arguments(inspect.Signature(), {})
        bound_arguments.arguments.update(read_arguments(arguments))
        return bound_arguments


@dataclass(frozen=True, slots=True)
class MCPServerStatus:
    """The state of an MCP server, and its tools.

    Attributes:
        server: The server.
        address: The command or URL of the server.
        state: ``"running"``, ``"not started"``, ``"needs trust"``, or ``"recorded"`` if the tools
            come from a cassette.
        tools: The tools that the server has listed; empty if it has not listed any yet.
    """

    server: MCPServer
    address: str
    state: str
    tools: tuple[MCPTool, ...] = field(default=())


class MCPServers:
    """The MCP servers of a pool.

    The connections have a separate event loop, so that no server can delay an engine. A server is
    started on first use, and on the next use after it has ended.

    Args:
        config: The settings, the keys and the permissions.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()  # calls in several threads share the servers
        self._portal: Portal | None = None
        self._connections: dict[MCPServer, ServerConnection] = {}
        self._listed_tools: dict[MCPServer, list[MCPTool]] = {}
        self._listed_names: dict[MCPServer, list[str]] = {}
        self._process = os.getpid()

    async def list_tools(self, server: MCPServer, mask: Callable[[str], str]) -> list[MCPTool]:
        """Return the tools of a server that a call uses; start the server if it is not running.

        Args:
            server: The server.
            mask: Masks the keys of the pool in a string.

        Raises:
            GatewayError: If the server is unknown, not allowed or cannot be started, or its tools
                cannot be used.
        """
        launch = resolve_launch(server, self._config)
        connection = self._connection(server, launch)
        listed_tools = await self._run_on_loop(connection.list_tools(mask))
        self._listed_names[replace(server, only=())] = [tool.name for tool in listed_tools]
        selected_tools = select_tools(server, launch.tool_names, listed_tools)
        for tool in selected_tools:
            text = f"{tool.name}\n{tool.description}\n{tool.parameters}"
            if mask(text) != text or _contains_secret(text, launch.secrets):
                raise ConfigError(
                    f"the MCP server {server.name!r} describes a tool with one of your keys, so its"
                    " tools are not used.",
                    hint="Replace the key at its provider, and stop using this server.",
                    topic="mcp-server",
                )
        self._listed_tools[server] = selected_tools
        return selected_tools

    def tools(
        self, server: MCPServer, mcp_tools: Iterable[MCPTool], mask: Callable[[str], str]
    ) -> list[Tool]:
        """Return tools that a call can run.

        Each call of these tools needs permission, and the results count as text from outside.

        Args:
            server: The server.
            mcp_tools: The tools, from `list_tools` or from a cassette.
            mask: Masks the keys of the pool in a string.
        """
        return [self._callable_tool(server, tool, mask) for tool in mcp_tools]

    def states(self) -> list[MCPServerStatus]:
        """Return the state of each server in the settings or used by a call; start none."""
        configured_servers = [MCPServer(name) for name in sorted(self._config.settings.mcp)]
        return [
            self._server_status(server)
            for server in dict.fromkeys(
                (*configured_servers, *self._listed_tools, *self._connections)
            )
        ]

    def close(self, *, wait: bool = True) -> None:
        """Terminate all servers; a later call starts the servers that it needs.

        Args:
            wait: Whether to wait until they have ended, at most about two seconds.
        """
        with self._lock:
            portal, self._portal = self._portal, None
            connections, self._connections = list(self._connections.values()), {}
            if portal is None or self._process != os.getpid():
                return
        closing = portal.submit(_close_all(connections))
        closing.add_done_callback(lambda _: portal.stop())
        if wait:
            # On a busy machine, a server may need longer. It then ends in the background, because
            # asyncio needs the loop to detect the end of a process.
            with contextlib.suppress(Exception):
                closing.result(_CLOSE_TIMEOUT)
                portal.close(_CLOSE_TIMEOUT)

    def _server_status(self, server: MCPServer) -> MCPServerStatus:
        permissions = self._config.mcp_permissions(server.name) if server.is_in_settings else ()
        state = "not started"
        if not all(map(self._config.may, permissions)):
            state = "needs trust"
        elif (
            connection := self._connections.get(replace(server, only=()))
        ) and connection.is_running:
            state = "running"
        return MCPServerStatus(
            server, self._address(server), state, tuple(self._listed_tools.get(server, ()))
        )

    def _callable_tool(self, server: MCPServer, tool: MCPTool, mask: Callable[[str], str]) -> Tool:
        schema = {"type": "object", "properties": {}, **tool.parameters}
        definition = ToolDefinition(full_name(server.name, tool.name), tool.description, schema)

        async def call(**arguments: Any) -> object:  # noqa: ANN401 - JSON
            return await self._call_tool(server, tool, arguments, mask)

        reason = self._ask_reason(server, tool)
        return ServerTool(call, definition, ask=True, outside=True, ask_reason=reason)

    async def _call_tool(
        self,
        server: MCPServer,
        tool: MCPTool,
        arguments: dict[str, Any],
        mask: Callable[[str], str],
    ) -> object:
        """Call a tool that the user has allowed; refuse if it has changed since it was listed."""
        launch = resolve_launch(server, self._config)
        connection = self._connection(server, launch)

        async def call() -> Any:  # noqa: ANN401 - of the SDK
            listed_tools = await connection.list_tools(mask)
            current_tool = next(
                (listed for listed in listed_tools if listed.name == tool.name), None
            )
            if current_tool is None or current_tool.digest != tool.digest:
                change = (
                    "no longer exists"
                    if current_tool is None
                    else "has changed since it was listed"
                )
                raise ServerToolError(f"the tool {change}, and was not called")
            return await connection.call(tool.name, arguments, mask)

        self._record_permission(server, tool)
        try:
            result = await self._run_on_loop(call())
        except GatewayError as error:
            raise ServerToolError(error.message) from None  # the hint is for the user
        content = content_of(result)
        secrets = launch.secrets
        if secrets and _contains_secret(content, secrets):
            raise ServerToolError("the result contains a key and was withheld")
        if result.is_error:
            text = content if isinstance(content, str) else str(content[0])
            raise ServerToolError(shorten(text, 2_000) or "the tool has failed")
        return content

    def _connection(self, server: MCPServer, launch: Launch) -> ServerConnection:
        # Calls that select different tools of a server share its connection.
        server, launch = replace(server, only=()), replace(launch, tool_names=())
        with self._lock:
            self._reset_if_forked()
            connection = self._connections.get(server)
            if connection is not None and connection.launch == launch:
                return connection
            if connection is not None:  # its settings or its key have changed
                self._open_portal().submit(connection.close())
            connection = self._connections[server] = ServerConnection(launch)
            return connection

    async def _run_on_loop(self, coroutine: Any) -> Any:  # noqa: ANN401 - a coroutine and its result
        with self._lock:
            portal = self._open_portal()
        return await portal.arun(coroutine)

    def _open_portal(self) -> Portal:
        if self._portal is None or self._portal.loop.is_closed():
            self._portal = Portal(THREAD, patience=_CLOSE_TIMEOUT)
        return self._portal

    def _reset_if_forked(self) -> None:
        """Forget the parent's servers in a forked process, where their event loop has no thread."""
        if self._process != os.getpid():
            self._process, self._portal, self._connections = os.getpid(), None, {}

    def _trust_key(self, server: MCPServer) -> Path:
        """Return the key under which the allowed tools of a server are stored."""
        return Path(f"mcp:{server.name} {self._address(server)}".rstrip())

    def _address(self, server: MCPServer) -> str:
        settings = self._config.settings.mcp.get(server.name) if server.is_in_settings else None
        return settings.address if settings else server.address

    def _ask_reason(self, server: MCPServer, tool: MCPTool) -> str:
        """Return why the user must be asked even with ``approve="always"``; empty if not needed."""
        store, key = self._config.allowed_tools, self._trust_key(server)
        allowed_digest = _ALLOWED_DIGESTS.get(key, {}).get(tool.name)
        store.refresh()
        if allowed_digest == tool.digest or store.contains(key, _permission(tool)):
            return ""
        if store.problem:
            return UNREADABLE_LIST_REASON
        stored_permissions = store.permissions(key)
        if allowed_digest or any(
            permission.subject == tool.name and permission.target != _LISTED_MARK
            for permission in stored_permissions
        ):
            return CHANGED_REASON
        known_names = {permission.subject for permission in stored_permissions}
        is_new = bool(known_names) and tool.name not in known_names
        return NEW_TOOL_REASON if is_new else ""

    def _record_permission(self, server: MCPServer, tool: MCPTool) -> None:
        """Record that the user has allowed the current version of a tool."""
        permission = _permission(tool)
        if self._config.allowed_tools.contains(self._trust_key(server), permission):
            return
        # If the file cannot be written, the permission applies only in this process.
        _ALLOWED_DIGESTS.setdefault(self._trust_key(server), {})[tool.name] = tool.digest
        with contextlib.suppress(ConfigError, OSError):
            key = self._trust_key(server)
            is_first = not self._config.allowed_tools.permissions(key)
            listed_names = self._listed_names.get(replace(server, only=()), ()) if is_first else ()
            listed_marks = [Permission(name, _LISTED_MARK, "") for name in listed_names]
            self._config.allowed_tools.add(key, [permission, *listed_marks])


def _permission(tool: MCPTool) -> Permission:
    return Permission(tool.name, tool.digest, "")


def _contains_secret(content: str | list[str | Image], secrets: Iterable[str]) -> bool:
    """Return whether a result contains one of the secrets that the server has received."""
    parts = [content] if isinstance(content, str) else content
    keys = list(secrets)
    texts = (part if isinstance(part, str) else part.data.decode("latin-1") for part in parts)
    return any(redact(text, keys) != text for text in texts)


async def _close_all(connections: Iterable[ServerConnection]) -> None:
    await asyncio.gather(*(connection.close() for connection in connections))


def close_servers_at_exit(servers: weakref.ref[MCPServers]) -> None:
    """Terminate the servers of a pool, unless it has been garbage-collected."""
    if (live_servers := servers()) is not None:
        live_servers.close()
