"""Assembles tool calls that arrive in pieces."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_CALLS = 10_000
"""Maximum number of tool calls in an answer."""


@dataclass(slots=True)
class _PartialCall:
    id: str
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def complete(self) -> ToolCall:
        """Return the call; missing arguments are an empty object."""
        return ToolCall(self.id, self.name, "".join(self.arguments) or "{}")


@dataclass(slots=True)
class ToolCallAssembler:
    """The unfinished tool calls of one response.

    A piece belongs to the latest call with the same index, unless it has both a different ID and a
    name: some servers number every call 0, and others send a new ID with each piece.

    Raises:
        ProviderError: From `add`, if there are more than `MAX_CALLS` calls.
    """

    _call_by_object_id: dict[int, _PartialCall] = field(
        default_factory=dict
    )  # in the order of their start
    _calls_by_index: dict[Hashable, list[_PartialCall]] = field(default_factory=dict)
    _total_count: int = 0

    def __bool__(self) -> bool:
        """Return whether a call has begun and is not complete."""
        return bool(self._call_by_object_id)

    @property
    def are_complete(self) -> bool:
        """Whether calls are pending and all of them have complete JSON arguments."""
        return bool(self._call_by_object_id) and all(
            json_body.is_complete(call.complete().arguments)
            for call in self._call_by_object_id.values()
        )

    def add(self, index: object, call_id: str, name: str, arguments: str = "") -> None:
        """Start a call, or add a piece to a pending call, which keeps its first ID and name."""
        calls = self._calls_by_index.setdefault(_key(index), [])
        call = calls[-1] if calls else None
        if call is None or (name and call.name and call_id not in {"", call.id}):
            self._total_count += 1
            if self._total_count > MAX_CALLS:
                raise ProviderError(
                    f"the answer has more than {MAX_CALLS:,} tool calls.", code="too_large"
                )
            call = _PartialCall(call_id)
            calls.append(call)
            self._call_by_object_id[id(call)] = call
        call.id = call.id or call_id
        call.name = call.name or name
        call.arguments.append(arguments)

    def extend(self, index: object, arguments: str) -> None:
        """Append to a call's arguments; do nothing if no such call is pending."""
        if _key(index) in self._calls_by_index:
            self.add(index, "", "", arguments)

    def finish(self, index: object) -> Iterator[Chunk]:
        """Yield the calls with this index as complete, and remove them."""
        if completed_calls := [
            call.complete() for call in self._calls_by_index.get(_key(index), ())
        ]:
            self.drop(index)
            yield Chunk(tool_calls=tuple(completed_calls))

    def drop(self, index: object) -> None:
        """Remove the calls that have this index."""
        for call in self._calls_by_index.pop(_key(index), ()):
            del self._call_by_object_id[id(call)]

    def finish_all(self) -> tuple[ToolCall, ...]:
        """Return all pending calls as complete and remove them."""
        completed_calls = tuple(call.complete() for call in self._call_by_object_id.values())
        self._call_by_object_id, self._calls_by_index = {}, {}
        return completed_calls


def _key(index: object) -> Hashable:
    """Return a hashable key for an index, which a server may send as any JSON value."""
    return index if isinstance(index, Hashable) else repr(index)
