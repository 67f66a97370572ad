"""The steps of a fault server's script, and the HTTP bytes that they send."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class ReceivedRequest:
    """A request that arrived.

    Attributes:
        method: The HTTP method.
        target: The request target: a path or, for a proxy, a URL or ``host:port``.
        headers: The headers, by lower-case name.
        body: The whole body.
        closed: Set when the peer has closed the socket.
        closed_at: The monotonic time at which the peer closed the socket.
        arrived: The monotonic time at which the request was complete.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    # The clock is monotonic, because tests measure the time between requests.
    arrived: float = field(default_factory=time.monotonic)
    closed: threading.Event = field(default_factory=threading.Event)
    closed_at: float = 0.0

    def mark_closed(self) -> None:
        """Record that the peer has closed the socket."""
        self.closed_at = time.monotonic()
        self.closed.set()


@dataclass(frozen=True, slots=True)
class Send:
    """Send the bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Split:
    """Send the bytes in writes of ``size`` bytes."""

    data: bytes
    size: int = 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """Send the bytes at a fixed interval in seconds until the peer closes the socket."""

    data: bytes
    every: float = 0.01


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait for a number of seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitForRequests:
    """Wait until a number of requests have arrived in total."""

    requests: int


@dataclass(frozen=True, slots=True)
class Stall:
    """Wait until the peer closes the socket."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the connection normally."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Accept a CONNECT request and forward the bytes to a loopback port."""

    port: int


Step = Send | Split | Repeat | Wait | WaitForRequests | Stall | CloseConnection | Reset | Tunnel
"""A step of a script."""

Script = Sequence[Step] | Callable[[ReceivedRequest], Sequence[Step]]
"""The response to a request: steps, or a function that returns the steps for a request."""


def head(status: int = 200, reason: str = "OK", /, **headers: str) -> bytes:
    """Return a status line and headers; an underscore in a name becomes a hyphen."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def reply(body: bytes = b"{}", status: int = 200, **headers: str) -> bytes:
    """Return a complete response with a Content-Length header."""
    all_headers = {"content_type": "application/json", "content_length": str(len(body))} | headers
    # Clients ignore the reason phrase, so it need not match the status.
    return head(status, "OK", **all_headers) + body


def stream_head(**headers: str) -> bytes:
    """Return the head of a chunked event stream."""
    return head(content_type="text/event-stream", transfer_encoding="chunked", **headers)


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body; an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*pieces: bytes) -> bytes:
    """Return a whole chunked event stream."""
    return stream_head() + b"".join(map(chunk, pieces)) + chunk(b"")


def redirect(url: str, status: int = 307) -> bytes:
    """Return a redirect to a URL."""
    return reply(b"", status, location=url)


def html(status: int = 200) -> bytes:
    """Return the page of a captive portal."""
    return reply(b"<!doctype html><h1>Log in</h1>", status, content_type="text/html")


def gzipped(body: bytes = b"{}", status: int = 200) -> bytes:
    """Return a response that is compressed although the client did not request it."""
    return reply(gzip.compress(body), status, content_encoding="gzip")
