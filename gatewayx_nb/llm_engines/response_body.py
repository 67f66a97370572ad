"""The parts of a response: the data of server-sent events, or one JSON text.

What the body is decides, not its content type: some servers send events as ``text/plain``, others
send JSON as ``text/event-stream``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.transport import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayx_nb.transport import Response, ServerSentEvent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ERROR_FIELD = "error:"


@dataclass(frozen=True, slots=True)
class BodyPart:
    """A part of a body.

    Attributes:
        data: The data of one event, or the whole body.
        is_whole: Whether it is the whole body, which is its own end.
    """

    data: str
    is_whole: bool = False

    @property
    def is_end(self) -> bool:
        """Whether it is the end marker of a stream, which some servers send in every dialect."""
        return self.data.startswith("[DONE]")


async def read_parts(response: Response) -> AsyncIterator[BodyPart]:
    """Yield the parts of a response as they arrive."""
    blocks, begin = response.blocks(), b""
    async for block in blocks:
        begin += block
        if _content(begin):
            break
    if _content(begin)[:1] in (b"{", b"["):
        rest = [block async for block in blocks]
        body = b"".join([begin, *rest]).removeprefix(_BYTE_ORDER_MARK)
        yield BodyPart(body.decode(errors="replace"), is_whole=True)
        return
    decoder = Decoder()
    async for part in _events(decoder, begin, blocks):
        yield part
    if error := _stray_error(decoder.stray):
        yield BodyPart(error)
    elif decoder.stray and response.content_type != "text/event-stream":  # such as an HTML page
        yield BodyPart(decoder.stray, is_whole=True)


async def _events(
    decoder: Decoder, begin: bytes, blocks: AsyncIterator[bytes]
) -> AsyncIterator[BodyPart]:
    """Yield the data of a stream's events.

    An incomplete event at the end is dropped; the missing end marker shows that it was cut off.
    """
    for event in decoder.feed(begin):
        yield _part(event)
    async for block in blocks:
        for event in decoder.feed(block):
            yield _part(event)
    for event in decoder.close():
        if json_body.is_complete(event.data):
            yield _part(event)


def _content(begin: bytes) -> bytes:
    return begin.removeprefix(_BYTE_ORDER_MARK).lstrip()


def _part(event: ServerSentEvent) -> BodyPart:
    return BodyPart(_error_body(event.data) if event.event == "error" else event.data)


def _error_body(text: str) -> str:
    """Return what an error event or line says as ``{"error": …}``."""
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
