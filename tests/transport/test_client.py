import asyncio
import base64
import errno
import functools
import logging
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
from gatewayx_nb.transport import HTTPClient
from gatewayx_nb.transport.error_mapping import _failure_points
from tests.canary import forms

KEY = "sk-canary-7Hq2pVxN4mTzK9wB"
PAYLOAD = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def run(test):
    """Run an async test on a new event loop."""

    @functools.wraps(test)
    def wrapper(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return wrapper


class Client(HTTPClient):
    """A client of an engine named grok, used as an async context manager."""

    def __init__(self, base_url, **options):
        super().__init__(base_url, **{"engine": "grok", "key": KEY} | options)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.aclose()

    async def whole(self, path="chat/completions"):
        """Return the body of a response."""
        async with self.post(path, PAYLOAD) as response:
            return await response.read()


async def failure(base_url, **options):
    """Return the error that a call raises."""
    async with Client(base_url, **options) as client:
        with pytest.raises(GatewayError) as caught:
            await client.whole()
    return caught.value


def free_port():
    """Return a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def gone(request, within=0.5):
    """Wait until the server notices that the peer has closed the socket."""
    return await asyncio.to_thread(request.closed.wait, within)


async def eventually(condition, within=2.0):
    """Wait until a condition holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


# Request and response


@run
async def test_posts_json_with_the_key_in_its_header():
    """The request is JSON with the key in the named header, and accepts no compression."""
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
async def test_gets_with_another_key_header():
    """A provider's own header contains the plain key, and the query of the path is kept."""
    with Server([Send(reply())]) as server:
        options = {"key_header": "x-goog-api-key", "key_prefix": ""}
        async with Client(server.url, **options) as client, client.get("/models?n=1") as response:
            await response.read()
        request = server.requests[0]
    assert (request.method, request.target, request.body) == ("GET", "/models?n=1", b"")
    assert request.headers["x-goog-api-key"] == KEY
    assert "authorization" not in request.headers


@run
async def test_without_a_key_no_header_is_sent():
    """An engine without a key sends no key header, not an empty one."""
    with Server([Send(reply())]) as server:
        async with Client(server.url, key="") as client:
            await client.whole()
        assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500, 503])
@run
async def test_every_status_but_a_redirect_is_the_engines_to_judge(status):
    """Every status except redirects is passed to the engine without an exception."""
    with Server([Send(html(status))]) as server:
        async with Client(server.url) as client, client.get("x") as response:
            assert (response.status, response.content_type) == (status, "text/html")
            assert b"Log in" in await response.read()


@run
async def test_blocks_come_as_they_are_sent():
    """A block is yielded when it arrives, not when the body ends."""
    with Server([Send(stream_head() + chunk(b"one")), Stall()]) as server:
        async with Client(server.url) as client, client.post("x", {}) as response:
            async for block in response.blocks():
                assert block == b"one"
                break


@run
async def test_a_connection_is_used_again():
    """Sequential calls share a connection, but not a cookie."""
    with Server([Send(reply(set_cookie="a=b"))]) as server:
        async with Client(server.url) as client:
            for _ in range(3):
                await client.whole()
        assert server.connections == 1
        assert not any("cookie" in request.headers for request in server.requests)


@run
async def test_many_calls_run_at_once():
    """The transport allows as many connections as the pool has calls, 512."""
    with Server([WaitForRequests(600), Send(reply())]) as server:
        async with Client(server.url, connect_timeout=20) as client:
            await asyncio.gather(*(client.whole() for _ in range(600)))
        assert server.connections == 600


@pytest.mark.parametrize("payload", [{"x": float("nan")}, {"x": object()}])
def test_what_json_cannot_say_is_not_sent(payload):
    """A payload that is not JSON raises an error before anything is sent."""
    with pytest.raises(UsageError, match="'grok' cannot be written as JSON"):
        Client("http://localhost:1").post("x", payload)


# Server faults


@dataclass(frozen=True)
class Fault:
    """A script with a faulty response, and the expected error."""

    id: str
    script: list = field(default_factory=list)
    error: type[GatewayError] = TransportError
    code: str = "reset"


