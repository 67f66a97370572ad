"""Runs a call with tools: alternates requests and tool calls until the model answers."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol, cast

from gatewayx_nb import bounded_json
from gatewayx_nb.calls import DEFAULT_MAX_TURNS, attach_images, read_messages
from gatewayx_nb.concurrency import CallerThread, WorkerThreads, gather_or_cancel
from gatewayx_nb.errors import TruncatedError
from gatewayx_nb.hints import Hint
from gatewayx_nb.masking import redact_json
from gatewayx_nb.messages import Carried, Message, ToolCall, ToolResult
from gatewayx_nb.replies import OpenTurn, Reply
from gatewayx_nb.tool_steps import Step
from gatewayx_nb.tools.approval import OUTSIDE_RESULT, REPLAY, Approval
from gatewayx_nb.tools.loop_partial import LoopPartial
from gatewayx_nb.tools.tool_run import ToolRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gatewayx_nb.calls import (
        CallOptions,
        ChunkHandler,
        ConversationSlot,
        PartialReply,
        PlannedCall,
    )
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.errors import DeadlineError, TransportError
    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import Prompt
    from gatewayx_nb.tools.approval import Approve

_MAX_CALLS_PER_TURN = 100
"""Maximum number of tool calls that are run in one turn."""

_WHOLE_CALL_OPTIONS = ("max_turns", "approve")
"""Options that apply to the whole call, not to its requests."""

_NOT_RUN_MESSAGE = (
    f"only the first {_MAX_CALLS_PER_TURN} calls of a turn are run; this call was not"
)


class ToolHost(Protocol):
    """The services that a call with tools needs from the pool."""

    @property
    def portal(self) -> Portal:
        """The event loop on which the call runs."""

    @property
    def approve(self) -> Approve:
        """The default of the option ``approve``."""

    @property
    def tool_timeout(self) -> float:
        """Maximum number of seconds for an asynchronous function, or one in a worker thread."""

    @property
    def workers(self) -> WorkerThreads | None:
        """The threads in which the functions of a map run; ``None`` for any other call."""

    def plan_turn(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> PlannedCall:
        """Return one request of the call; nothing is sent."""

    def known_call(self, reply: Reply) -> PlannedCall:
        """Return a call that returns this reply; nothing is sent."""

    def slot(self, chat: object) -> ConversationSlot | None:
        """Return the slot of the next turn in a conversation; ``None`` without a conversation."""

    @property
    def runs_recorded_calls(self) -> bool:
        """Whether the user has chosen to run the functions that are called in replayed replies."""

    def redactor(self) -> Callable[[str], str]:
        """Return a function that masks the keys of the pool in a string."""

    def recorded_results(
        self, messages: Sequence[Message], options: CallOptions
    ) -> Sequence[ToolResult] | None:
        """Return the recorded results of the tool calls at the end of a conversation, if any.

        Raises:
            CassetteMissError: If a cassette is being replayed and has no results for the calls.
        """


class ToolLoop:
    """A call with tools; implements `PlannedCall`.

    Each request is a separate planned call, with its own limits, retries and recording.

    Args:
        host: The pool.
        prompt: The prompt.
        options: The normalized options, including tools.
        streamed: Whether the caller receives the answer as it arrives.
        resumed: The reply to continue, whose tool calls are answered before the first request.
        submitted: The results of the tool calls of ``resumed``, by ID; if omitted, the tools run.
        caller_thread: The thread that already waits for the call; a new one if omitted.

    Raises:
        GatewayError: If the first request cannot be made.
    """

    timeout = math.inf  # each request has its own deadline, and a tool may ask the user

    def __init__(  # noqa: PLR0913 - the last two continue a call
        self,
        host: ToolHost,
        prompt: Prompt,
        options: CallOptions,
        *,
        streamed: bool,
        resumed: Reply | None = None,
        submitted: Mapping[str, object] | None = None,
        caller_thread: CallerThread | None = None,
    ) -> None:
        self.portal, self.caller_thread = host.portal, caller_thread or CallerThread()
        self._host, self._streamed, self._redact = host, streamed, host.redactor()
        self._tools = {tool.name: tool for tool in cast("tuple[Tool, ...]", options["tools"])}
        # A resumed reply counts as the first turn.
        self._max_turns = (options.get("max_turns") or DEFAULT_MAX_TURNS) + (resumed is not None)
        self._max_cost = cast("Decimal | None", options.get("max_cost"))
        messages = read_messages(prompt)
        if attached_images := cast("tuple[Image, ...]", options.get("images", ())):
            messages = attach_images(messages, attached_images)
        self._messages: tuple[Message, ...] = messages
        self._slot = host.slot(options.get("chat"))
        self._options = _turn_options(options, self._slot)
        self._approval = Approval(cast("Any", options.get("approve") or host.approve))
        has_outside_text_in_chat = self._slot is not None and self._slot.has_outside_text
        has_outside_step = resumed is not None and any(step.outside for step in resumed.steps)
        if (
            has_outside_text_in_chat
            or has_outside_step
            or _has_outside_result(messages, self._tools)
        ):
            self._approval.risk = OUTSIDE_RESULT
        self._runner = ToolRunner(
            self._tools,
            self._approval,
            self.caller_thread,
            workers=host.workers or WorkerThreads(1),
            timeout=host.tool_timeout,
            redact=self._redact,
            keeps_results=host.workers is None,  # a map has many rows
        )
        self._submitted = submitted
        if resumed is None:
            self._current_call = host.plan_turn(messages, self._options, streamed=streamed)
        else:
            self._current_call = host.known_call(replace(resumed, steps=(), open_turn=None))
        self._partial = LoopPartial(self._current_call.partial)
        self._partial.steps += resumed.steps if resumed else ()
        self._text_before = ""

    @property
    def partial(self) -> PartialReply:
        """The part of the answer received so far, and the steps before it."""
        return cast("PartialReply", self._partial)

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Make requests and run tools until the model answers or ``max_turns`` is reached.

        Raises:
            GatewayError: If a request fails.
            TruncatedError: In a map, if the last reply has tool calls that were not run.
            KeyboardInterrupt: If the user stops a tool.
        """
        try:
            for turn in range(1, self._max_turns + 1):
                if turn > 1:
                    self._current_call = await asyncio.to_thread(self._plan_turn)
                    self._partial.begin_request(self._current_call.partial)
                reply = await self._send(emit)
                self._partial.replies.append(reply)
                if turn == self._max_turns or not await self._continue(reply):
                    break
        finally:
            self._runner.close()
        reply = self._partial.whole_reply()
        if reply.tool_calls:
            if self._host.workers is not None:
                raise _unfinished_error(reply, self._max_turns)
            reply = replace(reply, open_turn=self._open_turn())
        if self._slot is not None:
            self._slot.add_turn(self._messages, reply)
        return reply

    def _open_turn(self) -> OpenTurn:
        """Return what is needed to continue the call."""
        live_option_names = ("tools", "chat")
        options = {
            name: value for name, value in self._options.items() if name not in live_option_names
        }
        return OpenTurn(self._messages, options, tuple(self._tools))

    def _plan_turn(self) -> PlannedCall:
        options: CallOptions = {**self._options}
        # With "required" or the name of a tool, the model could never answer.
        if options.get("tool_choice") not in (None, "none"):
            options["tool_choice"] = "auto"
        if self._max_cost is not None:
            spent_cost = sum(
                (reply.cost or Decimal(0) for reply in self._partial.replies), Decimal(0)
            )
            options["max_cost"] = max(Decimal(0), self._max_cost - spent_cost)
        return self._host.plan_turn(self._messages, options, streamed=self._streamed)

    async def _send(self, emit: ChunkHandler | None) -> Reply:
        call = self._current_call
        try:
            timeout = None if math.isinf(call.timeout) else call.timeout
            return await call.portal.arun(call.run(emit), timeout)
        except TimeoutError:
            raise call.deadline_error() from None

    async def _continue(self, reply: Reply) -> bool:
        """Add a reply and the results of its tool calls to the messages, unless the reply is final.

        Returns:
            Whether another request follows.
        """
        if reply.carried is not None and reply.carried.is_paused:
            self._partial.keep_text()
            self._messages += (reply.message,)
            return True
        if not reply.tool_calls or reply.finish_reason == "length":
            return False
        self._text_before = self._partial.begin_tools()
        calls = [self._mask_keys(call) for call in reply.tool_calls]
        message = _answer_message(reply, calls)
        # The author of the cassette may have put instructions or function calls into the replies.
        is_recorded = reply.replayed and not self._host.runs_recorded_calls
        self._approval.is_recorded = is_recorded
        if is_recorded:
            self._approval.risk = self._approval.risk or REPLAY
        results = self._submitted_results(calls) or self._replayed_results(reply, message, calls)
        if results is None:
            results = await self._run_calls(calls)
        self._messages += (message, Message("tool", results))
        return True

    def _mask_keys(self, call: ToolCall) -> ToolCall:
        """Return a call without keys of the pool."""
        name = self._redact(call.name)
        arguments = redact_json(call.arguments, self._redact)
        if (name, arguments) == (call.name, call.arguments):
            return call
        return replace(call, name=name, arguments=arguments)

    async def _run_calls(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Run the calls of a turn, and return their results in the same order."""
        self._approval.model = f"{self._partial.engine}:{self._partial.model}".rstrip(":")
        results: list[ToolResult] = []
        while len(results) < min(len(calls), _MAX_CALLS_PER_TURN):
            start = len(results)
            concurrent_count = max(
                1, self._runner.count_concurrent(calls[start:_MAX_CALLS_PER_TURN])
            )
            first_step = len(self._partial.steps)
            for number, call in enumerate(calls[start : start + concurrent_count], start):
                self._add_step(Step(call, call.parsed_arguments()), is_first=number == 0)
            if concurrent_count == 1:
                results.append(await self._run_step(first_step))
            else:
                results += await gather_or_cancel(
                    map(self._run_step, range(first_step, first_step + concurrent_count))
                )
        for call in calls[_MAX_CALLS_PER_TURN:]:
            step = Step(
                call, call.parsed_arguments(), sent=_NOT_RUN_MESSAGE, error=_NOT_RUN_MESSAGE
            )
            self._add_step(replace(step, seconds=0.0), is_first=False)
            results.append(ToolResult(call.id, _NOT_RUN_MESSAGE, name=call.name, is_error=True))
        return results

    async def _run_step(self, index: int) -> ToolResult:
        """Run the call of a step, and return its result."""
        steps = self._partial.steps
        self._partial.begin_step(index)
        outcome = await self._runner.run(steps[index])
        steps[index] = outcome.step
        return outcome.result

    def _submitted_results(self, calls: Sequence[ToolCall]) -> list[ToolResult] | None:
        """Return the results that the caller has submitted, if any; later calls return ``None``."""
        submitted_results, self._submitted = self._submitted, None
        if submitted_results is None:
            return None
        results = []
        for number, call in enumerate(calls):
            outcome = self._runner.submitted(
                Step(call, call.parsed_arguments()), submitted_results[call.id]
            )
            self._add_step(outcome.step, is_first=number == 0)
            results.append(outcome.result)
        return results

    def _replayed_results(
        self, reply: Reply, message: Message, calls: Sequence[ToolCall]
    ) -> list[ToolResult] | None:
        """Return the recorded results of a replayed reply's tool calls, if any."""
        if not reply.replayed:
            return None
        recorded_results = self._host.recorded_results((*self._messages, message), self._options)
        if recorded_results is None:
            return None
        results = [
            ToolResult(call.id, result.parts, call.name, result.is_error)
            for call, result in zip(calls, recorded_results, strict=False)
        ]
        for number, (call, result) in enumerate(zip(calls, results, strict=False)):
            step = Step(
                call,
                call.parsed_arguments(),
                sent=result.content,
                error=result.content if result.is_error else "",
                seconds=0.0,
                allowed_by="replay",
                outside=_is_outside(self._tools.get(call.name)),
            )
            self._add_step(step, is_first=number == 0)
        return results

    def _add_step(self, step: Step, *, is_first: bool) -> None:
        """Add a step; the first step of a turn also has the text before the tool calls."""
        if is_first and self._text_before:
            step = replace(step, text=self._text_before)
        self._partial.steps.append(step)

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""
        return self._current_call.closed_error()

    def deadline_error(self) -> DeadlineError:
        """Return the error to raise if the call exceeds its deadline."""
        return self._current_call.deadline_error()


def _turn_options(options: CallOptions, slot: ConversationSlot | None) -> CallOptions:
    """Return the options of each request, which itself is not added to a conversation."""
    unneeded_option_names = {*_WHOLE_CALL_OPTIONS, "images", "chat"}
    turn_options = {
        name: value for name, value in options.items() if name not in unneeded_option_names
    }
    if slot is not None:
        turn_options["chat"] = slot.without_adding()
    return cast("CallOptions", turn_options)


def _has_outside_result(messages: Iterable[Message], tools: Mapping[str, Tool]) -> bool:
    """Return whether a tool result in the messages may contain text from outside."""
    name_by_call_id: dict[str, str] = {}
    for message in messages:
        name_by_call_id.update((call.id, call.name) for call in message.tool_calls)
        for result in message.tool_results:
            if _is_outside(tools.get(result.name or name_by_call_id.get(result.id, ""))):
                return True
    return False


def _is_outside(tool: Tool | None) -> bool:
    """Return whether the results of a tool are untrusted; pass ``None`` for an unknown tool."""
    return tool is None or tool.outside


def _answer_message(reply: Reply, calls: Sequence[ToolCall]) -> Message:
    """Return a reply as a message whose tool calls every provider accepts.

    Some providers accept only a JSON object as arguments, so other arguments become ``{}``.
    """
    valid_calls = tuple(
        call if _is_json_object(call.arguments) else replace(call, arguments="{}") for call in calls
    )
    if valid_calls == reply.tool_calls:
        return reply.message
    message, carried = Message("assistant", (reply.text, *valid_calls)), reply.carried
    is_masked = tuple(calls) != reply.tool_calls
    if carried is None or carried.has_calls or is_masked:
        return message
    # DeepSeek refuses a turn without its reasoning, whatever its calls are.
    carried = Carried.of(carried.engine, carried.data, message)
    return Message("assistant", message.parts, carried=carried)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(bounded_json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _unfinished_error(reply: Reply, max_turns: int) -> TruncatedError:
    """Return the error for a row if the last reply has tool calls instead of an answer."""
    if reply.finish_reason == "length":
        message = "the answer ended at its maximum length, within a tool call."
        hint = Hint("raise_option", option="max_tokens")
    else:
        message = f"the model still requested tool calls in the last of {max_turns} requests."
        hint = Hint("raise_option", option="max_turns")
    error = TruncatedError(
        message, hint=hint, engine=reply.engine, model=reply.model, topic="no-answer-after-calls"
    )
    error.partial, error.should_retry = reply.text, True  # the next run of the map sends it again
    return error
