"""Tool calls that arrive in pieces, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb.messages import Chunk, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Pieces:
    """One call so far."""

    id: str
    name: str
    arguments: list[str] = field(default_factory=list)


class OpenCalls:
    """The calls of one answer that have begun and not ended, by their place in it."""

    def __init__(self) -> None:
        self._open: dict[int | None, _Pieces] = {}

    def open(self, index: int | None, call_id: str, name: str, arguments: str = "") -> None:
        """Begin a call."""
        self._open[index] = _Pieces(call_id, name, [arguments])

    def extend(self, index: int | None, arguments: str) -> None:
        """Add a piece of a call's arguments; one that never began is ignored."""
        if index in self._open:
            self._open[index].arguments.append(arguments)

    def close(self, index: int | None) -> Iterator[Chunk]:
        """Yield the call as a whole, once; without arguments they are an empty object."""
        if pieces := self._open.pop(index, None):
            arguments = "".join(pieces.arguments) or "{}"
            yield Chunk(tool_calls=(ToolCall(pieces.id, pieces.name, arguments),))
