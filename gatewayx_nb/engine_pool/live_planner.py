"""Plans live calls: turns a prompt and its options into calls to engines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from gatewayx_nb.calls import (
    PlannedCall,
    build_request,
    call_limits,
    join_conversation,
    params_for,
)
from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.engine_pool.embeddings import embed
from gatewayx_nb.engine_pool.failover import FINAL_ERRORS, Failover
from gatewayx_nb.errors import EngineNotFoundError, GatewayError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.conversations import ChatStore
    from gatewayx_nb.engine_pool.embeddings import Vectors
    from gatewayx_nb.engine_pool.preview import CallPreview
    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.mcp_client import MCPServers
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.model_registry import ModelRegistry, Target
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.secure_config import Config, Limits


class LiveCall(PlannedCall, Protocol):
    """A planned call to an engine, which can be previewed."""

    async def preview(self) -> CallPreview:
        """Return the request that the call would send, without sending it."""


@dataclass(frozen=True, slots=True)
class LivePlanner:
    """Resolves references to engines and plans calls to them; nothing is sent.

    Options must be normalized; see `calls.check_options`.

    Attributes:
        config: The settings.
        registry: Resolves references.
        runtime: Runs the engines.
        chats: The conversations.
        usage: Receives the usage of the calls.
        servers: The MCP servers.
        row_limits: The limits of the calls if they belong to a map.
        row_targets: The resolved targets by reference; a map resolves each reference only once.
    """

    config: Config
    registry: ModelRegistry
    runtime: Runtime
    chats: ChatStore
    usage: UsageTracker
    servers: MCPServers
    row_limits: Limits | None = None
    row_targets: dict[str | None, Target] = field(default_factory=dict)

    def for_rows(self, usage: UsageTracker, limits: Limits) -> LivePlanner:
        """Return a planner for the rows of a map."""
        return replace(self, usage=usage, row_limits=limits, row_targets={})

    def plan(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> LiveCall:
        """Return the call with its fallbacks.

        Raises:
            GatewayError: If none of the engines can be called.
        """
        fallback = cast("tuple[str, ...]", options.get("fallback", ()))
        if not fallback:
            return self._plan_call(prompt, options, streamed=streamed)
        references = [options.get("model"), *fallback]
        attempts: list[EngineCall | GatewayError] = []
        for reference in references:
            try:
                call = self._plan_call(prompt, {**options, "model": reference}, streamed=streamed)
                attempts.append(call)
            except (*FINAL_ERRORS, EngineNotFoundError):  # a fallback does not fix the name
                raise
            except GatewayError as error:
                attempts.append(error)
        first_reference = references[0] or self.registry.references.default_reference()
        return Failover(first_reference, attempts, self.runtime.shared_portal)

    def embed(self, texts: list[str], model: str) -> Coroutine[Any, Any, Vectors]:
        """Return a coroutine that returns the embeddings and runs on the shared event loop."""
        target = self.registry.resolve(model)
        return embed(self.runtime.host(target), target, self.config.settings.limits, texts)

    def _resolve(self, reference: str | None) -> Target:
        if self.row_limits is None:
            return self.registry.resolve(reference)
        target = self.row_targets.get(reference)
        if target is None:
            target = self.row_targets[reference] = self.registry.resolve(reference)
        return target

    def _plan_call(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> EngineCall:
        chat = options.get("chat")
        slot = None if chat is None else self.chats.slot(chat)
        target = self._resolve(options.get("model") or (slot.model if slot else None))
        if params := options.get("params"):
            engine_params = params_for(target.name, params, self.registry.engines.engine_names)
            options = {**options, "params": engine_params}
        request = build_request(prompt, target.model or "", options, streamed=streamed)
        return EngineCall(
            self.runtime.host(target),
            target,
            join_conversation(request, slot),
            call_limits(options, self.row_limits or self.config.settings.limits),
            self.usage,
            schema=cast("ResponseSchema | None", options.get("schema")),
            add_turn=partial(slot.add_turn, request.messages) if slot else None,
            waits_out_rate_limits=self.row_limits is not None,
        )