FAULTS = [
    Fault("cut-before-the-answer", [CloseConnection()]),
    Fault("reset-before-the-answer", [Reset()]),
    Fault("cut-in-the-head", [Send(b"HTTP/1.1 200 OK\r\nContent-"), CloseConnection()]),
    Fault("cut-body", [Send(head(content_length="9") + b"abc"), CloseConnection()]),
    Fault("reset-body", [Send(head(content_length="9") + b"abc"), Wait(0.1), Reset()]),
    Fault("cut-chunks", [Send(stream_head() + chunk(b"abc")), CloseConnection()]),
    Fault("cut-in-a-chunk", [Send(stream_head() + b"9\r\nabc"), CloseConnection()]),
    Fault("reset-chunks", [Send(stream_head() + chunk(b"abc")), Wait(0.1), Reset()]),
    Fault("bad-chunk", [Send(stream_head() + b"zz\r\nabc\r\n"), Stall()], code="protocol"),
    Fault("status-line", [Send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), Stall()], code="protocol"),
    Fault("status-number", [Send(b"HTTP/1.1 9999999 OK\r\n\r\n"), Stall()], code="protocol"),
    Fault("long-header", [Send(head(x="y" * 70_000)), Stall()], code="protocol"),
    Fault("binary", [Send(bytes(range(256)) * 9), Stall()], code="protocol"),
    Fault("gzip", [Send(gzipped())], ProviderError, "compressed"),
    Fault("gzip-401", [Send(gzipped(status=401))], AuthenticationError, "compressed"),
    Fault("too-large", [Send(reply(b"x" * 101))], ProviderError, "too_large"),
    Fault("endless", [Send(stream_head()), Repeat(chunk(b"x" * 50))], ProviderError, "too_large"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
@run
async def test_a_broken_answer_is_a_typed_error(fault):
    """A faulty response raises a gateway error that says where, after one attempt."""
    with Server(fault.script) as server:
        error = await failure(server.url, max_bytes=100)
        assert len(server.requests) == 1
    assert type(error) is fault.error
    assert (error.code, error.engine) == (fault.code, "grok")
    assert "'grok'" in error.message
    assert str(error.hint)


@run
async def test_the_limit_is_the_last_length_that_passes():
    """A body as long as the limit is valid."""
    with Server([Send(reply(b"x" * 100))]) as server:
        async with Client(server.url, max_bytes=100) as client:
            assert await client.whole() == b"x" * 100


@run
async def test_a_compressed_refusal_keeps_its_wait():
    """Retry-After applies even if the body cannot be decoded."""
    answer = gzipped(status=429).replace(b"\r\n\r\n", b"\r\nRetry-After: 7\r\n\r\n", 1)
    with Server([Send(answer)]) as server:
        error = await failure(server.url)
    assert type(error) is RateLimitError
    assert (error.status, error.retry_after) == (429, 7.0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@run
async def test_a_redirect_is_not_followed(status):
    """A redirect is not followed, and the error names the second host."""
    with Server([Send(reply())]) as other:
        target = other.url.replace("127.0.0.1", "localhost")
        with Server([Send(redirect(f"{target}/x?hidden=1", status))]) as server:
            error = await failure(server.url)
            assert len(server.requests) == 1
        assert other.connections == 0
    assert type(error) is ProviderError
    assert (error.status, error.code) == (status, "redirect")
    assert "'localhost'" in error.message
    assert "hidden" not in str(error)


@pytest.mark.parametrize("location", ["/elsewhere", "http://[", "http://\x01/", "", "//user:pw@x/"])
@run
async def test_an_odd_redirect_is_still_refused(location):
    """A malformed Location is not followed and raises no other error."""
    with Server([Send(redirect(location))]) as server:
        error = await failure(server.url)
        assert len(server.requests) == 1
    assert isinstance(error, ProviderError | TransportError)
    assert "pw" not in str(error)


# Connection failures


@run
async def test_a_refused_connection():
    """A refused connection is a connection error, which may be retried."""
    error = await failure(f"http://127.0.0.1:{free_port()}")
    assert (type(error), error.code) == (TransportError, "connect")
    assert retry.wait_before_retry(1, error, 2, float) == 0.5


@run
async def test_an_unknown_host():
    """An unknown host raises an error that names it."""
    error = await failure("https://no-such-host.invalid/v1")
    assert (type(error), error.code) == (TransportError, "dns")
    assert "'no-such-host.invalid'" in error.message


@run
async def test_a_host_that_takes_no_connection():
    """The connect timeout ends the attempt within a second."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = []
        for _ in range(4):  # fills the backlog, so that SYNs are not answered
            filler = socket.socket()
            filler.setblocking(False)  # noqa: FBT003
            assert filler.connect_ex(address) in {0, errno.EINPROGRESS}
            fillers.append(filler)
        start = time.monotonic()
        error = await failure(f"http://127.0.0.1:{address[1]}", connect_timeout=0.3)
        for filler in fillers:
            filler.close()
    assert (type(error), error.code) == (TransportError, "connect")
    assert 0.3 <= time.monotonic() - start <= 1.3


@run
async def test_a_tls_handshake_that_hangs_meets_the_connect_deadline():
    """A TLS handshake without an answer ends at the connect timeout."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(5)
        start = time.monotonic()
        error = await failure(f"https://127.0.0.1:{mute.getsockname()[1]}", connect_timeout=0.3)
    assert (type(error), error.code) == (TransportError, "connect")
    assert time.monotonic() - start <= 1.3


@run
async def test_a_proxy_that_hangs_meets_the_connect_deadline():
    """The connect timeout covers lookup, proxy, TCP and TLS together."""
    with Server([Stall()]) as proxy:
        start = time.monotonic()
        network = Network(proxy=proxy.url)
        error = await failure("https://api.x.ai", network=network, connect_timeout=0.3)
        assert await gone(proxy.requests[0])
    assert (type(error), error.code) == (TransportError, "proxy")
    assert time.monotonic() - start <= 1.3


# Read timeout


@run
async def test_silence_is_a_deadline_once_it_is_watched():
    """The first byte may take its time; after it, too long a pause raises a deadline error."""
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
            assert 0.3 <= time.monotonic() - start <= 1.3
            assert await gone(server.requests[0])
            assert asyncio.current_task().cancelling() == 0
    assert caught.value.code == "silence"
    assert retry.wait_before_retry(1, caught.value, 2, float) is None


@run
async def test_any_byte_is_a_sign_of_life():
    """Pings within the timeout keep a response alive; a slow reader is not taken for silence."""
    pings = [step for _ in range(8) for step in (Wait(0.1), Send(chunk(b":\n")))]
    with Server([Send(stream_head()), *pings, Send(chunk(b""))]) as server:
        async with Client(server.url, read_timeout=0.4) as client, client.post("x", {}) as response:
            response.start_read_timeout()
            await asyncio.sleep(0.5)
            assert b"".join([block async for block in response.blocks()]) == b":\n" * 8


@run
async def test_a_total_deadline_of_the_callers_stays_the_callers():
    """A timeout set by the caller is not converted to a read timeout."""
    with Server([Send(stream_head()), Stall()]) as server:
        async with Client(server.url) as client:
            async with client.post("x", {}) as response:
                response.start_read_timeout()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(response.read(), 0.3)
            assert await gone(server.requests[0])


# Cancellation


STALLS = {
    "before-the-head": [Stall()],
    "in-the-body": [Send(stream_head() + chunk(b"one")), Stall()],
    "while-it-streams": [Send(stream_head()), Repeat(chunk(b"one"))],
}


@pytest.mark.parametrize("script", STALLS.values(), ids=STALLS)
@run
async def test_a_cancelled_call_closes_its_socket(script):
    """The server notices a cancelled call within half a second, and the next call works."""
    with Server(script, [Send(reply())]) as server:
        async with Client(server.url) as client:
            task = asyncio.create_task(client.whole())
            await eventually(lambda: server.requests)
            await asyncio.sleep(0.05)  # the call is in the body by now, but any moment must work
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert await gone(server.requests[0])
            assert await client.whole() == b"{}"
    assert holders(caught.value) == []


@run
async def test_an_answer_left_early_closes_its_socket():
    """Leaving the block in the middle of a stream closes its socket."""
    with Server([Send(stream_head()), Repeat(chunk(b"one"))]) as server:
        async with Client(server.url) as client:
            async with client.post("x", {}) as response:
                async for _block in response.blocks():
                    break
            assert await gone(server.requests[0])


@run
async def test_an_error_inside_the_block_is_the_callers():
    """An exception raised in the block passes through unchanged and closes the socket."""
    with Server([Send(stream_head()), Stall()]) as server:
        async with Client(server.url) as client:
            with pytest.raises(KeyError, match="mine"):
                async with client.post("x", {}):
                    raise KeyError("mine")
            assert await gone(server.requests[0])


@run
async def test_a_thousand_cancelled_calls_leave_no_connection():
    """Calls cancelled at any moment leave no connection open."""
    scripts = [STALLS["before-the-head"], STALLS["in-the-body"]]
    with Server(lambda _seen: scripts[len(server.requests) % 2]) as server:
        async with Client(server.url) as client:
            for round_ in range(20):
                tasks = [asyncio.create_task(client.whole()) for _ in range(50)]
                await asyncio.sleep(0.01 * (round_ % 8))
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            await eventually(lambda: server.open == 0)


@run
async def test_first_calls_at_once_share_one_client():
    """Concurrent first calls share one client."""
    with Server([Send(reply())]) as server:
        async with Client(server.url) as client:
            bodies = await asyncio.gather(*(client.whole() for _ in range(20)))
            assert bodies == [b"{}"] * 20
            connections = server.connections
            await asyncio.gather(*(client.whole() for _ in range(5)))
            assert server.connections == connections


@run
async def test_a_client_is_closed_for_good():
    """After aclose a call raises an error at once, without a retry."""
    with Server([Send(reply())]) as server:
        client = Client(server.url)
        await client.whole()
        for _ in range(2):
            await client.aclose()
        with pytest.raises(TransportError) as caught:
            await client.whole()
    assert caught.value.code == "closed"
    assert retry.wait_before_retry(1, caught.value, 2, float) is None


def test_a_client_belongs_to_its_event_loop():
    """Using a client on a second event loop raises a clear error at once."""
    with Server([Send(reply())]) as server, asyncio.Runner() as first, asyncio.Runner() as second:
        client = Client(server.url)
        first.run(client.whole())
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            second.run(client.whole())
        first.run(client.aclose())


# Proxies


PROXY_VARIABLES = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"]


@pytest.mark.parametrize("variable", PROXY_VARIABLES)
@run
async def test_a_proxy_of_the_environment_is_used(variable, monkeypatch):
    """A host known only to the proxy is reached through it."""
    with Server([Send(reply(b'"through"'))]) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("://", "://user:p%40ss@"))
        network = Network(plain_http=("example.invalid",))
        async with Client("http://example.invalid/v1", network=network) as client:
            assert await client.whole() == b'"through"'
        assert proxy.requests[0].target == "http://example.invalid/v1/chat/completions"
        assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


@run
async def test_https_goes_through_a_tunnel(monkeypatch, certificates):
    """The proxy sees the host but not the key, and only the proxy receives its password."""
    with Server([Send(reply(b'"secret"'))], tls=certificates.server) as server:
        with Server([Tunnel(server.port)]) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("://", "://user:word@"))
            network = Network(ca_bundle=certificates.file)
            async with Client("https://example.invalid", network=network) as client:
                assert await client.whole() == b'"secret"'
            connect = proxy.requests[0]
        assert "proxy-authorization" not in server.requests[0].headers
    assert (connect.method, connect.target) == ("CONNECT", "example.invalid:443")
    assert (
        connect.headers["proxy-authorization"] == "Basic " + base64.b64encode(b"user:word").decode()
    )
    assert KEY not in str(connect.headers)


