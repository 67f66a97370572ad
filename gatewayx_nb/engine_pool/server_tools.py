"""Calls with tools of MCP servers, which are listed when the call runs."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from typing_extensions import override

from gatewayx_nb import cassettes
from gatewayx_nb.calls import PartialReply
from gatewayx_nb.concurrency import CallerThread
from gatewayx_nb.errors import (
    CassetteMissError,
    ConfigError,
    DeadlineError,
    TransportError,
    UsageError,
)
from gatewayx_nb.function_tools import Tool, check_names
from gatewayx_nb.hints import Hint
from gatewayx_nb.mcp_client import MCPServerStatus, decode_tools, encode_tools
from gatewayx_nb.messages import ModelRef

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from gatewayx_nb.calls import CallOptions, ChunkHandler
    from gatewayx_nb.cassettes import Cassette, CassetteEntry, RecordingSlot
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.engine_pool.router import CallRouter
    from gatewayx_nb.mcp_client import MCPServers, MCPTool
    from gatewayx_nb.mcp_server import MCPServer
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.tools import ToolLoop


class ServerTools:
    """Resolves MCP servers to their tools, as listed by the server or by the open cassette.

    Args:
        router: The router, which has the open cassette.
        servers: The pool's servers.
    """

    def __init__(self, router: CallRouter, servers: MCPServers) -> None:
        self._router, self._servers = router, servers

    async def expand(
        self,
        tools: Sequence[Tool | MCPServer],
        options: CallOptions,
        redact: Callable[[str], str],
    ) -> tuple[Tool, ...]:
        """Return the tools of a call, with each server replaced by its tools.

        Args:
            tools: The functions and servers of a call.
            options: The options of the call.
            redact: Masks the keys of the pool in a string.

        Raises:
            GatewayError: If a server cannot be used, or the cassette does not contain its tools.
            UsageError: If two tools have the same name.
        """
        expanded_tools: list[Tool] = []
        for source in tools:
            if isinstance(source, Tool):
                expanded_tools.append(source)
                continue
            listed_tools = await self._list(source, options, redact)
            expanded_tools += self._servers.tools(source, listed_tools, redact)
        check_names(expanded_tools)
        return tuple(expanded_tools)

    def expand_listed(self, tools: object) -> tuple[Tool, ...]:
        """Return the tools, with each server replaced by the tools that it has already listed.

        No server is started.

        Raises:
            UsageError: If a server has not listed its tools yet.
        """
        tools_by_server = {state.server: state.tools for state in self._servers.states()}
        expanded_tools: list[Tool] = []
        for source in cast("Sequence[Tool | MCPServer]", tools):
            if isinstance(source, Tool):
                expanded_tools.append(source)
            elif listed_tools := tools_by_server.get(source):
                expanded_tools += self._servers.tools(source, listed_tools, str)
            else:
                raise UsageError(
                    f"the tools of the MCP server {source.name!r} are not known before its first"
                    " use.",
                    hint=Hint("list_tools", name=source.name),
                    topic="mcp-server",
                )
        return tuple(expanded_tools)

    async def list_tools(self, server: MCPServer, redact: Callable[[str], str]) -> MCPServerStatus:
        """Return the status of a server with its tools.

        The server is started, unless a cassette is replayed.
        """
        listed_tools = await self._list(server, {}, redact)
        states = (state for state in self._servers.states() if state.server == server)
        state = next(states, None)
        if state is None or self._router.replayed_cassette:
            return MCPServerStatus(server, server.address, "recorded", tuple(listed_tools))
        return replace(state, tools=tuple(listed_tools))

    async def _list(
        self, server: MCPServer, options: CallOptions, redact: Callable[[str], str]
    ) -> list[MCPTool]:
        cassette = None if options.get("fresh") else self._router.active_cassette
        if cassette is None:
            return await self._servers.list_tools(server, redact)
        request = cassettes.CassetteRequest(
            f"mcp:{server.name}", "mcp", server.name, cassettes.listing_body(server.only)
        )
        try:
            recording = cassette.find(request, renew=bool(options.get("renew")))
        except CassetteMissError:
            raise CassetteMissError(
                f"{cassette.path.name!r} does not contain the tools of the MCP server"
                f" {server.name!r}.",
                hint=cassette.record_hint(),
            ) from None
        if isinstance(recording, cassettes.RecordingSlot):
            return await self._record(cassette, recording, server, redact)
        try:
            return decode_tools(recording.text)
        except ValueError as error:
            raise ConfigError(
                f"{cassette.path.name!r}: {error}.",
                hint=Hint("record_cassette", mode="record"),
            ) from None

    async def _record(
        self,
        cassette: Cassette,
        slot: RecordingSlot,
        server: MCPServer,
        redact: Callable[[str], str],
    ) -> list[MCPTool]:
        listed_tools = await self._servers.list_tools(server, redact)
        text = cassette.redact(encode_tools(listed_tools))

        def create_entry() -> CassetteEntry:
            return cassettes.CassetteEntry(
                request=slot.request.body, text=text, **cassette.fields(slot)
            )

        await asyncio.to_thread(cassette.record, create_entry)
        return listed_tools


class ServerToolCall:
    """A call whose tools are known only when it runs; implements `PlannedCall`.

    Args:
        portal: The event loop on which the call runs.
        expand: Returns the tools.
        plan: Plans the call, with the tools and the thread in which plain functions run.
        reference: Reference of the model; empty for the default model.
        servers: The names of the servers.
    """

    timeout = math.inf  # starting a server has a deadline, and so does each request

    def __init__(
        self,
        portal: Portal,
        expand: Callable[[], Awaitable[tuple[Tool, ...]]],
        plan: Callable[[tuple[Tool, ...], CallerThread], ToolLoop],
        reference: str,
        servers: Iterable[str],
    ) -> None:
        self.portal, self.caller_thread = portal, CallerThread()
        self._expand, self._plan = expand, plan
        self._call: ToolLoop | None = None
        ref = ModelRef.parse(reference)
        activity = f"waiting for the tools of {', '.join(servers)}"
        self._partial = _LatePartial(PartialReply(ref.engine, ref.model or "", activity=activity))

    @property
    def partial(self) -> PartialReply:
        """The part of the answer received so far."""
        return cast("PartialReply", self._partial)

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """List the tools of the servers, then make the call.

        Raises:
            GatewayError: If a server cannot be used, or a request fails.
            KeyboardInterrupt: If the user stops a tool.
        """
        tools = await self._expand()
        self._call = call = await asyncio.to_thread(self._plan, tools, self.caller_thread)
        self._partial.begin(call.partial)
        return await call.run(emit)

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""
        if self._call is not None:
            return self._call.closed_error()
        return TransportError(
            "the pool was closed while MCP servers were listing their tools.",
            hint=Hint("run_again"),
            code="closed",
        )

    def deadline_error(self) -> DeadlineError:  # pragma: no cover - there is no deadline
        """Return the error to raise if the call exceeds its deadline."""
        return DeadlineError("the call exceeded its deadline.")


class _LatePartial:
    """The partial answer of a call, which is empty until the call has its tools."""

    def __init__(self, empty: PartialReply) -> None:
        object.__setattr__(self, "_current_partial", empty)

    def begin(self, partial: PartialReply) -> None:
        """Delegate to the partial answer of a call, which gets the earlier start time."""
        partial.started = self._current_partial.started
        object.__setattr__(self, "_current_partial", partial)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the attributes of a `PartialReply`
        return getattr(self._current_partial, name)

    @override
    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._current_partial, name, value)
