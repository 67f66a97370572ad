"""The parts of a response: the data of server-sent events, or one JSON text.

The content of the body decides, not its type: some servers send events as ``text/plain``, others
send JSON as ``text/event-stream``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import override

from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.secure_config import redact
from gatewayx_nb.transport import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from gatewayx_nb.transport import Response, ServerSentEvent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ERROR_FIELD = "error:"


@dataclass(frozen=True, slots=True)
class BodyParts:
    """The parts of a body that one block of bytes completes.

    Attributes:
        data: The data of each event, or the whole body.
        is_whole: Whether ``data`` is the whole body, which needs no end mark.
    """

    data: Sequence[str]
    is_whole: bool = False


def is_end_mark(data: str) -> bool:
    """Return whether data is the end mark of a stream, which some servers send in every dialect."""
    return data.startswith("[DONE]")


@dataclass(slots=True)
class EventLog(Sequence[Any]):
    """The events of a stream, for `Reply.raw`; each is parsed when it is read.

    The data of the events is kept as text, which needs a tenth of the memory of parsed events. In a
    long stream, the middle is left out.

    Attributes:
        omitted: Number of events that were left out after the first ones.
        key: The engine's key, which is masked if the provider repeats it.
    """

    omitted: int = 0
    key: str = ""
    _data: list[str] = field(default_factory=list)
    _size: int = 0
    _kept: int = 0
    """Number of events at the start that are kept once `_MAX_LOGGED` is reached."""

    def add(self, data: Sequence[str]) -> None:
        """Add the data of events."""
        self._data += data
        self._size += sum(map(len, data))
        if self._size > _MAX_LOGGED:
            self._omit()

    def closed(self) -> EventLog:
        """Return the log of a stream that has ended, without the end mark."""
        if self._data and is_end_mark(self._data[-1]):
            self._data.pop()
        return self

    def _omit(self) -> None:
        """Leave out the oldest events after the ones at the start."""
        self._kept = self._kept or len(self._data) // 2
        while self._size > _MAX_LOGGED and len(self._data) > self._kept + 1:
            self._size -= len(self._data.pop(self._kept))
            self.omitted += 1

    @overload
    def __getitem__(self, index: int) -> Any: ...  # noqa: ANN401 - JSON
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    @override
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [_value(self._masked(data)) for data in self._data[index]]
        return _value(self._masked(self._data[index]))

    @override
    def __len__(self) -> int:
        return len(self._data)

    def _masked(self, data: str) -> str:
        # Events are masked when they are read, because nearly no log is read.
        return redact(data, [self.key])

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return (EventLog, (self.omitted, "", list(map(self._masked, self._data))))

    @override
    def __repr__(self) -> str:
        omitted = f", {self.omitted} omitted" if self.omitted else ""
        return f"<EventLog of {len(self)} events{omitted}>"


_MAX_LOGGED = 1024 * 1024
"""Maximum number of characters in an `EventLog`, which is about 3,000 events."""


def _value(data: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data


async def read_parts(response: Response) -> AsyncIterator[BodyParts]:
    """Yield the parts of a response as they arrive."""
    blocks, begin = response.blocks(), b""
    async for block in blocks:
        begin += block
        if _content(begin):
            break
    if _content(begin)[:1] in (b"{", b"["):
        rest = [block async for block in blocks]
        body = b"".join([begin, *rest]).removeprefix(_BYTE_ORDER_MARK)
        yield BodyParts([body.decode(errors="replace")], is_whole=True)
        return
    decoder = Decoder()
    yield BodyParts(_data(decoder.feed(begin)))
    async for block in blocks:
        yield BodyParts(_data(decoder.feed(block)))
    # An incomplete event is dropped; the missing end mark shows that the stream was cut off.
    yield BodyParts([data for data in _data(decoder.close()) if json_body.is_complete(data)])
    if error := _stray_error(decoder.stray):
        yield BodyParts([error])
    elif decoder.stray and response.content_type != "text/event-stream":  # such as an HTML page
        yield BodyParts([decoder.stray], is_whole=True)


def _content(begin: bytes) -> bytes:
    return begin.removeprefix(_BYTE_ORDER_MARK).lstrip()


def _data(events: Iterable[ServerSentEvent]) -> list[str]:
    return [_error_body(data) if name == "error" else data for name, data in events]


def _error_body(text: str) -> str:
    """Return the content of an error event or line as ``{"error": …}``."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    if isinstance(value, dict) and value.get("error"):
        return text
    return json.dumps({"error": value if isinstance(value, dict) else {"message": str(value)}})


def _stray_error(stray: str) -> str:
    """Return an error that a server wrote outside of an event; empty if there is none.

    Gemini writes bare JSON when it fails midway, and llama.cpp a field of its own: ``error: {…}``.
    """
    for line in stray.splitlines():
        if line.startswith(_ERROR_FIELD):
            return _error_body(line.removeprefix(_ERROR_FIELD).strip())
    return stray if '"error"' in stray and json_body.is_complete(stray) else ""
