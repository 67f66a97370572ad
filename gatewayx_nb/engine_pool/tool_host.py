"""What calls with tools need from a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from gatewayx_nb.calls import build_request, join_conversation
from gatewayx_nb.cassettes import body_of
from gatewayx_nb.engine_pool.cassette_calls import KnownCall
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import Message, ToolResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.engine_pool.live_planner import LivePlanner
    from gatewayx_nb.engine_pool.router import CallRouter
    from gatewayx_nb.replies import Reply


class PoolToolHost:
    """Plans the requests of a call with tools; implements `tools.ToolHost`.

    Args:
        router: Plans the requests, live, replayed or recorded.
        planner: Has the settings, the conversations and the event loops.
    """

    def __init__(self, router: CallRouter, planner: LivePlanner) -> None:
        settings = planner.config.settings.tools
        self.approve, self.tool_timeout = settings.approve, settings.timeout
        self.portal, self.slot = planner.runtime.shared, planner.chats.slot
        self.plan_turn, self.redact = router.plan_request, router.redactor()
        self._router = router

    def known_call(self, reply: Reply) -> KnownCall:
        """Return a call that returns this reply; see `tools.ToolHost.known_call`."""
        return KnownCall(self.portal, reply)

    def checked(self, options: CallOptions) -> CallOptions:
        """Return the options of a call, which must not permit what the settings forbid.

        Raises:
            UsageError: If they do.
        """
        if self.approve == "never" and options.get("approve") not in (None, "never"):
            raise UsageError(
                "approve cannot be set here, because the settings have [tools] approve = 'never'.",
                hint=Hint("omit_option", option="approve"),
            )
        return options

    @property
    def runs_recorded_calls(self) -> bool:
        """Whether the functions run whose calls a cassette has."""
        cassette = self._router.active_cassette
        return cassette is not None and cassette.runs_tools

    def recorded_results(
        self, messages: Sequence[Message], options: CallOptions
    ) -> Sequence[ToolResult] | None:
        """Return the results that a cassette has; see `tools.ToolHost.recorded_results`."""
        cassette = None if options.get("fresh") else self._router.active_cassette
        if cassette is None or cassette.runs_tools:
            return None
        # Only a request that ends with results is complete; these stand for the recorded ones.
        empty = [ToolResult(call.id, "", name=call.name) for call in messages[-1].tool_calls]
        whole = (*messages, Message("tool", empty))
        request = build_request(whole, "", options, streamed=False)
        slot = self.slot(options.get("chat"))
        fallback = cast("tuple[str, ...]", options.get("fallback", ()))
        body = body_of(join_conversation(request, slot), fallback, cassette.redact)
        reference = options.get("model") or (slot.model if slot else None)
        return cassette.recorded_results(self._router.cassette_key(reference, body))
