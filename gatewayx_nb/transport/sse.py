"""Parser of server-sent events: bytes in, events out.

The rules are from
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream with one
difference: the last event need not be followed by a blank line, which some providers omit. ``id``
and ``retry`` are ignored, because they serve reconnection.
"""

from __future__ import annotations

from typing import NamedTuple

from gatewayx_nb.errors import ProviderError

MAX_EVENT_BYTES = 8 * 2**20

_MAX_STRAY_BYTES = 64 * 2**10  # stray lines are only searched for a JSON error
_KNOWN_FIELDS = frozenset({b"", b"data", b"event", b"id", b"retry"})  # b"" is a comment

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerSentEvent(NamedTuple):
    """One event.

    Attributes:
        event: The event's name; ``"message"`` if the stream does not set it.
        data: The data lines, joined by line feeds. Bytes that are not UTF-8 become U+FFFD.
    """

    event: str
    data: str


class Decoder:
    """Incremental decoder of one stream's bytes into events, in linear time.

    The events do not depend on how the bytes are split between calls of `feed`; each event is
    returned by the call that completes it.

    Args:
        max_bytes: Maximum bytes of one event, including field names. Default 8 MiB.
    """

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._partial_line: list[bytes] = []  # a line whose end has not arrived yet
        self._partial_size = 0  # bytes of the partial line
        self._is_after_cr = False
        self._is_at_start = True
        self._event_name = b""
        self._data_lines: list[bytes] = []
        self._event_size = 0  # bytes of the event's lines so far
        self._is_too_long = False
        self._stray_lines: list[bytes] = []
        self._stray_size = 0

    @property
    def stray(self) -> str:
        """Lines that do not belong to an event, which a browser ignores; at most 64 KiB."""
        return b"\n".join(self._stray_lines).decode("utf-8", "replace")

    def feed(self, block: bytes) -> list[ServerSentEvent]:
        """Return the events that this block completes.

        Raises:
            ProviderError: If an event exceeds the limit. The events before it are returned first;
                all later calls raise the error.
        """
        return self._parse_lines(self._split_lines(block))

    def close(self) -> list[ServerSentEvent]:
        """Return the event that the end of the stream completes, if any.

        Raises:
            ProviderError: Under the same conditions as `feed`.
        """
        last_line = b"".join(self._partial_line)
        self._partial_line, self._partial_size = [], 0
        return self._parse_lines([last_line, b""] if last_line else [b""])

    def _split_lines(self, block: bytes) -> list[bytes]:
        """Split off the complete lines; keep the rest until its end arrives."""
        if self._is_after_cr and block:
            self._is_after_cr = False
            # The line feed belongs to the CR at the end of the previous block.
            block = block.removeprefix(b"\n")
        if b"\n" not in block and b"\r" not in block:
            self._add_partial(block)
            return []
        if self._partial_line:
            self._partial_line.append(block)
            block = b"".join(self._partial_line)
            self._partial_line, self._partial_size = [], 0
        lines = block.splitlines()  # `bytes.splitlines` splits only at CR, LF and CRLF
        if block.endswith(b"\r"):
            self._is_after_cr = True
        elif not block.endswith(b"\n"):
            self._add_partial(lines.pop())
        return lines

    def _add_partial(self, part: bytes) -> None:
        if part and not self._is_too_long:
            self._partial_line.append(part)
            self._partial_size += len(part)

    def _parse_lines(self, lines: list[bytes]) -> list[ServerSentEvent]:
        is_between_events = not (self._is_at_start or self._event_size or self._event_name)
        events = _plain_events(lines, self._max_bytes) if is_between_events else None
        if events is None or self._is_too_long:
            events = self._parse_fields(lines)
        if self._event_size + self._partial_size > self._max_bytes:
            self._is_too_long = True
        if self._is_too_long and not events:
            self._partial_line.clear()
            self._data_lines.clear()
            raise ProviderError(
                f"an event in the stream exceeds {self._max_bytes:,} bytes.", code="too_large"
            )
        return events

    def _parse_fields(self, lines: list[bytes]) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        for line in lines:
            # The size is checked before the line is stored, so that the limit also bounds memory.
            if self._event_size + len(line) > self._max_bytes:
                self._is_too_long = True
            if self._is_too_long:
                break
            if line:
                self._parse_field(line)
            else:
                self._end_event(events)
        return events

    def _parse_field(self, line: bytes) -> None:
        if self._is_at_start:
            self._is_at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        field, _, value = line.partition(b":")
        if field == b"data":
            # At most one space is part of the format; further spaces belong to the data.
            self._data_lines.append(value.removeprefix(b" "))
            self._event_size += len(line)
        elif field == b"event":
            self._event_name = value.removeprefix(b" ")
        elif field not in _KNOWN_FIELDS:
            self._stray_size += len(line)
            if self._stray_size <= _MAX_STRAY_BYTES:
                self._stray_lines.append(line)

    def _end_event(self, events: list[ServerSentEvent]) -> None:
        if self._data_lines:
            name = self._event_name.decode("utf-8", "replace") if self._event_name else "message"
            data = b"\n".join(self._data_lines).decode("utf-8", "replace")
            events.append(ServerSentEvent(name, data))
            self._data_lines.clear()
        self._event_name, self._event_size = b"", 0
        self._is_at_start = False


def _plain_events(lines: list[bytes], max_bytes: int) -> list[ServerSentEvent] | None:
    """Return the events of lines, or ``None`` if one consists of anything but one data line.

    Nearly all streams consist of such events, and this takes half the time of parsing each field.
    """
    data_lines = lines[::2]
    if len(lines) % 2 or any(lines[1::2]) or max(map(len, data_lines), default=0) > max_bytes:
        return None
    events = [
        ServerSentEvent("message", line[6:].decode("utf-8", "replace"))
        for line in data_lines
        if line.startswith(b"data: ")
    ]
    return events if len(events) == len(data_lines) else None
