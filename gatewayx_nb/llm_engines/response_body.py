"""Reads the parts of a response: the data of server-sent events, or one JSON text.

The format is detected from the body, not from the content type: some servers send events as
``text/plain``, others send JSON as ``text/event-stream``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import override

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.secure_config import redact
from gatewayx_nb.transport import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from gatewayx_nb.transport import Response, ServerSentEvent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ERROR_FIELD = "error:"

_SEPARATORS = re.compile(r"[\s,]*+")

_MAX_VALUES = 50_000
"""Maximum number of JSON values to read as events of one body.

The end mark of a longer body is not reached, so its answer counts as truncated."""

_END_TIMEOUT = 1.0
"""Seconds to wait for the end of a body whose JSON is complete."""


@dataclass(frozen=True, slots=True)
class BodyParts:
    """The parts of a body that are complete after one more block of bytes.

    Attributes:
        data: The data of each event, or the whole body.
        is_whole: Whether ``data`` is the whole body, which needs no end mark.
    """

    data: Sequence[str]
    is_whole: bool = False


def is_end_mark(data: str) -> bool:
    """Return whether data is the end mark of a stream, which servers may send in any dialect."""
    return data[:1] != "{" and data.strip().startswith("[DONE]")


class EventLog(Sequence[Any]):
    """The events of a stream, for `Reply.raw`; each is parsed when it is read.

    The events are kept as text, which takes a tenth of the memory of parsed events. The middle of a
    long stream is omitted.

    This is not a dataclass, because all fields of a dataclass are searched for the key at the end
    of each stream.

    Args:
        omitted: Number of events that were omitted from the middle.
        key: The engine's key, which is masked if the provider repeats it.
        data: The first events.
    """

    __slots__ = ("_events", "_kept_count", "_key", "_size", "omitted")

    def __init__(self, omitted: int = 0, key: str = "", data: Iterable[str] = ()) -> None:
        self.omitted, self._key = omitted, key
        self._events: list[str] = []
        self._size = 0
        self._kept_count = 0  # the number of events to keep from the start, once there are too many
        self.add(list(data))

    def add(self, data: Sequence[str]) -> None:
        """Add the data of events."""
        self._events += data
        self._size += sum(map(len, data))
        if self._size > _MAX_LOGGED_CHARS:
            self._omit_events()

    def closed(self) -> EventLog:
        """Return the log of a finished stream, without the end mark."""
        if self._events and is_end_mark(self._events[-1]):
            self._events.pop()
        return self

    def _omit_events(self) -> None:
        """Remove the oldest events after those that are kept from the start."""
        self._kept_count = end = self._kept_count or len(self._events) // 2
        # Removing an event moves all later events, so several are removed at once.
        while self._size > _MAX_LOGGED_CHARS - _REMOVED_CHARS and end < len(self._events) - 1:
            self._size -= len(self._events[end])
            end += 1
        self.omitted += end - self._kept_count
        del self._events[self._kept_count : end]

    @overload
    def __getitem__(self, index: int) -> Any: ...  # noqa: ANN401 - JSON
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    @override
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [_parse_if_json(self._mask(data)) for data in self._events[index]]
        return _parse_if_json(self._mask(self._events[index]))

    @override
    def __len__(self) -> int:
        return len(self._events)

    def _mask(self, data: str) -> str:
        # Events are masked when they are read, because most logs are never read.
        return redact(data, [self._key])

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EventLog):
            return NotImplemented
        return (self.omitted, self._events) == (other.omitted, other._events)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return (EventLog, (self.omitted, "", list(map(self._mask, self._events))))

    @override
    def __repr__(self) -> str:
        omitted_text = f", {self.omitted} omitted" if self.omitted else ""
        return f"<EventLog of {len(self)} events{omitted_text}>"


_MAX_LOGGED_CHARS = 1024 * 1024
"""Maximum number of characters in an `EventLog`, which is about 3,000 events."""

_REMOVED_CHARS = 32 * 1024
"""Number of characters that are removed from a full `EventLog`."""


def _parse_if_json(data: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return bounded_json.loads(data)
    except (ValueError, RecursionError):
        return data


def is_event(body: str) -> bool:
    """Return whether a body is only the first event of a truncated stream."""
    value = _parse_if_json(body)
    if not isinstance(value, dict):
        return False
    choices = value.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    is_delta = isinstance(choice, dict) and "delta" in choice and not choice.get("message")
    # Anthropic's and Cohere's events have such types; whole answers have `message` or no type.
    return is_delta or str(value.get("type", "")).startswith("content")


async def read_parts(response: Response) -> AsyncGenerator[BodyParts]:
    """Yield the parts of a response as they arrive."""
    # Closing the generator saves the task with which the garbage collector would close it.
    async with contextlib.aclosing(response.blocks()) as blocks:
        first_blocks: list[bytes] = []
        async for block in blocks:
            first_blocks.append(block)
            # Earlier blocks are blank, so only this block is searched.
            if _strip_start(block) if len(first_blocks) == 1 else block.strip():
                break
        beginning = b"".join(first_blocks)
        if _strip_start(beginning)[:1] in (b"{", b"["):
            yield _json_parts(await _read_json(response, beginning, blocks))
            return
        decoder = Decoder()
        yield BodyParts(_event_data(decoder.feed(beginning)))
        async for block in blocks:
            yield BodyParts(_event_data(decoder.feed(block)))
        # An incomplete event is dropped; the missing end mark shows that the stream was truncated.
        yield BodyParts(
            [data for data in _event_data(decoder.close()) if json_body.is_complete(data)]
        )
        if error := _stray_error(decoder.stray):
            yield BodyParts([error])
        elif decoder.stray and response.content_type != "text/event-stream":  # such as an HTML page
            yield BodyParts([decoder.stray], is_whole=True)


async def read_error(response: Response) -> bytes:
    """Return the body of an error response, or the part that has arrived."""
    async with contextlib.aclosing(response.blocks()) as blocks:
        return (await _read_json(response, b"", blocks, is_error=True)).encode()


async def _read_json(
    response: Response, beginning: bytes, blocks: AsyncIterator[bytes], *, is_error: bool = False
) -> str:
    """Return a body that begins with JSON.

    Complete JSON needs no end mark, so silence or a broken connection after it is not an error. An
    incomplete body is returned only if it is an error or begins with a complete JSON value.
    """
    body, checked_bytes = bytearray(_strip_start(beginning)), 0
    while not response.has_ended:
        is_complete = False
        # The number of checks is limited, so that they take linear time in total.
        if body[-99:].rstrip().endswith((b"}", b"]")) and checked_bytes <= 4 * len(body):
            checked_bytes += len(body)
            is_complete = json_body.is_complete(body.decode(errors="replace"))
        try:
            async with asyncio.timeout(_END_TIMEOUT if is_complete else None):
                block = await anext(blocks, None)
        except (GatewayError, TimeoutError):
            is_usable = is_complete or (is_error and body)
            if not is_usable and not _json_values(body.decode(errors="replace"))[0]:
                raise
            break
        if block is None:
            break
        body += block
    return body.decode(errors="replace")


def _json_parts(text: str) -> BodyParts:
    """Return the parts of a body that begins with JSON.

    Text after the JSON, such as an end mark, is omitted. If more JSON follows or a list is
    truncated, each value is an event, because some servers stream events in this form. The stream
    is then complete only if it contains an end mark.
    """
    if json_body.is_complete(text):
        return BodyParts([text], is_whole=True)
    values, remaining_text = _json_values(text)
    if len(values) > 1 or (values and (text.startswith("[") or remaining_text[:1] in ("{", "["))):
        return BodyParts(values)
    return BodyParts(values or [text], is_whole=True)


def _json_values(text: str) -> tuple[list[str], str]:
    """Return the unparsed JSON values at the start of a string or truncated list, and the rest."""
    try:
        bounded_json.check_values(text)
    except bounded_json.TooManyValuesError:
        return [], text
    decoder, values, start = json.JSONDecoder(), list[str](), _after_separators(text, 0)
    while start < len(text) and len(values) < _MAX_VALUES:
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            if start or text[0] != "[":
                break
            start = _after_separators(text, 1)  # the list is truncated, so read its items
            continue
        values.append(text[start:end])
        start = _after_separators(text, end)
    return values, text[start:]


def _after_separators(text: str, position: int) -> int:
    """Return the position after any whitespace and commas."""
    separators = _SEPARATORS.match(text, position)
    return separators.end() if separators else position


def _strip_start(beginning: bytes) -> bytes:
    return beginning.removeprefix(_BYTE_ORDER_MARK).lstrip()


def _event_data(events: Iterable[ServerSentEvent]) -> list[str]:
    return [_error_body(data) if name == "error" else data for name, data in events]


def _error_body(text: str) -> str:
    """Return the content of an error event or line as ``{"error": …}``."""
    value = _parse_if_json(text)
    if isinstance(value, dict) and value.get("error"):
        return text
    return json.dumps({"error": value if isinstance(value, dict) else {"message": str(value)}})


def _stray_error(stray_text: str) -> str:
    """Return an error that a server wrote outside of an event; empty if there is no error.

    When they fail midway, Gemini writes bare JSON, and llama.cpp a line ``error: {…}``.
    """
    for line in stray_text.splitlines():
        if line.startswith(_ERROR_FIELD):
            return _error_body(line.removeprefix(_ERROR_FIELD).strip())
    return stray_text if '"error"' in stray_text and json_body.is_complete(stray_text) else ""