@run
async def test_the_setting_overrides_the_environment(monkeypatch):
    """`[network] proxy` overrides the environment."""
    with Server([Send(reply())]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "*")
        network = Network(proxy=proxy.url, plain_http=("example.invalid",))
        async with Client("http://example.invalid", network=network) as client:
            assert await client.whole() == b"{}"


@pytest.mark.allow_hosts(["127.0.0.1", "127.3.2.1", "::1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.3.2.1", "[::1]"])
@run
async def test_this_machine_is_never_reached_by_a_proxy(host, monkeypatch):
    """Loopback addresses bypass the proxy, so that their key stays on this machine."""
    with Server([Send(reply())]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        network = Network(proxy=proxy.url)
        error = await failure(f"http://{host}:{free_port()}", network=network)
        assert error.code == "connect"
        assert proxy.connections == 0


@pytest.mark.parametrize("exception", ["example.invalid", ".invalid", "*", "x, example.invalid"])
@run
async def test_no_proxy_is_honoured(exception, monkeypatch):
    """A host in `no_proxy` is reached directly."""
    with Server([Send(reply())]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exception)
        assert (await failure("https://example.invalid")).code == "dns"
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "script", [[Send(reply(b"", 407))], [CloseConnection()], [Send(html(503))]]
)
@run
async def test_a_proxy_that_refuses(script):
    """An error response of the proxy is not taken for the provider's."""
    with Server(script) as proxy:
        error = await failure("https://example.invalid", network=Network(proxy=proxy.url))
    assert type(error) is TransportError
    assert error.code in {"proxy", "reset"}


