"""Runs one tool call: checks its arguments, asks for permission, and converts the result."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from gatewayx_nb.concurrency import OverdueThreadsError, Portal, is_being_cancelled
from gatewayx_nb.errors import did_you_mean
from gatewayx_nb.messages import ToolResult
from gatewayx_nb.tools.approval import OUTSIDE_RESULT, RefusedError
from gatewayx_nb.tools.tool_result import error_text, to_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gatewayx_nb.concurrency import CallerThread, WorkerThreads
    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.images import Image
    from gatewayx_nb.messages import ToolCall
    from gatewayx_nb.tool_steps import Step
    from gatewayx_nb.tools.approval import Approval


T = TypeVar("T")

_IMMUTABLE_TYPES = (str, int, float, bool, type(None))

_PRINTABLE_TEXT = re.compile(rb"[ -~]{8,}")
"""Matches text that may contain a key; keys have only printable ASCII characters."""

_CANCEL_TIMEOUT = 2.0
"""Maximum number of seconds to wait for a cancelled function to end."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a tool call: the step, and the parts of the result for the model."""

    step: Step
    parts: tuple[str | Image, ...]

    def with_duration(self, seconds: float) -> Outcome:
        """Return the outcome with the duration of the function."""
        return Outcome(replace(self.step, seconds=seconds), self.parts)

    @property
    def result(self) -> ToolResult:
        """The result, as it is sent to the model."""
        call = self.step.call
        return ToolResult(call.id, self.parts, call.name, bool(self.step.error))


