"""Assembles tool calls that arrive in pieces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _PartialCall:
    index: object
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def complete(self) -> ToolCall:
        """Return the call; missing arguments are an empty object."""
        return ToolCall(self.id, self.name, "".join(self.arguments) or "{}")


@dataclass(slots=True)
class ToolCallAssembler:
    """The unfinished tool calls of one response.

    A piece belongs to the latest call with the same index, unless it has both another ID and a
    name: some servers number every call 0, others send a new ID with each piece.

    Attributes:
        pending: The calls that have begun and are not complete.
    """

    pending: list[_PartialCall] = field(default_factory=list)

    @property
    def are_complete(self) -> bool:
        """Whether calls are pending, all of them with arguments that are complete JSON."""
        return bool(self.pending) and all(
            json_body.is_complete(call.complete().arguments) for call in self.pending
        )

    def add(self, index: object, call_id: str, name: str, arguments: str = "") -> None:
        """Start a call, or add a piece to one; a call keeps its first ID and name."""
        call = next((call for call in reversed(self.pending) if call.index == index), None)
        if call is None or (name and call.name and call_id not in {"", call.id}):
            call = _PartialCall(index, call_id)
            self.pending.append(call)
        call.id = call.id or call_id
        call.name = call.name or name
        call.arguments.append(arguments)

    def extend(self, index: object, arguments: str) -> None:
        """Append to a call's arguments; do nothing if no such call is pending."""
        if any(call.index == index for call in self.pending):
            self.add(index, "", "", arguments)

    def finish(self, index: object) -> Iterator[Chunk]:
        """Yield the calls that have this index as complete, and remove them."""
        completed = [call.complete() for call in self.pending if call.index == index]
        self.drop(index)
        if completed:
            yield Chunk(tool_calls=tuple(completed))

    def drop(self, index: object) -> None:
        """Remove the calls that have this index."""
        self.pending = [call for call in self.pending if call.index != index]

    def finish_all(self) -> tuple[ToolCall, ...]:
        """Return all pending calls as complete and remove them."""
        completed, self.pending = self.pending, []
        return tuple(call.complete() for call in completed)