@run
async def test_a_proxy_that_is_not_there():
    """If the proxy is down, the error says so and the hint names its setting."""
    network = Network(proxy=f"http://user:word@127.0.0.1:{free_port()}")
    error = await failure("https://example.invalid", network=network)
    assert (type(error), error.code) == (TransportError, "proxy")
    assert "[network] proxy" in str(error.hint)
    assert "word" not in "".join(traceback.format_exception(error))


@run
async def test_a_proxy_that_no_name_server_knows():
    """If the proxy's host is unknown, the error says that it is the proxy."""
    network = Network(proxy="http://no-such-proxy.invalid:3128")
    error = await failure("https://api.x.ai", network=network)
    assert (type(error), error.code) == (TransportError, "proxy")


def test_a_proxy_of_another_kind_is_refused(monkeypatch):
    """A SOCKS proxy raises an error instead of being ignored."""
    monkeypatch.setenv("ALL_PROXY", "socks5://user:word@127.0.0.1:1080")
    with pytest.raises(ConfigError, match="an http or https URL, got 'socks5'") as caught:
        Client("https://example.invalid")
    assert "word" not in str(caught.value)


# Certificates


@dataclass(frozen=True)
class Certificates:
    """A private certificate authority in a file, and a server with its certificate."""

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
async def test_an_authority_of_the_users_is_trusted(certificates):
    """`network.ca_bundle` is trusted in addition to the system store."""
    with Server([Send(reply())], tls=certificates.server) as server:
        async with Client(server.url, network=Network(ca_bundle=certificates.file)) as client:
            assert await client.whole() == b"{}"


