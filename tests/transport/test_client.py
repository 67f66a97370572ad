import asyncio
import base64
import contextlib
import errno
import functools
import logging
import os
import socket
import ssl
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from gatewayx_nb.calls import retry
from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    DeadlineError,
    GatewayError,
    ProviderError,
    RateLimitError,
    TransportError,
    UsageError,
)
from gatewayx_nb.secure_config import Network
from gatewayx_nb.testing import (
    CloseConnection,
    Repeat,
    Reset,
    Send,
    Server,
    Stall,
    Tunnel,
    Wait,
    WaitForRequests,
    chunk,
    gzipped,
    head,
    html,
    redirect,
    reply,
    stream_head,
)
from gatewayx_nb.transport import HTTPClient, route
from gatewayx_nb.transport.error_mapping import _failure_points
from tests.canary import key_encodings

KEY = "sk-canary-7Hq2pVxN4mTzK9wB"
PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def run(test):
    """Run an async test on a new event loop."""

    @functools.wraps(test)
    def wrapper(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return wrapper


class Client(HTTPClient):
    """A client for an engine named grok, used as an async context manager."""

    def __init__(self, base_url, **options):
        super().__init__(base_url, **{"engine": "grok", "key": KEY} | options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()

    async def fetch(self, path="chat/completions"):
        """Return the body of the response to a request."""
        async with self.post(path, PAYLOAD) as response:
            return await response.read()


async def get_error(base_url, **options):
    """Return the error that a call raises."""
    async with Client(base_url, **options) as client:
        with pytest.raises(GatewayError) as caught:
            await client.fetch()
    return caught.value


async def get_connect_error(base_url, **options):
    """Return the error from a 0.3 s connect timeout; a 60 s timeout must still be pending."""
    options["connect_timeout"] = 0.3
    slower = asyncio.create_task(get_error(base_url, **{**options, "connect_timeout": 60}))
    await asyncio.sleep(0.05)  # started first, to end first if the timeout were ignored
    error = await get_error(base_url, **options)
    assert not slower.done()
    slower.cancel()
    await asyncio.wait([slower])
    return error


def free_port():
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def wait_until_closed(request, limit=20):
    """Wait until the client has closed the socket; return False after the time limit."""
    return await asyncio.to_thread(request.closed.wait, limit)


async def wait_until(condition, limit=20):
    """Wait until a condition holds."""
    async with asyncio.timeout(limit):
        while not condition():
            await asyncio.sleep(0.01)


# Request and response


@run
async def test_post_sends_json_and_the_key_in_a_header():
    """A POST request has a JSON body and the key in a header, and asks for no compression."""
    with Server([Send(reply(b'{"a": 1}', x_request_id="r1"))]) as server:
        async with (
            Client(server.url + "/v1/", headers={"X-Version": "2"}) as client,
            client.post("chat/completions", {"text": "é\ud800"}) as response,
        ):
            body = await response.read()
        request = server.requests[0]
    assert (response.status, response.content_type, body) == (200, "application/json", b'{"a": 1}')
    assert response.headers["x-request-id"] == "r1"
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.body == '{"text":"é\ufffd"}'.encode()
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-version"] == "2"


@run
async def test_get_sends_the_key_in_a_custom_header():
    """A custom header contains only the key, and the path's query string is sent."""
    with Server([Send(reply())]) as server:
        options = {"key_header": "x-goog-api-key", "key_prefix": ""}
        async with Client(server.url, **options) as client, client.get("/models?n=1") as response:
            await response.read()
        request = server.requests[0]
    assert (request.method, request.target, request.body) == ("GET", "/models?n=1", b"")
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers


@run
async def test_the_key_replaces_a_header_with_the_same_name():
    """A header with the name of the key's header, ignoring case, is sent once, with the key."""
    with Server([Send(reply())]) as server:
        async with Client(server.url, headers={"authorization": "Basic x"}) as client:
            await client.fetch()
        request = server.requests[0]
    assert request.headers["authorization"] == f"Bearer {KEY}"


@run
async def test_without_a_key_its_header_is_omitted():
    """Without a key, its header is omitted rather than sent empty."""
    with Server([Send(reply())]) as server:
        async with Client(server.url, key="") as client:
            await client.fetch()
        assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
@run
async def test_every_status_except_redirects_is_returned(status):
    """A response with any status other than a redirect's is returned without an exception."""
    with Server([Send(html(status))]) as server:
        async with Client(server.url) as client, client.get("x") as response:
            assert (response.status, response.content_type) == (status, "text/html")
            assert b"Log in" in await response.read()


@run
async def test_blocks_are_yielded_when_they_are_received():
    """A block is yielded as soon as it arrives, before the body ends."""
    with Server([Send(stream_head() + chunk(b"one")), Stall()]) as server:
        async with Client(server.url) as client, client.post("x", {}) as response:
            async for block in response.blocks():
                assert block == b"one"
                break


@run
async def test_a_connection_is_reused():
    """Sequential calls use the same connection, but cookies are not stored."""
    with Server([Send(reply(set_cookie="a=b"))]) as server:
        async with Client(server.url) as client:
            for _ in range(3):
                await client.fetch()
        assert server.connections == 1
        assert not any("cookie" in request.headers for request in server.requests)


@run
async def test_600_calls_run_concurrently():
    """The transport does not limit the connections; a pool makes up to 512 calls at once."""
    with Server([WaitForRequests(600), Send(reply())]) as server:
        async with Client(server.url, connect_timeout=20) as client:
            await asyncio.gather(*(client.fetch() for _ in range(600)))
        assert server.connections == 600


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}])
def test_a_payload_that_is_not_json_raises_an_error(payload):
    """A payload that is not JSON raises an error before anything is sent."""
    with pytest.raises(UsageError, match="'grok' cannot be written as JSON"):
        Client("http://localhost:1").post("x", payload)