class ToolRunner:
    """Runs the tool calls of one call.

    Args:
        tools: The tools, by name.
        approval: Decides whether a tool may be called.
        caller_thread: The thread that waits for the call, in which plain functions run.
        workers: The threads in which plain functions run if no thread waits, as in a map.
        timeout: Maximum number of seconds for an asynchronous function, and for any function if no
            thread waits.
        redact: Masks the keys of the pool in a string.
        keeps_results: Whether the steps keep what the functions return, which may be large.
    """

    def __init__(  # noqa: PLR0913 - what running a tool needs
        self,
        tools: Mapping[str, Tool],
        approval: Approval,
        caller_thread: CallerThread,
        *,
        workers: WorkerThreads,
        timeout: float,
        redact: Callable[[str], str],
        keeps_results: bool,
    ) -> None:
        self._tools, self._approval = tools, approval
        self._caller_thread, self._workers = caller_thread, workers
        self._timeout, self._redact, self._keeps_results = timeout, redact, keeps_results
        self._portal: Portal | None = None

    async def run(self, step: Step) -> Outcome:
        """Run the call of a step.

        Raises:
            KeyboardInterrupt: If the user stops the call.
        """
        started_at = time.monotonic()
        tool = self._tools.get(step.call.name)
        if tool is not None and tool.outside:
            step = replace(step, outside=True)
        try:
            outcome = await (
                self._run_tool(tool, step) if tool else self._refuse_unknown_name(step)
            )
        except RefusedError as error:
            outcome = _failed_outcome(step, self._redact(str(error)))
        if step.outside:
            self._approval.risk = OUTSIDE_RESULT
        return outcome.with_duration(time.monotonic() - started_at)

    def count_concurrent(self, calls: Iterable[ToolCall]) -> int:
        """Return how many calls, counted from the first, may run at the same time.

        Only asynchronous functions that need no permission may run at the same time. After a result
        from outside, all functions that are not read-only need permission.
        """
        count, is_risky = 0, bool(self._approval.risk)
        for call in calls:
            tool = self._tools.get(call.name)
            needs_no_permission = tool is not None and not (
                tool.ask or (is_risky and not tool.read_only)
            )
            if tool is None or not needs_no_permission or not _is_async(tool.function):
                break
            count, is_risky = count + 1, is_risky or tool.outside
        return count

    def submitted(self, step: Step, value: object) -> Outcome:
        """Return the outcome of a call whose result the caller has submitted."""
        tool = self._tools.get(step.call.name)
        if tool is None or tool.outside:
            step = replace(step, outside=True)
            self._approval.risk = OUTSIDE_RESULT
        outcome = self._create_outcome(step, dict(step.arguments), "you", value)
        return outcome.with_duration(0.0)

    def close(self) -> None:
        """Stop the event loop of asynchronous tools."""
        if self._portal is not None:
            self._portal.stop()

    async def _run_tool(self, tool: Tool, step: Step) -> Outcome:
        try:
            bound_arguments = tool.bind(step.call.arguments)
            arguments = dict(bound_arguments.arguments)
            if not all(type(value) in _IMMUTABLE_TYPES for value in arguments.values()):
                # The step gets its own copies, which the function cannot change.
                arguments = dict(tool.bind(step.call.arguments).arguments)
        except ValueError as error:
            raise RefusedError(str(error)) from None
        except Exception as error:  # noqa: BLE001 - the parameter types are user code
            raise RefusedError(error_text(error)) from None
        # A positional-only parameter can be passed only together with all parameters before it.
        bound_arguments.apply_defaults()
        if _is_async(tool.function):
            allowed_by = await self._permit(tool, step, arguments)
            function = partial(tool.function, *bound_arguments.args, **bound_arguments.kwargs)
            finish = partial(self._create_outcome, step, arguments, allowed_by)
            return await self._run_async(function, finish)
        call = partial(self._call_here, tool, step, bound_arguments, arguments)
        if self._caller_thread.is_waiting:
            return await self._caller_thread.run(partial(call, can_ask=True))
        return await self._in_thread(partial(call, can_ask=False))

    def _call_here(
        self,
        tool: Tool,
        step: Step,
        bound_arguments: inspect.BoundArguments,
        arguments: dict[str, Any],
        *,
        can_ask: bool,
    ) -> Outcome:
        """Ask for permission and call the function, in this thread."""
        allowed_by = self._approval.decide(tool, step.call, arguments, can_ask=can_ask)
        try:
            returned: object = tool.function(*bound_arguments.args, **bound_arguments.kwargs)
        except BaseException as error:
            # The user can interrupt only the main thread, which waits for the call.
            if can_ask and _is_interrupt(error):
                raise KeyboardInterrupt from error
            returned = _Raised(error)
        return self._create_outcome(step, arguments, allowed_by, returned)

    async def _refuse_unknown_name(self, step: Step) -> NoReturn:
        name = step.call.name
        raise RefusedError(
            f"there is no tool {name!r}.{did_you_mean(name, self._tools)}"
            f" The tools are {', '.join(self._tools)}."
        )

    async def _permit(self, tool: Tool, step: Step, arguments: dict[str, Any]) -> str:
        decide = partial(self._approval.decide, tool, step.call, arguments)
        if self._caller_thread.is_waiting:
            return await self._caller_thread.run(partial(decide, can_ask=True))
        return await self._in_thread(partial(decide, can_ask=False))  # `approve` may block

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await self._workers.run(call, self._timeout)
        except OverdueThreadsError as error:
            raise RefusedError(
                f"{error.count} functions that took longer than {self._timeout:g} s are still"
                " running, so this one was not called"
            ) from None
        except TimeoutError:
            raise RefusedError(self._timeout_message) from None

    async def _run_async(
        self, function: Callable[[], Any], finish: Callable[[object], Outcome]
    ) -> Outcome:
        """Await a function on a separate event loop, so that it cannot block other calls."""
        if self._portal is None:
            self._portal = Portal("gatewayx tools", patience=_CANCEL_TIMEOUT)

        async def run() -> Outcome:
            returned: object
            try:
                returned = await function()
            except asyncio.CancelledError as error:
                if is_being_cancelled():
                    raise
                returned = _Raised(error)
            # Ctrl-C and Stop cancel this task, and interrupt only the main thread.
            except BaseException as error:  # noqa: BLE001 - the user's code
                returned = _Raised(error)
            return finish(returned)

        try:
            return await self._portal.arun(run(), self._timeout)
        except TimeoutError:
            return finish(_Raised(TimeoutError(self._timeout_message)))

    @property
    def _timeout_message(self) -> str:
        return f"the function took longer than {self._timeout:g} s"

    def _create_outcome(
        self, step: Step, arguments: dict[str, Any], allowed_by: str, returned: object
    ) -> Outcome:
        """Return the outcome of a function; mask keys in errors, and withhold results with keys.

        Raises:
            KeyboardInterrupt: If the user stopped the function.
        """
        make_step = partial(replace, step, arguments=arguments, allowed_by=allowed_by)
        if isinstance(returned, _Raised):
            return _failed_outcome(make_step(), self._redact(error_text(returned.error)))
        try:
            parts = to_parts(returned)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - converting a value runs its code
            text = str(error) if isinstance(error, ValueError) else error_text(error)
            return _failed_outcome(make_step(), self._redact(text))
        if any(self._has_key(part) for part in parts):
            return _failed_outcome(make_step(), "the result contains a key and was withheld")
        sent_text = "\n\n".join(part for part in parts if isinstance(part, str))
        kept_result = returned if self._keeps_results else None
        return Outcome(make_step(result=kept_result, sent=sent_text), parts)

    def _has_key(self, part: str | Image) -> bool:
        text = part if isinstance(part, str) else _text_in(part.data)
        return self._redact(text) != text


class _Raised:
    """Marks an exception that a function raised, as opposed to one that it returned."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _is_interrupt(error: BaseException) -> bool:
    """Return whether an exception, possibly in a group, comes from Ctrl-C or Stop."""
    if isinstance(error, BaseExceptionGroup):
        return bool(error.subgroup(KeyboardInterrupt))
    return isinstance(error, KeyboardInterrupt)


def _is_async(function: Callable[..., Any]) -> bool:
    """Return whether a function or another callable object is asynchronous."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _text_in(data: bytes) -> str:
    """Return the text in an image, such as its metadata, which may contain a key.

    Searching all bytes takes four times as long.
    """
    return b"\n".join(_PRINTABLE_TEXT.findall(data)).decode("ascii")


def _failed_outcome(step: Step, error: str) -> Outcome:
    return Outcome(replace(step, error=error, sent=error), (error,))
