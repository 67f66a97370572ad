"""A loopback server with scripted responses: whole, in pieces, late, broken or missing.

A script is a list of steps. Each request gets the next script, and the last script is repeated.

>>> from gatewayx_nb import EnginePool
>>> from gatewayx_nb.testing import CHAT, CloseConnection, Send, Server, chunk, stream_head
>>> pieces = [Send(chunk(event)) for event in CHAT.events[:2]]
>>> truncated = [Send(stream_head()), *pieces, CloseConnection()]
>>> with Server(CHAT.answer, truncated) as server:
...     grok = {"GATEWAYX_GROK_API_KEY": "k", "GATEWAYX_GROK_BASE_URL": server.url}
...     with EnginePool(env=grok) as pool:
...         print(pool.ask("Hi", model="grok"))
...         print(pool.ask("Hi", model="grok"))
Traceback (most recent call last):
gatewayx_nb.errors.TransportError: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.testing.steps import (
    CloseConnection,
    ReceivedRequest,
    Repeat,
    Reset,
    Send,
    Split,
    Stall,
    Step,
    Tunnel,
    Wait,
    WaitForRequests,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from typing import Self

    from gatewayx_nb.testing.steps import Script

HOST = "127.0.0.1"

_LOOP_STEPS_TO_HANDLER = 4
"""Iterations of the event loop from an accepted connection to the start of its handler.

asyncio never closes a connection whose server is closed, or whose task is cancelled, before its
handler starts.
"""


class Server:
    """A server that plays scripts on a loopback port, in its own thread.

    Args:
        *scripts: The scripts for the requests, in order; the last script is repeated. A script is a
            list of steps, or a function that returns the steps for a request.
        tls: SSL context, for a TLS server.
        greeting: Bytes sent to every peer before its request.

    Attributes:
        port: The port on which the server listens.
        requests: The requests received.
        connections: Sockets accepted so far.
        open: Sockets that are currently open.
    """

    def __init__(
        self, *scripts: Script, tls: ssl.SSLContext | None = None, greeting: bytes = b""
    ) -> None:
        self._scripts, self._tls, self._greeting = scripts, tls, greeting
        self._listening = threading.Event()
        # The server has its own thread, because the client under test may block the caller's loop.
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.port = self.connections = self.open = 0
        self.requests: list[ReceivedRequest] = []
        self._arrivals: dict[int, asyncio.Event] = {}

    @property
    def url(self) -> str:
        """The root URL, with an IP address."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._serve_connection, HOST, 0, ssl=self._tls, backlog=2000
        )  # the backlog allows tests with a thousand concurrent calls
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._stop.wait()
        self._loop.remove_reader(server.sockets[0])
        for _ in range(_LOOP_STEPS_TO_HANDLER):
            await asyncio.sleep(0)
        server.close()
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.open += 1
        writer.write(self._greeting)
        # Tests provoke broken connections, and the client reports their errors.
        try:
            with contextlib.suppress(_EndedError, OSError, asyncio.CancelledError):
                while request := await _read_request(reader):
                    self._record(request)
                    exchange = _Exchange(self, request, reader, writer)
                    await exchange.play(self._script(request))
        finally:
            self.open -= 1
            # The buffer is not flushed, because the client may never read it.
            writer.transport.abort()

    async def wait_for_requests(self, requests: int) -> None:
        """Wait until ``requests`` requests have arrived in total.

        A single event wakes all waiting calls, because hundreds of polling calls would leave the
        client no time to run.
        """
        if len(self.requests) < requests:
            await self._arrivals.setdefault(requests, asyncio.Event()).wait()

    def _record(self, request: ReceivedRequest) -> None:
        self.requests.append(request)
        self._arrivals.pop(len(self.requests), asyncio.Event()).set()

    def _script(self, request: ReceivedRequest) -> Sequence[Step]:
        script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
        return script(request) if callable(script) else script


async def _read_request(reader: asyncio.StreamReader) -> ReceivedRequest | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request_line, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _version = request_line.split(" ")
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return ReceivedRequest(method, target, headers, body)


class _EndedError(Exception):
    """The script itself ended the connection."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """Plays a script to a peer."""

    server: Server
    request: ReceivedRequest
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def play(self, script: Sequence[Step]) -> None:
        try:
            for step in script:
                await self._run_step(step)
        except ConnectionError:
            self.request.mark_closed()
            raise

    async def _run_step(self, step: Step) -> None:  # noqa: C901 - one case per step
        match step:
            case Send(data):
                self.writer.write(data)
                await self.writer.drain()
            case Split(data, size):
                for start in range(0, len(data), size):
                    self.writer.write(data[start : start + size])
                    await self.writer.drain()
            case Repeat(data, every):
                await self._repeat(data, every)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case WaitForRequests(requests):
                await self.server.wait_for_requests(requests)
            case Stall():
                while await self.reader.read(65536):
                    pass
                raise ConnectionResetError
            case CloseConnection():
                self.writer.close()
                await self.writer.wait_closed()
                raise _EndedError
            case Reset():
                raw = self.writer.get_extra_info("socket")
                # With a linger time of zero, closing the socket sends RST instead of FIN.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise _EndedError
            case Tunnel(port):
                await self._tunnel(port)

    async def _repeat(self, data: bytes, interval: float) -> None:
        client_closed = asyncio.ensure_future(self.reader.read(1))
        # A reset by the peer is expected; retrieving the exception keeps asyncio from logging it.
        client_closed.add_done_callback(lambda read: read.cancelled() or read.exception())
        while not client_closed.done():
            self.writer.write(data)
            await self.writer.drain()
            await asyncio.wait([client_closed], timeout=interval)
        raise ConnectionResetError

    async def _tunnel(self, port: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            self.writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await asyncio.gather(_forward(self.reader, writer), _forward(reader, self.writer))
        finally:
            writer.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
