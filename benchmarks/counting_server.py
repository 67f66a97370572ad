"""A loopback server that counts requests, and refuses those that exceed a limit.

    python benchmarks/counting_server.py KIND

KIND is ``requests``, ``headers``, ``tokens``, ``halved`` or ``at-once``; see `LIMITS`. It prints
its port, and serves until its standard input ends. ``GET /counts`` returns what it counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from dataclasses import dataclass, field

import server

PER_SECOND, AT_ONCE, LATENCY = 100, 40, 0.2
"""Requests per second, requests at once, and the seconds that an answer takes."""

TOKENS_PER_SECOND = 10_000
HALVED_AFTER = 30.0
"""Seconds after the first request at which the limit of ``halved`` is halved."""

CHARACTERS_PER_TOKEN = 4

_COMPLETION = server.completion()

LIMITS = {
    "headers": "100 requests a second, stated in headers",
    "tokens": "10,000 tokens a second, stated in headers",
    "requests": "100 requests a second, not stated",
    "halved": "100 requests a second, not stated, then 50",
    "at-once": "40 requests at once, not stated",
}
"""Descriptions of the limits, by kind of server."""


@dataclass
class Counter:
    """Counts the use in the last second, and what was accepted and refused in each second."""

    kind: str
    log: deque[tuple[float, int]] = field(default_factory=deque)
    used: int = 0
    open: int = 0
    first: float | None = None
    accepted: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)

    def accept(self, tokens: int) -> bool:
        """Count a request; return whether it is within the limit."""
        now = time.monotonic()
        self.first = self.first or now
        while self.log and self.log[0][0] <= now - 1:
            self.used -= self.log.popleft()[1]
        amount = tokens if self.kind == "tokens" else 1
        if self.kind == "at-once":
            is_accepted = self.open < AT_ONCE
        else:
            is_accepted = self.used + amount <= self._limit(now)
        counts = self.accepted if is_accepted else self.refused
        second = int(now - self.first)
        counts[second] = counts.get(second, 0) + (amount if is_accepted else 1)
        if is_accepted:
            self.log.append((now, amount))
            self.used += amount
        return is_accepted

    def headers(self) -> bytes:
        """Return the headers that state the limit per minute, or ``b""`` if it is not stated."""
        if self.kind == "headers":
            return b"x-ratelimit-limit-requests: %d\r\n" % (60 * PER_SECOND)
        if self.kind == "tokens":
            return b"x-ratelimit-limit-tokens: %d\r\n" % (60 * TOKENS_PER_SECOND)
        return b""

    def _limit(self, now: float) -> float:
        if self.kind == "tokens":
            return TOKENS_PER_SECOND
        is_halved = self.kind == "halved" and now - (self.first or now) >= HALVED_AFTER
        return PER_SECOND / 2 if is_halved else PER_SECOND


class CountingPeer(server.Peer):
    """One connection to the counting server."""

    def __init__(self, counter: Counter) -> None:
        super().__init__(server.Calls())
        self._counter = counter

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < server.content_length(head):
            return
        self._received = b""
        if head.startswith(b"GET /counts"):
            counts = {"accepted": self._counter.accepted, "refused": self._counter.refused}
            self._transport.write(_response(b"200 OK", b"", json.dumps(counts).encode()))
            return
        prompt = str(json.loads(body)["messages"][-1]["content"])
        if not self._counter.accept(len(prompt) // CHARACTERS_PER_TOKEN):
            error = b'{"error": {"message": "too many requests"}}'
            self._transport.write(_response(b"429 Too Many Requests", b"", error))
            return
        self._counter.open += 1
        self._loop.call_later(LATENCY, self._end, _COMPLETION)

    def _end(self, data: bytes) -> None:
        self._counter.open -= 1
        self._transport.write(_response(b"200 OK", self._counter.headers(), data))


def _response(status: bytes, headers: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
    return head % (status, headers, len(body)) + body


async def serve(kind: str) -> None:
    """Serve until standard input ends."""
    loop, counter = asyncio.get_running_loop(), Counter(kind)
    listener = await loop.create_server(lambda: CountingPeer(counter), server.HOST, 0, backlog=2000)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    listener.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
