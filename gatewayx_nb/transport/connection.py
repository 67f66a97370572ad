"""aiohttp connections that keep the data that arrived before an error.

An answer is complete when its end mark has arrived, and later bytes must not damage it. However, if
bytes that aiohttp cannot parse arrive in the same read as the head of a response, aiohttp drops the
response. If they arrive later, it waits for more of the body.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.client_proto import ResponseHandler

_END_OF_HEAD = b"\r\n\r\n"


class MalformedBodyError(Exception):
    """The body of a response contains bytes that are not HTTP."""


def connector(**options: Any) -> aiohttp.TCPConnector:  # noqa: ANN401 - aiohttp's own
    """Return a connector whose connections keep the data that arrived before an error."""
    import aiohttp

    tcp_connector = aiohttp.TCPConnector(**options)
    factory: Any = functools.partial(_handler(), loop=tcp_connector._loop)  # noqa: SLF001 - no public option
    tcp_connector._factory = factory  # noqa: SLF001
    return tcp_connector


def unread(content: aiohttp.StreamReader) -> bytes:
    """Return the part of a body that has arrived, even if reading the body raises an error."""
    # The public methods would raise the error instead.
    return content._read_nowait(-1) if content._buffer else b""  # noqa: SLF001


@functools.cache
def _handler() -> type[ResponseHandler]:
    from aiohttp.client_proto import ResponseHandler

    class BodyKeepingHandler(ResponseHandler):
        """Parses a response's head separately, and ends the body at bytes that are not HTTP."""

        @override
        def data_received(self, data: bytes) -> None:
            if data.startswith(b"HTTP/"):
                head, mark, data = data.partition(_END_OF_HEAD)
                super().data_received(head + mark)
                if not data:
                    return
            # Empty data resumes the parser after it has paused for a slow reader.
            super().data_received(data)

        @override
        def resume_reading(self, resume_parser: bool = True) -> None:
            # aiohttp calls this after each piece that is read, even if reading is not paused.
            if getattr(self, "_reading_paused", True):  # a private attribute
                super().resume_reading(resume_parser)

        @override
        def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
            super().set_exception(exc, *cause)
            body = self._payload
            if body is not None and not body.is_eof():
                body.set_exception(MalformedBodyError(str(exc)))

    return BodyKeepingHandler
