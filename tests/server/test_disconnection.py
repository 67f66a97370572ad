"""Clients that disconnect: the provider's call ends, whatever the client was waiting for."""

import asyncio
import json
import socket

import httpx
import pytest

from gatewayx_nb.server.inference import until_disconnected
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


async def _never() -> None:
    await asyncio.Event().wait()


async def _disconnect():
    return {"type": "http.disconnect"}


async def _stay_connected():
    await _never()


def test_a_disconnection_ends_the_work_but_not_its_task():
    """A disconnection ends the work; the task that awaits it is not cancelled."""

    async def serve():
        await until_disconnected(_disconnect, _never())
        await asyncio.sleep(0)
        return asyncio.current_task().cancelling()

    assert asyncio.run(serve()) == 0


def test_finished_work_ends_the_wait_for_a_disconnection():
    """When the work is done, nothing waits for a disconnection any more."""

    async def serve():
        await until_disconnected(_stay_connected, asyncio.sleep(0))
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(serve()) == 1


@pytest.mark.parametrize("receive", [_disconnect, _stay_connected])
def test_a_cancelled_server_cancels_the_task(receive):
    """If the server cancels the task, it is cancelled, even if the client disconnects as well."""

    async def serve():
        task = asyncio.create_task(until_disconnected(receive, _never()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(serve())