# Faulty responses


@dataclass(frozen=True)
class Fault:
    """A script of a faulty response, and the expected error."""

    id: str
    script: list = field(default_factory=list)
    error: type[GatewayError] = TransportError
    code: str = "reset"


FAULTS = [
    Fault("closed-before-the-response", [CloseConnection()]),
    Fault("reset-before-the-response", [Reset()]),
    Fault("closed-in-the-head", [Send(b"HTTP/1.1 200 OK\r\nContent-"), CloseConnection()]),
    Fault("closed-in-the-body", [Send(head(content_length="9") + b"abc"), CloseConnection()]),
    Fault("reset-in-the-body", [Send(head(content_length="9") + b"abc"), Wait(0.1), Reset()]),
    Fault("closed-between-chunks", [Send(stream_head() + chunk(b"abc")), CloseConnection()]),
    Fault("closed-in-a-chunk", [Send(stream_head() + b"9\r\nabc"), CloseConnection()]),
    Fault("reset-between-chunks", [Send(stream_head() + chunk(b"abc")), Wait(0.1), Reset()]),
    Fault("invalid-chunk", [Send(stream_head() + b"zz\r\nabc\r\n"), Stall()], code="protocol"),
    Fault("invalid-status-line", [Send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Stall()], code="protocol"),
    Fault("invalid-status", [Send(b"HTTP/1.1 9999999 OK\r\n\r\n"), Stall()], code="protocol"),
    Fault("long-header", [Send(head(x="y" * 70_000)), Stall()], code="protocol"),
    Fault("binary", [Send(bytes(range(256)) * 9), Stall()], code="protocol"),
    Fault("gzip", [Send(gzipped())], ProviderError, "compressed"),
    Fault("gzip-401", [Send(gzipped(status=401))], AuthenticationError, "compressed"),
    Fault("too-large", [Send(reply(b"x" * 101))], ProviderError, "too_large"),
    Fault("endless", [Send(stream_head()), Repeat(chunk(b"x" * 50))], ProviderError, "too_large"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
@run
async def test_a_faulty_response_raises_a_typed_error(fault):
    """A faulty response raises a typed error with the engine and a hint, after one attempt."""
    with Server(fault.script) as server:
        error = await get_error(server.url, max_bytes=100)
        assert len(server.requests) == 1
    assert type(error) is fault.error
    assert (error.code, error.engine) == (fault.code, "grok")
    assert "'grok'" in error.message
    assert str(error.hint)


@run
async def test_a_body_may_be_as_long_as_the_limit():
    """A body as long as `max_bytes` is accepted."""
    with Server([Send(reply(b"x" * 100))]) as server:
        async with Client(server.url, max_bytes=100) as client:
            assert await client.fetch() == b"x" * 100


@run
async def test_retry_after_in_a_compressed_response_is_read():
    """`Retry-After` is read even if the body is compressed and cannot be decoded."""
    response = gzipped(status=429).replace(b"\r\n\r\n", b"\r\nRetry-After: 7\r\n\r\n", 1)
    with Server([Send(response)]) as server:
        error = await get_error(server.url)
    assert type(error) is RateLimitError
    assert (error.status, error.retry_after) == (429, 7.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@run
async def test_a_redirect_is_not_followed(status):
    """A redirect is not followed, and the error names the target's host."""
    with Server([Send(reply())]) as target_server:
        target = target_server.url.replace("127.0.0.1", "localhost")
        with Server([Send(redirect(f"{target}/x?hidden=1", status))]) as server:
            error = await get_error(server.url)
            assert len(server.requests) == 1
        assert target_server.connections == 0
    assert type(error) is ProviderError
    assert (error.status, error.code) == (status, "redirect")
    assert "'localhost'" in error.message
    assert "hidden" not in str(error)


@pytest.mark.parametrize("location", ["/elsewhere", "http://[", "http://\x01/", "", "//user:pw@x/"])
@run
async def test_a_malformed_redirect_is_not_followed(location):
    """A redirect with a malformed `Location` is not followed and raises a typed error."""
    with Server([Send(redirect(location))]) as server:
        error = await get_error(server.url)
        assert len(server.requests) == 1
    assert isinstance(error, ProviderError | TransportError)
    assert "pw" not in str(error)


# Connection failures


@run
async def test_a_refused_connection_raises_a_connect_error():
    """A refused connection raises an error with the code "connect", and the call is retried."""
    error = await get_error(f"http://127.0.0.1:{free_port()}")
    assert (type(error), error.code) == (TransportError, "connect")
    assert retry.retry_delay(1, error, 2, float) == 0.5


@run
async def test_an_unknown_host_raises_a_dns_error():
    """An unknown host raises an error with the code "dns" that names the host."""
    error = await get_error("https://no-such-host.invalid/v1")
    assert (type(error), error.code) == (TransportError, "dns")
    assert "'no-such-host.invalid'" in error.message


@run
async def test_the_connect_timeout_ends_an_attempt_to_connect():
    """The connect timeout applies to a host that does not accept the connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = []
        for _ in range(4):  # fills the backlog, so that SYNs are not answered
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003
            assert filler.connect_ex(address) in {0, errno.EINPROGRESS}
            fillers.append(filler)
        error = await get_connect_error(f"http://127.0.0.1:{address[1]}")
        for filler in fillers:
            filler.close()
    assert (type(error), error.code) == (TransportError, "connect")


@run
async def test_the_connect_timeout_ends_a_tls_handshake():
    """The connect timeout applies to a server that does not answer the TLS handshake."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        error = await get_connect_error(f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert (type(error), error.code) == (TransportError, "connect")


@run
async def test_the_connect_timeout_ends_a_connection_through_a_proxy():
    """The connect timeout applies to a proxy that does not answer."""
    with Server([Stall()]) as proxy:
        error = await get_connect_error("https://api.x.ai", network=Network(proxy=proxy.url))
        assert await wait_until_closed(proxy.requests[0])
    assert (type(error), error.code) == (TransportError, "proxy")


# Read timeout


@run
async def test_a_pause_longer_than_the_read_timeout_raises_an_error():
    """The read timeout applies after `start_read_timeout`, not to the first byte."""
    script = [Send(stream_head()), Wait(0.6), Send(chunk(b"one")), Stall()]
    with Server(script) as server:
        async with Client(server.url, read_timeout=0.3) as client:
            async with client.post("x", {}) as response:
                blocks = response.blocks()
                assert await anext(blocks) == b"one"
                response.start_read_timeout()
                start = time.monotonic()
                with pytest.raises(DeadlineError, match=r"'127\.0\.0\.1:\d+' for 0\.3 s") as caught:
                    await anext(blocks)
            assert time.monotonic() - start >= 0.3
            assert await wait_until_closed(server.requests[0])
            assert asyncio.current_task().cancelling() == 0
    assert caught.value.code == "silence"
    assert retry.retry_delay(1, caught.value, 2, float) is None


@run
async def test_pings_reset_the_read_timeout():
    """The read timeout restarts with every byte, and excludes the reader's time between reads."""
    pings = [step for _ in range(8) for step in (Wait(0.1), Send(chunk(b":\n")))]
    with Server([Send(stream_head()), *pings, Send(chunk(b""))]) as server:
        async with Client(server.url, read_timeout=0.4) as client, client.post("x", {}) as response:
            response.start_read_timeout()
            await asyncio.sleep(0.5)
            assert b"".join([block async for block in response.blocks()]) == b":\n" * 8


@run
async def test_the_callers_timeout_is_raised_unchanged():
    """A timeout set by the caller raises `TimeoutError`, not the read timeout's error."""
    with Server([Send(stream_head()), Stall()]) as server:
        async with Client(server.url) as client:
            async with client.post("x", {}) as response:
                response.start_read_timeout()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(response.read(), 0.3)
            assert await wait_until_closed(server.requests[0])


# Cancellation


STALLED_SCRIPTS = {
    "before-the-head": [Stall()],
    "in-the-body": [Send(stream_head() + chunk(b"one")), Stall()],
    "while-it-streams": [Send(stream_head()), Repeat(chunk(b"one"))],
}


@pytest.mark.parametrize("script", STALLED_SCRIPTS.values(), ids=STALLED_SCRIPTS)
@run
async def test_a_cancelled_call_closes_its_socket(script):
    """A cancelled call closes its socket within half a second, and the next call works."""
    with Server(script, [Send(reply())]) as server:
        async with Client(server.url) as client:
            task = asyncio.create_task(client.fetch())
            await wait_until(lambda: server.requests)
            await asyncio.sleep(
                0.05
            )  # the call is probably reading the body now, but the test passes at any point
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert await wait_until_closed(server.requests[0])
            assert await client.fetch() == b"{}"
    assert find_key(caught.value) == []


@run
async def test_leaving_a_response_early_closes_its_socket():
    """Leaving the ``async with`` block during a stream closes its socket."""
    with Server([Send(stream_head()), Repeat(chunk(b"one"))]) as server:
        async with Client(server.url) as client:
            async with client.post("x", {}) as response:
                async for _block in response.blocks():
                    break
            assert await wait_until_closed(server.requests[0])


@run
async def test_an_error_inside_the_block_is_raised_unchanged():
    """An exception in the ``async with`` block is raised unchanged, and the socket is closed."""
    with Server([Send(stream_head()), Stall()]) as server:
        async with Client(server.url) as client:
            with pytest.raises(KeyError, match="mine"):
                async with client.post("x", {}):
                    raise KeyError("mine")
            assert await wait_until_closed(server.requests[0])


@run
async def test_a_thousand_cancelled_calls_leave_no_connection():
    """Calls that are cancelled at various times leave no connection open."""
    scripts = [STALLED_SCRIPTS["before-the-head"], STALLED_SCRIPTS["in-the-body"]]
    with Server(lambda _request: scripts[len(server.requests) % 2]) as server:
        async with Client(server.url) as client:
            for round_ in range(20):
                tasks = [asyncio.create_task(client.fetch()) for _ in range(50)]
                await asyncio.sleep(0.01 * (round_ % 8))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await wait_until(lambda: server.open == 0)


@run
async def test_concurrent_first_calls_share_one_client():
    """Concurrent first calls share one HTTP client, whose connections later calls reuse."""
    with Server([Send(reply())]) as server:
        async with Client(server.url) as client:
            bodies = await asyncio.gather(*(client.fetch() for _ in range(20)))
            assert bodies == [b"{}"] * 20
            connections = server.connections
            await asyncio.gather(*(client.fetch() for _ in range(5)))
            assert server.connections == connections


@run
async def test_a_call_on_a_closed_client_raises_an_error():
    """A call after `aclose` raises an error that is not retried."""
    with Server([Send(reply())]) as server:
        client = Client(server.url)
        await client.fetch()
        for _ in range(2):
            await client.aclose()
        with pytest.raises(TransportError) as caught:
            await client.fetch()
    assert caught.value.code == "closed"
    assert retry.retry_delay(1, caught.value, 2, float) is None


def test_a_client_cannot_be_used_on_a_second_event_loop():
    """Using a client on a second event loop raises `RuntimeError`."""
    with Server([Send(reply())]) as server, asyncio.Runner() as first, asyncio.Runner() as second:
        client = Client(server.url)
        first.run(client.fetch())
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            second.run(client.fetch())
        first.run(client.aclose())


# Proxies


PROXY_VARIABLES = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"]


@pytest.mark.parametrize("variable", PROXY_VARIABLES)
@run
async def test_the_proxy_in_the_environment_is_used(variable, monkeypatch):
    """A host that DNS cannot resolve is reached through the proxy set in the environment."""
    with Server([Send(reply(b'"through"'))]) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("://", "://user:p%40ss@"))
        network = Network(plain_http=("example.invalid",))
        async with Client("http://example.invalid/v1", network=network) as client:
            assert await client.fetch() == b'"through"'
        assert proxy.requests[0].target == "http://example.invalid/v1/chat/completions"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


@run
async def test_https_requests_are_tunnelled_through_the_proxy(monkeypatch, certificates):
    """The proxy receives the target host and the proxy password, but not the provider's key."""
    with Server([Send(reply(b'"secret"'))], tls=certificates.server) as server:
        with Server([Tunnel(server.port)]) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:word@"))
            network = Network(ca_bundle=certificates.file)
            async with Client("https://example.invalid", network=network) as client:
                assert await client.fetch() == b'"secret"'
            tunnel = proxy.requests[0]
        assert "proxy-authorization" not in server.requests[0].headers
    assert (tunnel.method, tunnel.target) == ("CONNECT", "example.invalid:443")
    assert (
        tunnel.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"user:word").decode()
    )
    assert KEY not in str(tunnel.headers)


@run
async def test_the_proxy_setting_overrides_the_environment(monkeypatch):
    """The setting `[network] proxy` overrides `HTTP_PROXY` and `NO_PROXY`."""
    with Server([Send(reply())]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "*")
        network = Network(proxy=proxy.url, plain_http=("example.invalid",))
        async with Client("http://example.invalid", network=network) as client:
            assert await client.fetch() == b"{}"


@pytest.mark.allow_hosts(["127.0.0.1", "127.3.2.1", "::1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.3.2.1", "[::1]"])
@run
async def test_loopback_addresses_bypass_the_proxy(host, monkeypatch):
    """Loopback addresses bypass the proxy, so that keys for local servers stay on this machine."""
    with Server([Send(reply())]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        network = Network(proxy=proxy.url)
        error = await get_error(f"http://{host}:{free_port()}", network=network)
        assert error.code == "connect"
        assert proxy.connections == 0


@pytest.mark.parametrize("pattern", ["example.invalid", ".invalid", "*", "x, example.invalid"])
@run
async def test_hosts_in_no_proxy_bypass_the_proxy(pattern, monkeypatch):
    """A host in `NO_PROXY` is called directly, without the proxy."""
    with Server([Send(reply())]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", pattern)
        assert (await get_error("https://example.invalid")).code == "dns"
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "script", [[Send(reply(b"", 407))], [CloseConnection()], [Send(html(503))]]
)
@run
async def test_an_error_response_from_a_proxy_raises_a_transport_error(script):
    """An error response from the proxy raises a transport error, not a provider error."""
    with Server(script) as proxy:
        error = await get_error("https://example.invalid", network=Network(proxy=proxy.url))
    assert type(error) is TransportError
    assert error.code in {"proxy", "reset"}


@run
async def test_a_proxy_that_is_not_running_is_reported():
    """If the proxy is not running, the error has the code "proxy" and names the setting."""
    network = Network(proxy=f"http://user:word@127.0.0.1:{free_port()}")
    error = await get_error("https://example.invalid", network=network)
    assert (type(error), error.code) == (TransportError, "proxy")
    assert "[network] proxy" in str(error.hint)
    assert "word" not in "".join(traceback.format_exception(error))


@run
async def test_an_unknown_proxy_host_is_reported():
    """If the proxy's host is unknown, the error has the code "proxy", not "dns"."""
    network = Network(proxy="http://no-such-proxy.invalid:3128")
    error = await get_error("https://api.x.ai", network=network)
    assert (type(error), error.code) == (TransportError, "proxy")


def test_a_socks_proxy_is_refused(monkeypatch):
    """A SOCKS proxy raises an error instead of being ignored."""
    monkeypatch.setenv("ALL_PROXY", "socks5://user:word@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="an http or https URL, got 'socks5'") as caught:
        Client("https://example.invalid")
    assert "word" not in str(caught.value)


# Certificates


@dataclass(frozen=True)
class Certificates:
    """A file with a private certificate authority, and a server context with its certificate."""

    file: str
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Return a certificate authority unknown to the system."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "example.invalid").configure_cert(context)
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return Certificates(str(file), context)


@run
async def test_the_authorities_of_ca_bundle_are_trusted(certificates):
    """The certificate authorities of `network.ca_bundle` are trusted."""
    with Server([Send(reply())], tls=certificates.server) as server:
        async with Client(server.url, network=Network(ca_bundle=certificates.file)) as client:
            assert await client.fetch() == b"{}"


@run
async def test_an_unknown_authority_is_not_retried(certificates):
    """With a certificate from an unknown authority, no request is sent and nothing is retried."""
    with Server([Send(reply())], tls=certificates.server) as server:
        error = await get_error(server.url)
        assert server.requests == []
    assert (type(error), error.code) == (TransportError, "tls")
    assert "ca_bundle" in str(error.hint)
    assert retry.retry_delay(1, error, 2, float) is None


@run
async def test_a_certificate_for_another_host_is_refused(certificates):
    """A certificate for another host is refused, even if its authority is trusted."""
    with Server([Send(reply())], tls=certificates.server) as server:
        with Server([Tunnel(server.port)]) as proxy:
            network = Network(ca_bundle=certificates.file, proxy=proxy.url)
            error = await get_error("https://other.invalid", network=network)
        assert server.requests == []
    assert error.code == "tls"


@run
async def test_an_https_url_of_a_server_without_tls_raises_a_tls_error():
    """An https URL that points to a server without TLS raises an error with the code "tls"."""
    with Server([], greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        assert (await get_error(server.url.replace("http", "https"))).code == "tls"


@run
async def test_leaving_a_response_over_tls_closes_its_socket(certificates):
    """Leaving the ``async with`` block over TLS closes the socket within half a second."""
    with Server([Send(stream_head() + chunk(b"one")), Stall()], tls=certificates.server) as server:
        async with Client(server.url, network=Network(ca_bundle=certificates.file)) as client:
            async with client.post("x", {}) as response:
                async for _block in response.blocks():
                    break
            assert await wait_until_closed(server.requests[0])


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "pipe", "terminal", "huge", "NUL"])
@run
async def test_an_unusable_certificate_file_names_its_setting(kind, tmp_path):
    """A missing, invalid or special certificate file raises an error without blocking."""
    file = Path("/dev/ptmx") if kind == "terminal" else tmp_path / "ca.pem"
    if kind in ("text", "empty"):
        file.write_text("not a certificate" if kind == "text" else "")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "huge":
        with file.open("wb") as opened:
            opened.truncate(2**40)
    elif kind == "NUL":
        file = tmp_path / "c\0a.pem"
    error = await get_error("https://127.0.0.1:1", network=Network(ca_bundle=str(file)))
    assert type(error) is ConfigError
    assert "network.ca_bundle" in error.message
    assert repr(str(file)) in error.message


# Allowed URLs


@dataclass(frozen=True)
class InvalidURL:
    """An invalid base URL, and the expected error."""

    url: str
    message: str


INVALID_URLS = [
    InvalidURL("api.x.ai/v1", "must begin with"),
    InvalidURL("localhost:8000/v1", "must begin with"),
    InvalidURL("ftp://api.x.ai", "must begin with"),
    InvalidURL("", "must begin with"),
    InvalidURL("https://", "no valid host"),
    InvalidURL("https://a b/", "no valid host"),
    InvalidURL("https://x:99999/", "invalid port or IPv6"),
    InvalidURL("https://[::1/", "invalid port or IPv6"),
    InvalidURL("https://x..y/", "no valid host"),
    InvalidURL(f"https://{'x' * 64}.y/", "no valid host"),
    InvalidURL("https://evil.example\\.x.ai/", "no valid host"),
    InvalidURL("https://name:word@api.x.ai/v1", "user name"),
    InvalidURL("https://api.x.ai/v1?key=word", "query"),
    InvalidURL("https://api.x.ai/v1#word", "query"),
    InvalidURL("http://api.x.ai/v1", "without TLS"),
    InvalidURL("http://192.168.1.5:8000/v1", "without TLS"),
    InvalidURL("http://10.0.0.1", "without TLS"),
    InvalidURL("http://127.0.0.1.example.com", "without TLS"),
    InvalidURL("https://169.254.169.254/latest", "link-local or metadata"),
    InvalidURL("https://[fe80::1]/", "link-local or metadata"),
    InvalidURL("https://[fe80::1%25eth0]/", "link-local or metadata"),
    InvalidURL("https://[fd00:ec2::254]/", "link-local or metadata"),
    InvalidURL("https://[::ffff:169.254.169.254]/", "link-local or metadata"),
]


@pytest.mark.parametrize("case", INVALID_URLS, ids=lambda case: case.url)
def test_an_invalid_base_url_is_refused(case):
    """An invalid base URL raises an error in the constructor, with a hint and without secrets."""
    with pytest.raises(ConfigError, match=case.message) as caught:
        Client(case.url)
    assert str(caught.value.hint)
    assert caught.value.engine == "grok"
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://api.x.ai/v1", {}),
        ("http://localhost:1234/v1", {}),
        ("https://api.x.ai./v1", {}),
        (f"https://{'x' * 63}.{'y' * 63}/", {}),
        ("http://[::1]:1234", {}),
        ("http://192.168.1.5", {"key": ""}),
        ("http://192.168.1.5", {"network": Network(plain_http=("192.168.1.5",))}),
        ("http://Box.LAN:8000", {"network": Network(plain_http=("box.lan",))}),
    ],
)
def test_a_valid_base_url_is_accepted(url, options):
    """A URL needs TLS, unless its host is loopback or allowed, or there is no key."""
    assert Client(url, **options)


