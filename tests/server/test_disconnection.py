"""Clients that disconnect: the provider's call ends, whatever the client was waiting for."""

import json
import socket

import httpx
import pytest

from gatewayx_nb.testing import ScriptedEngine, Send, Server, Stall, stream_head
from tests.server.conftest import serving, wait_until

MESSAGES = [{"role": "user", "content": "Hi"}]

BODIES = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/responses": {"input": "Hi"},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 9},
}

HOUR = 3_600.0


def connect(server, path, body):
    """Send a request on a new connection and return the connection."""
    connection = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {server.token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    ("script", "streamed"),
    [([HOUR], False), ([HOUR], True), (["Hel", HOUR], True), (["Hel", HOUR], False)],
    ids=["whole", "before the first chunk", "during the stream", "during a whole answer"],
)
def test_the_call_ends_if_the_client_goes_away(path, script, streamed):
    """A closed connection cancels the call, so that the provider stops generating."""
    engine = ScriptedEngine(script)
    with serving(engine) as server:
        body = {"model": "scripted", "stream": streamed, **BODIES[path]}
        with connect(server, path, body) as connection:
            wait_until(lambda: engine.requests)
            if streamed and script[0] != HOUR:
                assert connection.recv(65536)
            assert not engine.ended.is_set()
        assert engine.ended.wait(30)


def test_the_provider_sees_the_end(project):
    """The connection to the provider is closed, too."""
    with Server([Send(stream_head()), Stall()]) as provider:
        project.set_keys(
            f"GATEWAYX_GROK_API_KEY=k-0123456789\nGATEWAYX_GROK_BASE_URL={provider.url}/v1\n"
        )
        with project.pool() as pool, serving(pool=pool) as server:
            path, body = next(iter(BODIES.items()))
            with connect(server, path, {"model": "grok", "stream": True, **body}):
                wait_until(lambda: provider.open == 1)
            wait_until(lambda: provider.open == 0)
            assert len(provider.requests) == 1


def test_other_clients_are_not_disturbed():
    """A client that stays gets its answer while others come and go."""
    engine = ScriptedEngine(["Hel", 0.5, "lo."])
    with serving(engine) as server:
        path, body = next(iter(BODIES.items()))
        body = {"model": "scripted", "stream": True, **body}
        for _ in range(20):
            connect(server, path, body).close()
        headers = {"x-api-key": str(server.token)}
        with httpx.Client(base_url=server.url, trust_env=False, headers=headers) as client:
            assert "lo." in client.post(path, json=body).text