@run
async def test_an_unknown_authority_is_final(certificates):
    """An unknown authority is not retried, no request is sent, and the hint names the setting."""
    with Server([Send(reply())], tls=certificates.server) as server:
        error = await failure(server.url)
        assert server.requests == []
    assert (type(error), error.code) == (TransportError, "tls")
    assert "ca_bundle" in str(error.hint)
    assert retry.wait_before_retry(1, error, 2, float) is None


@run
async def test_a_certificate_of_another_host_is_refused(certificates):
    """A certificate for another host is refused, even from a trusted authority."""
    with Server([Send(reply())], tls=certificates.server) as server:
        with Server([Tunnel(server.port)]) as proxy:
            network = Network(ca_bundle=certificates.file, proxy=proxy.url)
            error = await failure("https://other.invalid", network=network)
        assert server.requests == []
    assert error.code == "tls"


@run
async def test_plain_http_behind_an_https_url():
    """A server without TLS behind an https URL is a TLS error, which is not retried."""
    with Server([], greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        assert (await failure(server.url.replace("http", "https"))).code == "tls"


@run
async def test_a_cancelled_call_over_tls_ends_at_once(certificates):
    """The server notices a cancelled TLS call within half a second."""
    with Server([Send(stream_head() + chunk(b"one")), Stall()], tls=certificates.server) as server:
        async with Client(server.url, network=Network(ca_bundle=certificates.file)) as client:
            async with client.post("x", {}) as response:
                async for _block in response.blocks():
                    break
            assert await gone(server.requests[0])


@pytest.mark.parametrize("text", [None, "no certificate"])
@run
async def test_an_unusable_certificate_file_names_its_setting(text, tmp_path):
    """A missing or invalid certificate file raises an error that names its setting."""
    file = tmp_path / "ca.pem"
    if text:
        file.write_text(text)
    error = await failure("https://127.0.0.1:1", network=Network(ca_bundle=str(file)))
    assert type(error) is ConfigError
    assert "network.ca_bundle" in error.message
    assert str(file) in error.message


# Allowed URLs


@dataclass(frozen=True)
class Refused:
    """An invalid base URL, and the expected error."""

    url: str
    says: str


REFUSED = [
    Refused("api.x.ai/v1", "must begin with"),
    Refused("localhost:8000/v1", "must begin with"),
    Refused("ftp://api.x.ai", "must begin with"),
    Refused("", "must begin with"),
    Refused("https://", "no valid host"),
    Refused("https://a b/", "no valid host"),
    Refused("https://x:99999/", "must begin with"),
    Refused("https://[::1/", "must begin with"),
    Refused("https://evil.example\\.x.ai/", "no valid host"),
    Refused("https://name:word@api.x.ai/v1", "user name"),
    Refused("https://api.x.ai/v1?key=word", "query"),
    Refused("https://api.x.ai/v1#word", "query"),
    Refused("http://api.x.ai/v1", "without TLS"),
    Refused("http://192.168.1.5:8000/v1", "without TLS"),
    Refused("http://10.0.0.1", "without TLS"),
    Refused("http://127.0.0.1.example.com", "without TLS"),
    Refused("https://169.254.169.254/latest", "link-local or metadata"),
    Refused("https://[fe80::1]/", "link-local or metadata"),
    Refused("https://[fe80::1%25eth0]/", "link-local or metadata"),
    Refused("https://[fd00:ec2::254]/", "link-local or metadata"),
    Refused("https://[::ffff:169.254.169.254]/", "link-local or metadata"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.url)
def test_an_invalid_base_url_is_refused(case):
    """An invalid base URL raises an error in the constructor, with a hint and without secrets."""
    with pytest.raises(ConfigError, match=case.says) as caught:
        Client(case.url)
    assert str(caught.value.hint)
    assert caught.value.engine == "grok"
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://api.x.ai/v1", {}),
        ("http://localhost:1234/v1", {}),
        ("http://[::1]:1234", {}),
        ("http://192.168.1.5", {"key": ""}),
        ("http://192.168.1.5", {"network": Network(plain_http=("192.168.1.5",))}),
        ("http://Box.LAN:8000", {"network": Network(plain_http=("box.lan",))}),
    ],
)
def test_a_good_base_url_is_taken(url, options):
    """TLS, loopback, a missing key or an explicitly allowed host makes a URL valid."""
    assert Client(url, **options)


