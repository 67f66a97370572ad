"""A loopback server that answers Chat Completions as cheaply as Python can.

    python benchmarks/server.py

It prints its port, and serves until its standard input ends. The prompt selects the answer:
``wait=0.5`` waits 0.5 s first; ``events=2000 each=50`` streams 2,000 text events, 50 in each write,
with one write per millisecond. ``GET /peak`` returns the maximum number of open calls since the
last such request.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

HOST = "127.0.0.1"

PAUSE = 0.001
"""Seconds between two writes of a stream, longer than any client takes to read one."""

_MODEL = "gpt-4o-mini"
_USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


def _response(body: bytes) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req-1\r\n"
        b"content-length: %d\r\n\r\n"
    )
    return head % len(body) + body


def completion() -> bytes:
    """Return the body of a whole answer."""
    text = "Because short waves of light scatter more than long ones do."
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return json.dumps(_object("chat.completion", [choice], _USAGE)).encode()


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chunk(b"data: %b\n\n" % json.dumps(_object("chat.completion.chunk", [choice])).encode())


def _object(kind: str, choices: list[object], usage: object = None) -> dict[str, object]:
    head = {"id": "chatcmpl-1", "object": kind, "created": 1_790_000_000, "model": _MODEL}
    return {**head, "choices": choices, "usage": usage}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_COMPLETION = _response(completion())
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + _event({"role": "assistant", "content": ""})
)
_WORDS = [_event({"content": f" word{number}"}) for number in range(100)]
"""The words differ, because litellm ends a stream after a hundred equal chunks."""

_END = (
    _event({}, "stop")
    + _chunk(b"data: %b\n\n" % json.dumps(_object("chat.completion.chunk", [], _USAGE)).encode())
    + _chunk(b"data: [DONE]\n\n")
    + _chunk(b"")
)


@dataclass
class Calls:
    """The number of open calls, and its maximum."""

    open: int = 0
    peak: int = 0

    def begin(self) -> None:
        """Count a new call."""
        self.open += 1
        self.peak = max(self.peak, self.open)


class Peer(asyncio.Protocol):
    """One connection; a client sends each request after the answer to the previous one."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._transport = asyncio.Transport()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, to write the answers to it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer once the request is complete."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < content_length(head):
            return
        self._received = b""
        if head.startswith(b"GET /peak"):
            self._transport.write(_response(b"%d" % self._calls.peak))
            self._calls.peak = self._calls.open
        elif not body:  # LiteLLM's proxy requests the list of models
            self._transport.write(_response(b"{}"))
        else:
            self._calls.begin()
            self._answer(json.loads(body))

    def _answer(self, request: dict[str, object]) -> None:
        prompt = str(request["messages"][-1]["content"])  # type: ignore[index]
        settings = dict(word.split("=") for word in prompt.split())
        if request.get("stream"):
            self._transport.write(_STREAM)
            self._stream(int(settings["events"]), int(settings["each"]), self._loop.time())
        else:
            self._loop.call_later(float(settings["wait"]), self._end, _COMPLETION)

    def _stream(self, left: int, each: int, due: float) -> None:
        numbers = range(left, max(left - each, 0), -1)
        self._transport.write(b"".join([_WORDS[number % len(_WORDS)] for number in numbers]))
        call_at = self._loop.call_at
        if left > each:
            call_at(due + PAUSE, self._stream, left - each, each, due + PAUSE)
        else:
            call_at(due + PAUSE, self._end, _END)

    def _end(self, data: bytes) -> None:
        self._calls.open -= 1
        self._transport.write(data)


def content_length(head: bytes) -> int:
    """Return the length of a request's body, according to its head."""
    value = head.lower().partition(b"\r\ncontent-length:")[2]
    return int(value.partition(b"\r\n")[0] or 0)


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    calls = Calls()
    server = await loop.create_server(lambda: Peer(calls), HOST, 0, backlog=2000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