FORBIDDEN = [
    "169.254.169.254",
    "169.254.169.254.",
    "0xa9fea9fe",
    "0XA9.0xfe.0xA9.0xFE",
    "2852039166",
    "169.254.43518",
    "0251.0376.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "[fe80::1]",
    "[FE80:0:0::1]",
    "[fe80::1%25eth0]",
    "[fd00:ec2::254]",
    "[fd00:ec2::254%25eth0]",
    "[fd20:ce:0:0::254]",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[0:0:0:0:0:ffff:100.100.100.200]",
    "[::169.254.169.254]",
    "[::ffff:0:169.254.169.254]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[64:ff9b:1:abcd::6464:64c8]",
    "[2002:a9fe:a9fe::1]",
    "[2002:6464:64c8:1::]",
    "[2001:0:a9fe:a9fe::1]",  # Teredo, the server
    "[2001:0:4136:e378:8000:63bf:5601:5601]",  # the client, whose bits are inverted
    "[2001:db8::5efe:169.254.169.254]",
    "[2001:db8::200:5efe:a9fe:a9fe]",
]


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_forbidden_address_is_refused_in_every_spelling(host):
    """Link-local and metadata addresses are refused before a connection is attempted."""
    for key in ("", KEY):
        with pytest.raises(ConfigError, match="link-local or metadata"):
            Client(f"https://{host}/v1", key=key)


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_forbidden_address_is_refused_after_the_lookup(host):
    """No socket is opened for a forbidden address, whatever name resolves to it."""
    address = host.strip("[]").replace("%25", "%")
    info = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 443))
    with pytest.raises(OSError, match="link-local or metadata"):
        route.open_socket(info)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "10.0.0.1",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2606:4700::1111",
    ],
)
def test_other_addresses_are_allowed(address):
    """An address that only looks similar is not refused."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.closing(
        route.open_socket((family, socket.SOCK_STREAM, 6, "", (address, 443)))
    ) as opened:
        assert opened.family == family


@run
async def test_a_name_that_resolves_to_a_forbidden_address_is_refused(monkeypatch):
    """A host name that resolves to a metadata address is refused."""

    def lookup(_host, port, *_args, **_options):
        addresses = [(socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254")]
        return [(family, socket.SOCK_STREAM, 6, "", (ip, port)) for family, ip in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    error = await get_error("https://metadata.example/latest")
    assert type(error) is ConfigError


def test_a_key_that_is_invalid_in_a_header_is_refused():
    """A key that a header cannot contain raises an error that does not reveal the key."""
    for key in ("sk-geheim-é", "sk-geheim\r\nX: y"):
        with pytest.raises(ConfigError, match="GATEWAYX_GROK_API_KEY") as caught:
            Client("https://api.x.ai", key=key)
        assert "geheim" not in "".join(traceback.format_exception(caught.value))


# Key leaks


def find_key(error, *, visited=None):
    """Return where the key occurs in an error, its causes, and the local variables of frames."""
    visited = set() if visited is None else visited
    if error is None or id(error) in visited:
        return []
    visited.add(id(error))
    texts = {"repr": repr(error), "args": repr(error.args), "vars": repr(vars(error))}
    # Local variables of the tests themselves contain the key, so these frames are skipped.
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != __file__:
            for name, value in frame.f_locals.items():
                texts[f"{frame.f_code.co_qualname}:{line} {name}"] = repr(value)
    locations = [
        name for name, text in texts.items() if any(form in text for form in key_encodings(KEY))
    ]
    for chained in (error.__cause__, error.__context__):
        locations += find_key(chained, visited=visited)
    return locations


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
@run
async def test_no_error_contains_the_key(fault, header, caplog):
    """Neither an exception in the chain, a local variable nor a DEBUG log contains the key."""
    caplog.set_level(logging.DEBUG)
    with Server(fault.script) as server:
        error = await get_error(server.url, key_header=header, max_bytes=100)
        assert KEY in server.requests[0].headers[header.lower()]
    assert find_key(error) == []
    printed = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    assert "aiohttp" not in {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    for text in (printed.replace(f"KEY = {KEY!r}", ""), caplog.text):
        assert not any(form in text for form in key_encodings(KEY))


@run
async def test_no_connect_error_contains_the_key():
    """The error for a failed connection does not contain the key."""
    for url in (f"http://127.0.0.1:{free_port()}", "https://no-such-host.invalid"):
        error = await get_error(url, key_header="x-api-key")
        assert find_key(error) == []
        assert "cannot be found" in error.message or "cannot connect" in error.message


@run
async def test_a_key_in_a_response_is_masked():
    """If the server's response contains the key, it is masked in the error."""

    def echo(request):
        return [Send(f"{request.headers['authorization']}\r\n\r\n".encode()), Stall()]

    with Server(echo) as server:
        error = await get_error(server.url)
    assert error.code == "protocol"
    assert find_key(error) == []


