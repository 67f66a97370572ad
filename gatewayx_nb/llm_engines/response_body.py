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
    from collections.abc import AsyncIterator, Iterable, Sequence

    from gatewayx_nb.transport import Response, ServerSentEvent

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ERROR_FIELD = "error:"


@dataclass(frozen=True, slots=True)
class BodyParts:
    """The parts of a body that one block of bytes completes.

    Attributes:
        data: The data of each event, or the whole body.
        is_whole: Whether it is the whole body, which is its own end.
    """

    data: Sequence[str]
    is_whole: bool = False


def is_end_mark(data: str) -> bool:
    """Return whether data is the end mark of a stream, which some servers send in every dialect."""
    return data.startswith("[DONE]")


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
