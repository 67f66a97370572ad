"""MCP servers over HTTP, on the loopback interface."""

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import ConfigError, TransportError, TrustError
from gatewayx_nb.transport.sdk_client import _limited_transport, _ValueCounter
from tests.canary import KEY, leaks
from tests.mcp_client.conftest import CALC

CALL = 'call calc__add {"a": 2, "b": 3}'


@pytest.fixture(scope="module")
def url():
    """Yield the URL of a server written with the SDK."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*CALC, str(port)], stdout=-3, stderr=-3)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


class _Stranger(BaseHTTPRequestHandler):
    """Stores requests and sends the response that the test has set."""

    status, body, kind, location, encoding = 500, b"", "text/plain", "", ""
    requests: list

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        self.requests.append((self.path, dict(self.headers), self.rfile.read(length)))
        self.send_response(self.status)
        if self.location:
            self.send_header("Location", self.location)
        if self.encoding:
            self.send_header("Content-Encoding", self.encoding)
        self.send_header("Content-Type", self.kind)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(self.body)

    do_GET = do_POST  # noqa: N815 - as the base class calls it

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def stranger():
    """Yield a function that starts an HTTP server and returns its URL and its requests."""
    servers = []

    def start(**attributes):
        kind = type("Handler", (_Stranger,), {"requests": [], **attributes})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/mcp", kind.requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_tool_is_called(pool, url):
    """A tool of a server with a URL is called like that of a process."""
    server = gx.mcp(url=url, name="calc")
    for _ in range(2):
        reply = pool.ask(CALL, "mock", tools=server, approve="always")
        assert reply.steps[0].sent == "5"
    assert pool.mcp_servers()[0].state == "running"


def test_the_key_is_a_bearer_token(project, stranger):
    """The bearer token is the key in the key file for the name of the server."""
    url, requests = stranger()
    project.set_keys(f"GATEWAYX_MCP_MY_CALC_API_KEY={KEY}")
    with project.pool() as pool, pytest.raises(TransportError) as caught:
        pool.ask(CALL, "mock", tools=gx.mcp(url=url, name="my-calc"))
    assert {headers["Authorization"] for _, headers, _ in requests} == {f"Bearer {KEY}"}
    assert not leaks(caught.value)


def test_a_key_is_not_sent_without_tls(project):
    """The key is not sent to another machine without TLS, as for engines."""
    project.set_keys(f"GATEWAYX_MCP_CALC_API_KEY={KEY}")
    with project.pool() as pool, pytest.raises(ConfigError, match="without TLS"):
        pool.ask(CALL, "mock", tools=gx.mcp(url="http://mcp.example.com/mcp", name="calc"))


def test_a_metadata_address_is_refused(pool):
    """A metadata address could return the credentials of the machine."""
    with pytest.raises(ConfigError, match="link-local or metadata address"):
        pool.ask(CALL, "mock", tools=gx.mcp(url="http://169.254.169.254/mcp", name="calc"))


def test_a_redirect_to_another_server_is_not_followed(project, stranger):
    """The other server of a redirect would receive the key."""
    thief, stolen = stranger()
    url, _ = stranger(status=307, location=thief)
    project.set_keys(f"GATEWAYX_MCP_CALC_API_KEY={KEY}")
    with project.pool() as pool, pytest.raises(TransportError):
        pool.ask(CALL, "mock", tools=gx.mcp(url=url, name="calc"))
    assert stolen == []


def test_the_network_settings_of_a_project_need_trust(project):
    """A project's proxy would receive the calls, so it needs trust."""
    project.settings('[network]\nproxy = "http://127.0.0.1:9"')
    with project.pool() as pool, pytest.raises(TrustError, match="through network proxy"):
        pool.ask(CALL, "mock", tools=gx.mcp(url="https://mcp.example.com/mcp", name="calc"))


def test_a_proxy_is_used(project, user_settings, stranger):
    """Calls use the proxy in the user's settings."""
    url, requests = stranger(status=403)
    user_settings(f'[network]\nproxy = "{url.removesuffix("/mcp")}"')
    with project.pool() as pool, pytest.raises(TransportError):
        pool.ask(CALL, "mock", tools=gx.mcp(url="http://mcp.example.com/mcp", name="calc"))
    assert requests[0][0] == "http://mcp.example.com/mcp"