def test_a_cancellation_has_no_context_with_the_key():
    """A cancellation is raised without the transport's traceback and context."""
    cancellation = asyncio.CancelledError()
    cancellation.__context__ = LookupError(f"no {KEY}")
    assert Client("https://api.x.ai")._errors.translate(cancellation) is cancellation
    assert find_key(cancellation) == []


def test_a_client_does_not_show_its_key():
    """The repr of a client's attributes contains neither the key nor the proxy's password."""
    network = Network(proxy="http://user:word@127.0.0.1:1")
    attributes = repr(vars(Client("https://api.x.ai", network=network)))
    assert "word" not in attributes
    assert not any(form in attributes for form in key_encodings(KEY))


# aiohttp exceptions


def test_every_aiohttp_exception_has_a_code():
    """Every aiohttp exception class, or one of its bases, is mapped to a code."""
    import aiohttp.client_exceptions

    exception_classes = [
        cls
        for cls in vars(aiohttp.client_exceptions).values()
        if isinstance(cls, type) and issubclass(cls, Exception)
        and cls.__module__.startswith("aiohttp")
    ]  # fmt: skip
    assert len(exception_classes) > 25
    unused = {"WSMessageTypeError"}  # the transport uses no WebSockets
    unmapped = [
        cls
        for cls in exception_classes
        if not any(base in _failure_points() for base in cls.__mro__)
    ]
    assert {cls.__name__ for cls in unmapped} == unused


def test_every_code_has_an_error_class():
    """Every code has an exception class and a message."""
    error_mapping = Client("https://api.x.ai")._errors
    for code in {*_failure_points().values(), "internal"}:
        error = error_mapping._to_gateway_error(code, "why")
        assert isinstance(error, ConfigError | DeadlineError | TransportError)
        assert "'grok'" in error.message


def test_an_unknown_exception_raises_a_typed_error():
    """An exception of an unknown class is mapped to a typed error that is not retried."""
    error = Client("https://api.x.ai")._errors.translate(LookupError(f"no {KEY}"))
    assert (type(error), error.code) == (TransportError, "internal")
    assert retry.retry_delay(1, error, 2, float) is None
    assert find_key(error) == []


def test_the_import_loads_no_http_library():
    """Importing the module and creating a client do not import httpx, aiohttp or truststore."""
    script = (
        "import sys, gatewayx_nb.transport as t; t.HTTPClient('https://api.x.ai', engine='x');"
        "print({'httpx', 'aiohttp', 'httpx_aiohttp', 'truststore'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    output = subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True)
    assert output.strip() == "set()"
