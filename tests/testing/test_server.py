import json
import socket

import pytest

from gatewayx_nb.testing import (
    CHAT,
    DIALECTS,
    Reset,
    Send,
    Server,
    Split,
    html,
    reply,
    stream,
)

ASK = b"POST /x HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b"


def _blocks(server, body=b"{}", target=b"/x", end=b"0\r\n\r\n"):
    """Send a raw request; return the blocks received up to the end."""
    request = ASK.replace(b"/x", target) % (len(body), body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
        peer.sendall(request)
        blocks = []
        while not b"".join(blocks).endswith(end):
            blocks.append(peer.recv(65536))
        return blocks


def test_bytes_are_sent_unchanged_and_the_last_script_repeats():
    """Bytes are sent unchanged, the last script repeats, and requests are recorded."""
    with Server([Send(reply(b"{1}"))], [Send(html())]) as server:
        ends = (b"{1}", b"</h1>")
        answers = [b"".join(_blocks(server, b"[]", end=ends)) for _ in range(3)]

    assert [answer[-3:] for answer in answers] == [b"{1}", b"h1>", b"h1>"]
    assert [request.body for request in server.requests] == [b"[]"] * 3
    assert b"content-type: text/html" in answers[1]
    assert server.connections == 3


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_split_preserves_the_bytes(size):
    """A split response has the same bytes in more blocks."""
    answer = stream(*CHAT.events)
    with Server([Split(answer, size)]) as server:
        blocks = _blocks(server)

    assert b"".join(blocks) == answer
    assert size > 1000 or len(blocks) > 1


def test_a_reset_resets_the_connection():
    """A reset is a connection reset, not a regular end."""
    with Server([Reset()]) as server, pytest.raises(ConnectionResetError):
        _blocks(server)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_sample_responds_to_the_kind_of_request(dialect):
    """A dialect answers whole or streamed, as the body or, for Gemini, the path requests."""
    with Server(dialect.answer) as server:
        whole = b"".join(_blocks(server, end=dialect.whole))
        streamed = [
            b"".join(_blocks(server, json.dumps({"stream": True}, separators=(",", ":")).encode())),
            b"".join(_blocks(server, target=b"/m:streamGenerateContent?alt=sse")),
        ]

    assert whole.endswith(dialect.whole)
    assert streamed == [stream(*dialect.events)] * 2
