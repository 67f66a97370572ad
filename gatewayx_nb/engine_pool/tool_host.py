"""Plans calls with tools, and provides what they need from the pool."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import cassettes
from gatewayx_nb._lazy import attach
from gatewayx_nb.calls import build_request, check_tool_options, join_conversation
from gatewayx_nb.concurrency import WorkerThreads
from gatewayx_nb.engine_pool.cassette_calls import KnownCall
from gatewayx_nb.engine_pool.server_tools import ServerToolCall, ServerTools
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.mcp_server import MCPServer
from gatewayx_nb.messages import Message, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gatewayx_nb.calls import CallOptions, PlannedCall
    from gatewayx_nb.concurrency import CallerThread, Portal
    from gatewayx_nb.engine_pool.live_planner import LivePlanner
    from gatewayx_nb.engine_pool.router import CallRouter
    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.replies import OpenTurn, Reply
    from gatewayx_nb.tools import Approve, ToolLoop

# Imported on first use, because most calls have no tools.
_load_lazily: Callable[[str], Any] = attach(__name__, {"ToolLoop": "gatewayx_nb.tools"})[0]

_MAX_WORKERS = 32
"""Maximum number of functions of a map that run at the same time."""


class PoolToolHost:
    """Plans calls with tools and their requests; implements `tools.ToolHost`.

    Args:
        router: Plans the requests, live, replayed or recorded.
        planner: The planner, which has the settings, the conversations and the event loops.
        for_rows: Whether the calls are those of a map.

    Attributes:
        workers: The threads in which the functions of a map run; ``None`` for other calls.
        servers: Resolves MCP servers to their tools.
    """

    def __init__(self, router: CallRouter, planner: LivePlanner, *, for_rows: bool = False) -> None:
        self._router, self._planner = router, planner
        self.plan_turn, self.redactor = router.plan_request, router.redactor
        self.slot = planner.chats.slot
        self.workers = WorkerThreads(_MAX_WORKERS) if for_rows else None
        if for_rows:
            redact = router.redactor()  # shared by the rows, so that the keys are looked up once
            self.redactor = lambda: redact
        self.servers = ServerTools(router, planner.servers)
        self._tool_by_name: dict[str, Tool] = {}

    def plan(
        self,
        prompt: Prompt,
        options: CallOptions,
        *,
        streamed: bool,
        **continuation: Any,  # noqa: ANN401 - arguments of `ToolLoop`
    ) -> PlannedCall:
        """Plan a call with tools, which may include MCP servers; see `CallRouter.plan`.

        Args:
            prompt: The prompt.
            options: Normalized options, with tools.
            streamed: Whether the caller receives the answer as it arrives.
            **continuation: ``resumed`` and ``submitted`` of `ToolLoop`, to continue a call.

        Raises:
            UsageError: If an option is invalid.
        """
        self._check_approve(options)
        tools = cast("tuple[Tool | MCPServer, ...]", options["tools"])

        def begin(
            expanded_tools: tuple[Tool, ...], caller_thread: CallerThread | None = None
        ) -> ToolLoop:
            self._remember(expanded_tools)
            call_options: CallOptions = {**options, "tools": expanded_tools}
            check_tool_options(call_options)
            arguments = {"streamed": streamed, "caller_thread": caller_thread, **continuation}
            loop: ToolLoop = _load_lazily("ToolLoop")(self, prompt, call_options, **arguments)
            return loop

        server_names = [tool.name for tool in tools if isinstance(tool, MCPServer)]
        if not server_names:
            return begin(cast("tuple[Tool, ...]", tools))
        is_live = self._router.active_cassette is None or options.get("fresh")
        if is_live and not options.get("fallback"):
            slot = self.slot(options.get("chat"))
            reference = options.get("model") or (slot.model if slot else None)
            self._planner.registry.resolve(reference)  # a missing key must not start a server
        expand = partial(self.servers.expand, tools, options, self.redactor())
        return ServerToolCall(self.portal, expand, begin, options.get("model") or "", server_names)

    def plan_resumed(
        self, reply: Reply, options: CallOptions, results: Mapping[str, object] | None
    ) -> PlannedCall:
        """Plan the call that continues a reply with open tool calls; see `ToolCaller.resume`.

        Raises:
            UsageError: If a tool is unknown.
        """
        turn = cast("OpenTurn", reply.open_turn)
        tools = options.get("tools") or self._recall(turn.tools)
        merged_options = cast("CallOptions", {**turn.options, **options, "tools": tools})
        has_model = merged_options.get("model") or merged_options.get("chat")
        if not has_model and not self._is_default(reply.engine):
            # The default has changed, or the reply is a turn of a conversation: the results must
            # not be sent to another provider.
            if reply.replayed and self._router.replayed_cassette is None:
                self._planner.registry.check_recorded(reply.engine)
            merged_options["model"] = (
                f"{reply.engine}:{reply.model}" if reply.model else reply.engine
            )
        return self.plan(
            turn.messages, merged_options, streamed=False, resumed=reply, submitted=results
        )

    @property
    def portal(self) -> Portal:
        """The event loop on which calls with tools run."""
        return self._planner.runtime.shared_portal

    @property
    def approve(self) -> Approve:
        """The default of the option ``approve``."""
        return self._planner.config.settings.tools.approve

    @property
    def tool_timeout(self) -> float:
        """Maximum seconds for a function; see `tools.ToolHost.tool_timeout`."""
        return self._planner.config.settings.tools.timeout

    def known_call(self, reply: Reply) -> KnownCall:
        """Return a call that returns this reply; see `tools.ToolHost.known_call`."""
        return KnownCall(self.portal, reply)

    @property
    def runs_recorded_calls(self) -> bool:
        """Whether functions are run although the cassette contains their results."""
        cassette = self._router.active_cassette
        return cassette is not None and cassette.runs_tools

    def recorded_results(
        self, messages: Sequence[Message], options: CallOptions
    ) -> Sequence[ToolResult] | None:
        """Return the results in the open cassette; see `tools.ToolHost.recorded_results`."""
        cassette = None if options.get("fresh") else self._router.active_cassette
        if cassette is None or cassette.runs_tools:
            return None
        # A cassette finds only requests that end with results, so empty results are added.
        empty_results = [
            ToolResult(call.id, "", name=call.name) for call in messages[-1].tool_calls
        ]
        answered_messages = (*messages, Message("tool", empty_results))
        request = build_request(answered_messages, "", options, streamed=False)
        slot = self.slot(options.get("chat"))
        fallback = cast("tuple[str, ...]", options.get("fallback", ()))
        body = cassettes.body_of(join_conversation(request, slot), fallback, cassette.redact)
        reference = options.get("model") or (slot.model if slot else None)
        return cassette.recorded_results(self._router.cassette_key(reference, body))

    def prepare_map(self, options: CallOptions, *, will_run: bool) -> CallOptions:
        """Return the options of a map's calls; see `batch.MapHost.with_tools`.

        Raises:
            GatewayError: If a server cannot be used.
            UsageError: If an option does not apply to the tools, the settings forbid it, or a tool
                would need permission, because a map cannot ask.
        """
        self._check_approve(options)
        tools = cast("tuple[Tool | MCPServer, ...]", options.get("tools", ()))
        if not tools:
            check_tool_options(options)
            return options
        map_options: CallOptions = {"approve": self.approve, **options}
        if map_options["approve"] == "ask":
            _check_needs_no_permission(tools)
        if any(isinstance(tool, MCPServer) for tool in tools):
            if will_run:
                expand_call = self.servers.expand(tools, options, self.redactor())
                tools = self._planner.runtime.run(expand_call)
            else:
                tools = self.servers.expand_listed(tools)
            map_options["tools"] = tools
        check_tool_options(map_options)
        changed_tools = [tool.name for tool in cast("tuple[Tool, ...]", tools) if tool.ask_reason]
        if changed_tools and map_options["approve"] != "never":
            raise UsageError(
                f"the tool {changed_tools[0]!r} is new or has changed since you allowed it, and a"
                " map cannot ask for permission.",
                hint="Allow it again in a call of `gx.ask`, or omit it with `gx.mcp(…, only=[…])`.",
                topic="mcp-server",
            )
        return map_options

    def _check_approve(self, options: CallOptions) -> None:
        if self.approve == "never" and options.get("approve") not in (None, "never"):
            raise UsageError(
                "approve cannot be set here, because the settings have [tools] approve = 'never'.",
                hint=Hint("omit_option", option="approve"),
            )

    def _is_default(self, engine: str) -> bool:
        """Return whether calls without a reference go to this engine."""
        registry, cassette = self._planner.registry, self._router.replayed_cassette
        try:
            reference = registry.references.default or (
                cassette.index.default_reference()
                if cassette
                else registry.references.default_reference()
            )
        except GatewayError:
            reference = None
        return reference is not None and registry.references.parse(reference).engine == engine

    def _remember(self, tools: Iterable[Tool]) -> None:
        """Keep tools by name, so that a reply, which is a plain value, can be continued."""
        self._tool_by_name |= {tool.name: tool for tool in tools}

    def _recall(self, names: Iterable[str]) -> tuple[Tool, ...]:
        for name in names:
            if name not in self._tool_by_name:
                raise UsageError(
                    f"the function of the tool {name!r} is not known in this process.",
                    hint="Pass the functions with `tools=[…]`.",
                )
        return tuple(self._tool_by_name[name] for name in names)


def _check_needs_no_permission(tools: Iterable[Tool | MCPServer]) -> None:
    """Refuse tools whose calls always need permission, because a map cannot ask for it.

    Raises:
        UsageError: If there is such a tool.
    """
    for tool in tools:
        if isinstance(tool, MCPServer) or tool.ask:
            source = "the MCP server" if isinstance(tool, MCPServer) else "the tool"
            raise UsageError(
                f"a map cannot ask for permission, so all calls of {source} {tool.name!r} would be"
                " refused.",
                hint='Set `approve="always"` or a function to permit them, or `approve="never"`.',
            )
