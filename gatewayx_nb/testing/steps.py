"""What a fault server does: the steps of a script, and the bytes of HTTP that they send."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Seen:
    """A request that arrived.

    Attributes:
        method: The HTTP method.
        target: What stands behind it: a path, or for a proxy a URL or ``host:port``.
        headers: By name in lower case.
        body: The whole body.
        closed: Set once the peer has closed the socket.
        closed_at: The monotonic clock at that moment.
        arrived: The monotonic clock when the request was whole.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    arrived: float = field(default_factory=time.monotonic)
    closed: threading.Event = field(default_factory=threading.Event)
    closed_at: float = 0.0

    def close(self) -> None:
        """Note that the peer has closed the socket."""
        self.closed_at = time.monotonic()
        self.closed.set()


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Split:
    """Send these bytes, each so many of them by a write of its own."""

    data: bytes
    size: int = 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """Send these bytes every so many seconds until the peer closes the socket."""

    data: bytes
    every: float = 0.01


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Gather:
    """Do nothing until so many requests have arrived in all."""

    requests: int


@dataclass(frozen=True, slots=True)
class Stall:
    """Do nothing until the peer closes the socket."""


@dataclass(frozen=True, slots=True)
class Cut:
    """End the connection in good order."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection: the peer gets a reset."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Accept a CONNECT and pass the bytes to this port of the loopback."""

    port: int


Step = Send | Split | Repeat | Wait | Gather | Stall | Cut | Reset | Tunnel
"""One thing that a server does."""

Script = Sequence[Step] | Callable[[Seen], Sequence[Step]]
"""What a request is answered with: steps, or a function of the request that gives them."""


def head(status: int = 200, reason: str = "OK", /, **headers: str) -> bytes:
    """Give a status line and headers; an underscore in a name stands for a hyphen."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def reply(body: bytes = b"{}", status: int = 200, **headers: str) -> bytes:
    """Give a whole answer with its length."""
    named = {"content_type": "application/json", "content_length": str(len(body))} | headers
    return head(status, "OK", **named) + body


def stream_head(**headers: str) -> bytes:
    """Give the head of a stream of events in chunks."""
    return head(content_type="text/event-stream", transfer_encoding="chunked", **headers)


def chunk(data: bytes) -> bytes:
    """Give one chunk of a chunked body; an empty one ends it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*pieces: bytes) -> bytes:
    """Give a whole chunked stream of events."""
    return stream_head() + b"".join(map(chunk, pieces)) + chunk(b"")


def redirect(url: str, status: int = 307) -> bytes:
    """Give a redirect to another place."""
    return reply(b"", status, location=url)


def html(status: int = 200) -> bytes:
    """Give the page of a captive portal."""
    return reply(b"<!doctype html><h1>Log in</h1>", status, content_type="text/html")


def gzipped(body: bytes = b"{}", status: int = 200) -> bytes:
    """Give an answer that is compressed although nobody asked for it."""
    return reply(gzip.compress(body), status, content_encoding="gzip")
