"""Decides whether a tool may be called."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.errors import CassetteMissError, GatewayError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import plain, short_repr
from gatewayx_nb.tool_steps import Step, argument_name
from gatewayx_nb.tools.tool_result import error_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.function_tools import Tool
    from gatewayx_nb.messages import ToolCall

Approve = Literal["ask", "never", "always"]

OUTSIDE_RESULT = "after a result from outside"
REPLAY = "after a replay of a cassette"
"""Why a call needs permission, as part of the question to the user."""

_MAX_QUESTIONS = 3
"""Maximum number of times that the user is asked about one call."""


class RefusedError(Exception):
    """Raised if a tool call is not permitted; the message is sent to the model."""


@dataclass
class Approval:
    """The permissions of one call with tools.

    Attributes:
        approve: How calls that need permission are approved: ``"ask"``, ``"never"``, ``"always"``
            or a function.
        always_allowed_names: The tools that the user has permitted for the rest of the call.
        risk: Why functions that are not read-only need permission, because the model may follow
            instructions from others. Empty if the model has read only results of trusted functions.
        model: The name of the model, as shown in the question to the user.
        is_recorded: Whether the calls come from a cassette that has no results for them.
            ``"always"`` does not permit such calls, because it applies to a live model.
    """

    approve: Approve | Callable[[Step], object] = "ask"
    always_allowed_names: set[str] = field(default_factory=set)
    risk: str = ""
    model: str = "The model"
    is_recorded: bool = False

    def decide(
        self, tool: Tool, call: ToolCall, arguments: dict[str, object], *, can_ask: bool
    ) -> str:
        """Return who permits a call; see `Step.allowed_by`. The user may be asked in this thread.

        Args:
            tool: The tool.
            call: The call.
            arguments: The arguments of the call.
            can_ask: Whether the user can be asked, because this thread waits for the call.

        Raises:
            RefusedError: If nobody permits the call.
            CassetteMissError: If the call comes from a cassette, and nobody can be asked. A refusal
                would be recorded like an answer.
            UsageError: If the function ``approve`` returns neither True nor False, or raises an
                exception in a background thread.
            KeyboardInterrupt: If the user stops the call.
        """
        if not self._is_risky(tool):
            return "tools"
        if (
            tool.ask_reason
            and self.approve != "never"
            and tool.name not in self.always_allowed_names
        ):
            return self._permitted_by_user(tool, call, arguments, can_ask=can_ask)
        if callable(self.approve):
            if self._ask_function(self.approve, Step(call, arguments), raises=can_ask):
                return "approve"
            raise RefusedError("the call was refused")
        if self.approve == "always" and not self.is_recorded:
            return "approve"
        if self.approve == "never":
            raise RefusedError("calls that need permission are not allowed here")
        return self._permitted_by_user(tool, call, arguments, can_ask=can_ask)

    def _permitted_by_user(
        self, tool: Tool, call: ToolCall, arguments: dict[str, object], *, can_ask: bool
    ) -> str:
        if tool.name in self.always_allowed_names:
            return "you"
        if not can_ask:
            raise self._cannot_ask_error(call)
        return self._ask_user(tool, call, arguments)

    def _cannot_ask_error(self, call: ToolCall) -> Exception:
        """Return the error to raise if the user cannot be asked."""
        if not self.is_recorded:
            return RefusedError("the call needs permission, and nobody can be asked")
        return CassetteMissError(
            f"the cassette has no result for the call to {call.name!r}, and nobody can be asked to"
            " allow it.",
            hint=Hint("record_cassette", mode="record")
            | "Run the tools with GATEWAYX_CASSETTE_TOOLS=run.",
        )

    @staticmethod
    def _ask_function(approve: Callable[[Step], object], step: Step, *, raises: bool) -> bool:
        """Return the answer of the function ``approve``.

        Args:
            approve: The function.
            step: The call.
            raises: Whether exceptions of the function are raised unchanged, because it runs in the
                caller's thread; otherwise, they are converted to a `UsageError`.
        """
        try:
            answer = approve(step)
        except GatewayError:
            raise
        except BaseException as error:
            if raises:
                raise
            raise UsageError(f"`approve` raised {error_text(error).rstrip('.')}.") from error
        return _checked_answer(answer)

    def _is_risky(self, tool: Tool) -> bool:
        return tool.ask or (bool(self.risk) and not tool.read_only)

    def _ask_user(self, tool: Tool, call: ToolCall, arguments: dict[str, object]) -> str:
        reason = tool.ask_reason or ("" if tool.ask else f" {self.risk}")
        question = plain(
            f"{self.model} calls {_call_expression(call, arguments)}{reason}."
            f" Allow it? [y]es, [a]lways for {call.name} in this call, [n]o, [s]top: "
        )
        for _ in range(_MAX_QUESTIONS):
            try:
                answer = input(question).strip().lower()
            except (EOFError, OSError, RuntimeError):
                # A kernel without a front end raises StdinNotImplementedError, a RuntimeError.
                raise self._cannot_ask_error(call) from None
            if answer in ("y", "yes"):
                return "you"
            if answer in ("a", "always"):
                self.always_allowed_names.add(tool.name)
                return "you"
            if answer in ("n", "no"):
                break
            if answer in ("s", "stop"):
                raise KeyboardInterrupt
        raise RefusedError("the user refused the call")


def _checked_answer(answer: object) -> bool:
    """Return the answer of the function ``approve``, which must be a bool.

    Raises:
        UsageError: If the answer is not a bool. Otherwise, any true object, even "no", would permit
            the call.
    """
    if isinstance(answer, bool):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()  # otherwise, Python warns that it was never awaited
    raise UsageError(
        f"approve must return True or False, got {short_repr(answer)}.",
        hint="For example, `approve=lambda step: step.arguments['to'].endswith('@b.example')`.",
    )


def _call_expression(call: ToolCall, arguments: dict[str, object]) -> str:
    """Return a call as it is written in Python, for a question to the user."""
    # A name that is not an identifier could end the line, and so hide what is called.
    arguments_text = ", ".join(
        f"{argument_name(name)}={value!r}" for name, value in arguments.items()
    )
    return f"{call.name}({arguments_text or ('' if arguments else call.arguments.strip('{} '))})"