@pytest.mark.parametrize("host", ["0xa9fea9fe", "2852039166", "169.254.43518", "0251.0376.0.1"])
@run
async def test_a_forbidden_address_in_disguise_is_refused(host):
    """The resolved address decides, however it is written."""
    error = await failure(f"https://{host}/latest")
    assert type(error) is ConfigError
    assert host in error.message


@run
async def test_a_lookup_that_gives_a_forbidden_address_is_refused(monkeypatch):
    """Nothing is sent to a public name that resolves to a metadata address."""

    def lookup(_host, port, *_args, **_options):
        found = [(socket.AF_INET, "169.254.169.254"), (socket.AF_INET6, "fd00:ec2::254")]
        return [(family, socket.SOCK_STREAM, 6, "", (ip, port)) for family, ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    error = await failure("https://metadata.example/latest")
    assert type(error) is ConfigError


def test_a_key_that_no_header_can_carry_is_refused():
    """A key that is invalid in a header raises an error that does not quote it, unlike httpx."""
    for key in ("sk-geheim-é", "sk-geheim\r\nX: y"):
        with pytest.raises(ConfigError, match="GATEWAYX_GROK_API_KEY") as caught:
            Client("https://api.x.ai", key=key)
        assert "geheim" not in "".join(traceback.format_exception(caught.value))


# Key leaks


def holders(error, *, visited=None):
    """Return the places in an error, its causes and its frames' locals that show the key."""
    visited = set() if visited is None else visited
    if error is None or id(error) in visited:
        return []
    visited.add(id(error))
    texts = {"repr": repr(error), "args": repr(error.args), "vars": repr(vars(error))}
    # Locals of the tests themselves hold the key, so only frames below them count.
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename != __file__:
            for name, value in frame.f_locals.items():
                texts[f"{frame.f_code.co_qualname}:{line} {name}"] = repr(value)
    found = [place for place, text in texts.items() if any(form in text for form in forms(KEY))]
    for other in (error.__cause__, error.__context__):
        found += holders(other, visited=visited)
    return found


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
@run
async def test_no_error_holds_the_key(fault, header, caplog):
    """No exception in the chain, local variable or DEBUG log contains the key."""
    caplog.set_level(logging.DEBUG)
    with Server(fault.script) as server:
        error = await failure(server.url, key_header=header, max_bytes=100)
        assert KEY in server.requests[0].headers[header.lower()]
    assert holders(error) == []
    shown = "".join(
        traceback.TracebackException.from_exception(error, capture_locals=True).format()
    )
    assert "httpx" not in {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    for text in (shown.replace(f"KEY = {KEY!r}", ""), caplog.text):
        assert not any(form in text for form in forms(KEY))


@run
async def test_no_connect_error_holds_the_key():
    """The error of a failed connection does not contain the key."""
    for url in (f"http://127.0.0.1:{free_port()}", "https://no-such-host.invalid"):
        error = await failure(url, key_header="x-api-key")
        assert holders(error) == []
        assert "cannot be found" in error.message or "cannot connect" in error.message


@run
async def test_a_key_that_a_server_sends_back_is_masked():
    """A key in the server's response is masked in the error."""

    def echo(request):
        return [Send(f"{request.headers['authorization']}\r\n\r\n".encode()), Stall()]

    with Server(echo) as server:
        error = await failure(server.url)
    assert error.code == "protocol"
    assert holders(error) == []


def test_a_cancellation_loses_what_it_came_from():
    """The same cancellation is raised without the frames and exceptions of the transport."""
    cancelled = asyncio.CancelledError()
    cancelled.__context__ = LookupError(f"no {KEY}")
    assert Client("https://api.x.ai")._errors.translate(cancelled) is cancelled
    assert holders(cancelled) == []


def test_a_client_does_not_show_its_key():
    """The repr of a client and its attributes contains no key or proxy password."""
    network = Network(proxy="http://user:word@127.0.0.1:1")
    shown = repr(vars(Client("https://api.x.ai", network=network)))
    assert "word" not in shown
    assert not any(form in shown for form in forms(KEY))


# Exceptions of libraries


def test_every_exception_of_the_foreign_libraries_has_a_code():
    """Every exception class is mapped by itself or a base, also one of a new release."""
    import aiohttp.client_exceptions
    import httpx

    foreign = [
        cls
        for module in (httpx, aiohttp.client_exceptions)
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Exception)
        and cls.__module__.startswith(("httpx", "aiohttp"))
    ]  # fmt: skip
    assert len(foreign) > 50
    not_ours = {"WSMessageTypeError"}  # no WebSockets here
    unmapped = [
        cls for cls in foreign if not any(base in _failure_points() for base in cls.__mro__)
    ]
    assert {cls.__name__ for cls in unmapped} == not_ours


def test_every_code_makes_an_error():
    """Every code has an exception class and a message."""
    faults = Client("https://api.x.ai")._errors
    for code in {*_failure_points().values(), "internal"}:
        error = faults._to_gateway_error(code, "why")
        assert isinstance(error, ConfigError | DeadlineError | TransportError)
        assert "'grok'" in error.message


def test_a_fault_of_no_known_class_is_typed_and_final():
    """An unknown exception becomes a gateway error that is not retried."""
    error = Client("https://api.x.ai")._errors.translate(LookupError(f"no {KEY}"))
    assert (type(error), error.code) == (TransportError, "internal")
    assert retry.wait_before_retry(1, error, 2, float) is None
    assert holders(error) == []


def test_the_import_is_light():
    """Importing the module loads neither httpx nor aiohttp nor truststore."""
    script = (
        "import sys, gatewayx_nb.transport as t; t.HTTPClient('https://api.x.ai', engine='x');"
        "print({'httpx', 'aiohttp', 'httpx_aiohttp', 'truststore'} & set(sys.modules))"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True)
    assert shown.strip() == "set()"
