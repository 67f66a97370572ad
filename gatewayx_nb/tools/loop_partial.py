"""The partial answer of a call with tools, which consists of several requests."""

from __future__ import annotations

import functools
import operator
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.tool_steps import Step


class LoopPartial:
    """The partial answer to the current request, with the steps and usage of earlier requests.

    It has the attributes of a `PartialReply`, most of which are those of the current request.

    Attributes:
        replies: The replies to the finished requests.
        steps: The tool calls so far.
        started: Monotonic time at which the call began.
    """

    def __init__(self, current_reply: PartialReply) -> None:
        self._current_reply, self._are_tools_running = current_reply, False
        self._paused_text: list[str] = []
        self._started_at_by_index: dict[int, float] = {}
        self.replies: list[Reply] = []
        self.steps: list[Step] = []
        self.started = time.monotonic()

    def begin_request(self, current_reply: PartialReply) -> None:
        """Switch to the answer to the next request."""
        self._current_reply, self._are_tools_running = current_reply, False

    def keep_text(self) -> None:
        """Keep the text of the last reply, which the provider paused, to precede the next text."""
        self._paused_text.append(self.replies[-1].text)

    def begin_tools(self) -> str:
        """Hide the text of the answer while tools run; return the text before the tool calls."""
        self._are_tools_running = True
        text = "".join((*self._paused_text, self.replies[-1].text))
        self._paused_text = []
        return text

    def begin_step(self, index: int) -> None:
        """Record that the function of a step begins to run."""
        self._started_at_by_index[index] = time.monotonic()

    @property
    def text(self) -> list[str]:
        """The pieces of the answer to the current request."""
        return [] if self._are_tools_running else [*self._paused_text, *self._current_reply.text]

    @property
    def has_ended(self) -> bool:
        """Whether the model has reported why it stopped, and no tool is running."""
        return not self._are_tools_running and self._current_reply.has_ended

    def reply(self, *, interrupted: bool = False, parsed: Any = None) -> Reply:  # noqa: ANN401
        """Return the partial answer as a reply."""
        if self._are_tools_running:
            last_reply = replace(
                self.replies[-1],
                text="",
                tool_calls=(),
                finish_reason="other",
                interrupted=interrupted,
            )
            return _merged_reply(self.replies[:-1], last_reply, self._ended_steps())
        last_reply = self._current_reply.reply(interrupted=interrupted, parsed=parsed)
        return self._merged_reply(self.replies, last_reply)

    def _ended_steps(self) -> list[Step]:
        """Return the steps; mark functions that were running as stopped."""
        now = time.monotonic()
        return [
            replace(
                step,
                error="stopped",
                sent="stopped",
                seconds=now - self._started_at_by_index.get(index, now),
            )
            if step.seconds is None
            else step
            for index, step in enumerate(self.steps)
        ]

    def whole_reply(self) -> Reply:
        """Return the final reply, with the steps and usage of all requests."""
        return self._merged_reply(self.replies[:-1], self.replies[-1])

    def _merged_reply(self, earlier_replies: Sequence[Reply], last_reply: Reply) -> Reply:
        if self._paused_text:
            last_reply = replace(last_reply, text="".join((*self._paused_text, last_reply.text)))
        return _merged_reply(earlier_replies, last_reply, self.steps)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the attributes of a `PartialReply`
        return getattr(self._current_reply, name)


def _merged_reply(
    earlier_replies: Sequence[Reply], last_reply: Reply, steps: Iterable[Step]
) -> Reply:
    """Return the last reply with the usage, cost and times of all requests."""
    replies = (*earlier_replies, last_reply)
    costs = [reply.cost for reply in replies]
    known_costs = [cost for cost in costs if cost is not None]
    return replace(
        last_reply,
        usage=functools.reduce(operator.add, (reply.usage for reply in replies)),
        cost=sum(known_costs, Decimal(0)) if len(known_costs) == len(costs) else None,
        latency=sum(reply.latency for reply in replies),
        time_to_first=replies[0].time_to_first,
        attempts=sum(map(operator.attrgetter("attempts"), replies)),
        dropped=tuple(dict.fromkeys(name for reply in replies for name in reply.dropped)),
        steps=tuple(steps),
    )
