"""Connections of aiohttp that keep what arrived before an error.

An answer ends with its end mark, and what follows must not damage it. By itself, aiohttp drops a
response if bytes that it cannot parse arrive in the same read as its head. If they arrive later, it
waits for more of the body.
"""

from __future__ import annotations

import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

_END_OF_HEAD = b"\r\n\r\n"


class MalformedBodyError(aiohttp.ClientPayloadError):
    """The body of a response contains bytes that are no HTTP."""


class BodyKeepingHandler(ResponseHandler):
    """Parses the head of a response first, and ends the body at bytes that are no HTTP."""

    @override
    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/"):
            head, mark, data = data.partition(_END_OF_HEAD)
            super().data_received(head + mark)
        if data:
            super().data_received(data)

    @override
    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        super().set_exception(exc, *cause)
        body = self._payload
        if body is not None and not body.is_eof():
            body.set_exception(MalformedBodyError(str(exc)))


class Connector(aiohttp.TCPConnector):
    """Opens connections whose responses `BodyKeepingHandler` parses."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - those of aiohttp
        super().__init__(**options)
        self._factory: Any = functools.partial(BodyKeepingHandler, loop=self._loop)


def unread(content: aiohttp.StreamReader) -> bytes:
    """Return what has arrived of a body, although reading it raises an error."""
    # The public methods raise the error first.
    return content._read_nowait(-1) if content._buffer else b""  # noqa: SLF001
