"""Methods that continue a call whose tool calls have no results yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb.arguments import check_keywords
from gatewayx_nb.calls.caller import show_options
from gatewayx_nb.calls.options import CallOptions, check_options, option_table
from gatewayx_nb.calls.planner import run_async, run_blocking
from gatewayx_nb.calls.tool_options import ResumeOptions
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from gatewayx_nb.calls.planner import PlannedCall
    from gatewayx_nb.replies import OpenTurn, Reply

_RESUME_OPTIONS = frozenset(option_table(ResumeOptions))

_PARAMETER_MEANINGS = {
    "reply": "the reply with open ``tool_calls``, for example after `max_turns`",
    "result": (
        "what the function would have returned; for several calls, a dict that maps the ID of each"
        " call to such a value"
    ),
    "tools": "the functions; if omitted, those of the call, which this process must know",
}
"""The meanings of the parameters that differ from those of `ask`."""


class ToolCaller(ABC):
    """The methods that continue a call with tools, shared by pools and conversations."""

    @abstractmethod
    def _plan_resumed(
        self, reply: Reply, options: CallOptions, results: Mapping[str, object] | None
    ) -> PlannedCall:
        """Plan the call that continues a reply.

        Args:
            reply: The reply with the open calls.
            options: Normalized options.
            results: The results by ID; ``None`` to run the tools.
        """

    @show_options(ResumeOptions, _PARAMETER_MEANINGS)
    def resume(self, reply: Reply, **options: Unpack[ResumeOptions]) -> Reply:
        """Run the tool calls that a reply has left open, and continue the call.

        Options that are not passed keep their values. In a conversation, the finished turn replaces
        the turn with the open calls, or is added at the end if that turn no longer exists.

        Returns:
            The reply, with the steps, tokens and cost of all requests.

        Raises:
            UsageError: If the reply has no open calls, or a tool is unknown.
            GatewayError: If the call fails.
        """
        forbid_blocking_call("aresume")
        call = self._plan_continuation(reply, None, options)
        return run_blocking(call, call.run())

    @show_options(ResumeOptions, _PARAMETER_MEANINGS)
    async def aresume(self, reply: Reply, **options: Unpack[ResumeOptions]) -> Reply:
        """Continue a call and await the reply; see `resume`."""
        call = self._plan_continuation(reply, None, options)
        return await run_async(call, call.run())

    @show_options(ResumeOptions, _PARAMETER_MEANINGS)
    def submit(self, reply: Reply, result: object, **options: Unpack[ResumeOptions]) -> Reply:
        """Send results for the tool calls that a reply has left open, and continue the call.

        Raises:
            UsageError: If the reply has no open calls, or a call has no result.
            GatewayError: If the call fails.
        """
        forbid_blocking_call("asubmit")
        call = self._plan_continuation(reply, _result_by_id(reply, result), options)
        return run_blocking(call, call.run())

    @show_options(ResumeOptions, _PARAMETER_MEANINGS)
    async def asubmit(
        self, reply: Reply, result: object, **options: Unpack[ResumeOptions]
    ) -> Reply:
        """Send results, continue the call and await the reply; see `submit`."""
        call = self._plan_continuation(reply, _result_by_id(reply, result), options)
        return await run_async(call, call.run())

    def _plan_continuation(
        self, reply: Reply, results: Mapping[str, object] | None, options: Mapping[str, Any]
    ) -> PlannedCall:
        check_keywords(options, _RESUME_OPTIONS)
        _open_turn(reply)
        checked_options = check_options(cast("CallOptions", dict(options)))
        return self._plan_resumed(reply, checked_options, results)


def _open_turn(reply: Reply) -> OpenTurn:
    turn = getattr(reply, "open_turn", None)
    if turn is None:
        raise UsageError(
            "the reply has no open tool calls.",
            hint="Only a call with `tools` that ended at `max_turns` can be continued.",
        )
    return cast("OpenTurn", turn)


def _result_by_id(reply: Reply, result: object) -> dict[str, object]:
    """Return the result of each open call by its ID."""
    _open_turn(reply)
    ids = [call.id for call in reply.tool_calls]
    if isinstance(result, Mapping) and set(result) <= set(ids) and result:
        missing_ids = [call_id for call_id in ids if call_id not in result]
        if missing_ids:
            raise UsageError(
                f"the result of tool call {missing_ids[0]!r} is missing.",
                hint=f"The open calls are {', '.join(map(repr, ids))}.",
            )
        return dict(result)
    suggestion = _suggestion(result, ids)
    if len(ids) == 1 and not suggestion:
        return {ids[0]: result}
    problem = "has an open tool call with another ID, got"
    if len(ids) > 1:
        problem = f"has {len(ids)} open tool calls, so result must be a dict with their IDs, got"
    raise UsageError(
        f"the reply {problem} {short_repr(result)}.{suggestion}",
        hint=f"The open calls are {', '.join(map(repr, ids))}.",
    )


def _suggestion(result: object, ids: list[str]) -> str:
    keys = list(result) if isinstance(result, Mapping) else []
    return did_you_mean(str(keys[0]), ids) if keys else ""
