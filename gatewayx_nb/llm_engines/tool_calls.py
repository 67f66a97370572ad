"""Assembly of tool calls that arrive in pieces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Pieces:
    """A partial tool call."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class ToolCallAssembler:
    """The unfinished tool calls of one response, by index."""

    def __init__(self) -> None:
        self._open: dict[int | None, _Pieces] = {}

    def open(self, index: int | None, call_id: str, name: str, arguments: str = "") -> None:
        """Start a tool call."""
        self._open[index] = _Pieces(call_id, name, [arguments])

    def extend(self, index: int | None, arguments: str) -> None:
        """Append to a call's arguments; ignored if the call was never started."""
        if index in self._open:
            self._open[index].arguments.append(arguments)

    def close(self, index: int | None) -> Iterator[Chunk]:
        """Yield the complete call, once; empty arguments become an empty object."""
        if pieces := self._open.pop(index, None):
            arguments = "".join(pieces.arguments) or "{}"
            yield Chunk(tool_calls=(ToolCall(pieces.id, pieces.name, arguments),))