ANSWERS = {
    "404": {"status": 404},
    "401": {"status": 401},
    "500": {"status": 500, "body": b"<b>oh</b>"},
    "HTML": {"status": 200, "body": b"<html>", "kind": "text/html"},
    "no JSON": {"status": 200, "body": b"{", "kind": "application/json"},
    "huge": {"status": 200, "body": b"[" + b"1," * (40 << 20), "kind": "application/json"},
    "huge event": {
        "status": 200,
        "body": b"data: " + b"1," * (40 << 20),
        "kind": "text/event-stream",
    },
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_none_is_one_line(pool, stranger, name):
    """A response that is not MCP raises an error of one line."""
    url, _ = stranger(**ANSWERS[name])
    with pytest.raises(TransportError) as caught:
        pool.ask(CALL, "mock", tools=gx.mcp(url=url, name="calc"))
    assert "the MCP server 'calc'" in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unreachable_server_is_one_line(pool):
    """Each call to an unreachable server tries to connect again."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    server = gx.mcp(url=f"http://127.0.0.1:{port}/mcp", name="calc")
    for _ in range(2):
        with pytest.raises(TransportError, match="cannot be reached"):
            pool.ask(CALL, "mock", tools=server)


class _Polled(_Stranger):
    """Answers each request by a stream that ends without the answer, and so does the next one."""

    stream, polls = b"", 0

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"jsonrpc": "2.0", "id": message.get("id")}
        if message["method"] == "initialize":
            version = message["params"]["protocolVersion"]
            info = {"serverInfo": {"name": "a", "version": "1"}, "capabilities": {"tools": {}}}
            answer["result"] = {"protocolVersion": version, **info}
        elif message["method"] != "tools/list":
            answer["error"] = {"code": -32601, "message": "unknown"}
        else:
            self.respond(b"id: 1\nretry: 0\ndata:\n\n", "text/event-stream")
            return
        self.respond(json.dumps(answer).encode(), "application/json")

    def do_GET(self):
        type(self).polls += 1
        self.respond(self.stream, "text/event-stream")

    def respond(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Mcp-Session-Id", "a")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def polled():
    """Yield a function that starts a server whose streams end, and returns its URL and class."""
    servers = []

    def start(stream):
        kind = type("Handler", (_Polled,), {"stream": stream})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/mcp", kind

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("stream", [b"", b"id: 2\nretry: 0\ndata:\n\n"])
def test_a_stream_that_ends_at_once_is_not_polled_forever(pool, polled, monkeypatch, stream):
    """The SDK would poll it without a pause, even after the call has reached its deadline."""
    monkeypatch.setattr("gatewayx_nb.transport.reconnections._MAX_GAP", 0.01)
    url, kind = polled(stream)
    for _ in range(2):
        with pytest.raises(TransportError, match="reconnection attempts were exhausted") as caught:
            pool.mcp_servers(gx.mcp(url=url, name="calc"))
        assert "\n" not in caught.value.message
    assert kind.polls <= 2 * 20


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [("application/json", b"", b""), ("text/event-stream", b"data: ", b"\n\n")],
    ids=["body", "event"],
)
def test_a_message_of_many_values_is_refused(kind, start, end):
    """Its values would use a hundred times its size in memory."""
    body = start + b"[" + b"1," * 200_000 + b"1]" + end

    async def chunks():
        yield body

    response = httpx2.Response(200, headers={"Content-Type": kind}, content=chunks())
    transport = _limited_transport(httpx2.MockTransport(lambda _: response), is_direct=False)

    async def get():
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get("http://127.0.0.1/mcp")

    with pytest.raises(httpx2.ReadError, match="the response is too large"):
        asyncio.run(get())


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 1000, 10**6])
def test_the_events_of_a_stream_are_counted_separately(end, size):
    """A stream may have any number of events, which may arrive in pieces."""
    stream = (b"data: [1,2]" + end) * 1000
    counter = _ValueCounter(is_event_stream=True)
    counts = [counter.count(stream[at : at + size]) for at in range(0, len(stream), size)]
    # A blank line that is split into two pieces joins two events.
    assert max(counts) <= (2 if size > 1000 else 2 * 1000)
    assert _ValueCounter(is_event_stream=False).count(stream) == 2000
