import gc
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
    Stall,
    html,
    reply,
    stream,
)

REQUEST = b"POST /x HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b"


def _request_blocks(server, body=b"{}", target=b"/x", last_bytes=b"0\r\n\r\n"):
    """Send a raw request; return the received blocks, until they end with `last_bytes`."""
    request = REQUEST.replace(b"/x", target) % (len(body), body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(request)
        blocks = []
        while not b"".join(blocks).endswith(last_bytes):
            blocks.append(connection.recv(65536))
        return blocks


def test_bytes_are_sent_unchanged_and_the_last_script_repeats():
    """The server sends scripted bytes unchanged, repeats the last script and records requests."""
    with Server([Send(reply(b"{1}"))], [Send(html())]) as server:
        last_bytes = (b"{1}", b"</h1>")
        responses = [
            b"".join(_request_blocks(server, b"[]", last_bytes=last_bytes)) for _ in range(3)
        ]

    assert [response[-3:] for response in responses] == [b"{1}", b"h1>", b"h1>"]
    assert [request.body for request in server.requests] == [b"[]"] * 3
    assert b"content-type: text/html" in responses[1]
    assert server.connections == 3


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_split_response_has_the_same_bytes(size):
    """A split response has the same bytes in more blocks."""
    response = stream(*CHAT.events)
    with Server([Split(response, size)]) as server:
        # Several, because a busy machine may rejoin the blocks of one of them.
        received = [_request_blocks(server) for _ in range(20)]

    assert {b"".join(blocks) for blocks in received} == {response}
    assert size > 1000 or max(map(len, received)) > 1


def test_a_reset_resets_the_connection():
    """The step `Reset` resets the connection instead of closing it."""
    with Server([Reset()]) as server, pytest.raises(ConnectionResetError):
        _request_blocks(server)


def test_a_server_closes_connections_that_arrive_while_it_stops():
    """A server that stops closes all sockets it has accepted, also those of the last moment."""
    for _ in range(50):
        with Server([Stall()]) as server:
            peers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
        for peer in peers:
            peer.close()
        # An open socket is an error here, a `ResourceWarning`.
        gc.collect()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_dialect_answers_with_or_without_a_stream(dialect):
    """A dialect's answer is streamed if the request's body or, for Gemini, its path says so."""
    with Server(dialect.answer) as server:
        unstreamed = b"".join(_request_blocks(server, last_bytes=dialect.whole))
        streams = [
            b"".join(
                _request_blocks(
                    server, json.dumps({"stream": True}, separators=(",", ":")).encode()
                )
            ),
            b"".join(_request_blocks(server, target=b"/m:streamGenerateContent?alt=sse")),
        ]

    assert unstreamed.endswith(dialect.whole)
    assert streams == [stream(*dialect.events)] * 2
