"""HTTP client for one provider, and its responses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.secure_config import Network, Secret
from gatewayx_nb.transport import route
from gatewayx_nb.transport.error_mapping import TransportErrors

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

LIMIT = 64 * 2**20


class HTTPClient:
    """HTTP client for one provider, on the event loop of its first call.

    It does not follow redirects, decompress bodies or keep cookies, and does not limit the number
    of connections: the pool's concurrency does that. The environment's proxies and ``NO_PROXY``
    apply, but never to this machine. If a proxy resolves a host name, its address is not checked;
    all other addresses are checked after the lookup, and forbidden ones are refused.

    Args:
        base_url: The provider's base URL; paths are appended to it.
        engine: Name of the engine, for errors.
        key: The key; empty if there is none.
        key_header: The header that carries the key.
        key_prefix: The text before the key in that header.
        headers: Headers sent with every request.
        network: Proxy, further certificate authorities, hosts allowed without TLS.
        silence: Maximum seconds without a byte of a watched response.
        connect: Seconds for lookup, proxy, TCP and TLS together.
        limit: Maximum bytes of one response. Default 64 MiB.

    Raises:
        ConfigError: If the URL, the proxy, the certificate file or the key cannot be used, or the
            key would be sent unencrypted over the network.
    """

    def __init__(  # noqa: PLR0913 - each is needed by some provider or network
        self,
        base_url: str,
        *,
        engine: str,
        key: str = "",
        key_header: str = "Authorization",
        key_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        network: Network = Network(),  # noqa: B008 - frozen
        silence: float = 60.0,
        connect: float = 5.0,
        limit: int = LIMIT,
    ) -> None:
        url = route.split(base_url, engine)
        route.check_host(url, engine, keyed=bool(key), allowed=network.plain_http)
        self._base = url.geturl().rstrip("/")
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "gatewayx-nb"}
        self._headers |= headers or {}
        self._credential = _Credential(key_header, key_prefix, _sendable(key, engine))
        self._proxy = route.choose_proxy(url, network, engine)
        if self._proxy and url.scheme == "http":  # not tunnelled: the proxy itself gets the request
            self._headers |= self._proxy.headers
        self._faults = TransportErrors(engine, url.netloc, self._credential.key, bool(self._proxy))
        self._ca_bundle = network.ca_bundle
        self._connect = connect
        self._silence = silence
        self._limit = limit
        self._urls: dict[str, httpx.URL] = {}
        self._opening = asyncio.Lock()
        self._transport: AiohttpTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def post(
        self, path: str, payload: Mapping[str, object]
    ) -> AbstractAsyncContextManager[Response]:
        """Send a JSON object; the response is open inside the ``async with``.

        Raises:
            UsageError: If the payload cannot be written as JSON.
            ConfigError: If the host's address is forbidden.
            ProviderError: If the response is a redirect or compressed. Other responses do not
                raise, whatever their status.
            TransportError: If no response arrives. ``code`` is the point of failure: ``"dns"``,
                ``"connect"``, ``"proxy"``, ``"tls"``, ``"reset"``, ``"protocol"``, ``"closed"``,
                ``"internal"``.
        """
        return self._send("POST", path, _encode(payload, self._faults.engine))

    def get(self, path: str) -> AbstractAsyncContextManager[Response]:
        """Request a path; the response is open inside the ``async with``. Raises like `post`."""
        return self._send("GET", path)

    async def aclose(self) -> None:
        """Close all connections. Calls in progress end with a `TransportError`."""
        self._is_closed = True
        if self._transport is not None:
            await self._transport.aclose()

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, content: bytes | None = None
    ) -> AsyncIterator[Response]:
        answer = await self._answer(method, path, content)
        if isinstance(answer, BaseException):
            # Raised here, outside any except clause, so that no context is attached to it.
            raise answer
        try:
            response = Response(answer, self._faults, self._silence, self._limit)
            response.check()
            yield response
        finally:
            # An error while releasing a connection does not affect the response.
            with contextlib.suppress(Exception):
                await answer.aclose()

    async def _answer(
        self, method: str, path: str, content: bytes | None
    ) -> httpx.Response | BaseException:
        transport = await self._opened()
        try:
            return await transport.handle_async_request(self._request(method, path, content))
        except BaseException as fault:  # noqa: BLE001 - returned for the caller to raise
            return self._faults.explain(fault)

    def _request(self, method: str, path: str, content: bytes | None) -> httpx.Request:
        """Return a request; the key is added last."""
        import httpx

        kind = {} if content is None else {"Content-Type": "application/json"}
        return self._credential.put_on(
            httpx.Request(
                method,
                self._url(path),
                headers=self._headers | kind,
                content=content,
                extensions={"timeout": {"connect": self._connect, "pool": self._connect}},
            )
        )

    def _url(self, path: str) -> httpx.URL:
        """Return the URL of a path, cached: httpx takes 30 µs to parse one."""
        import httpx

        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = httpx.URL(f"{self._base}/{path.lstrip('/')}")
        return url

    async def _opened(self) -> AiohttpTransport:
        if self._is_closed:
            raise self._faults.lost("closed", "its client has been closed")
        loop = asyncio.get_running_loop()
        if self._transport is None:
            async with self._opening:
                if self._transport is None:
                    # In a thread: the imports and the certificates take a quarter of a second.
                    self._transport = await asyncio.to_thread(self._open)
                    self._loop = loop
        if self._loop is not loop:
            raise RuntimeError("an HTTPClient belongs to the event loop of its first call")
        return self._transport

    def _open(self) -> AiohttpTransport:
        """Open the transport directly, without `httpx.AsyncClient`.

        The client's additions, such as cookies and redirects, are either unwanted or already done,
        and take as long as the rest of a call.
        """
        import httpx
        from httpx_aiohttp import AiohttpTransport

        tls = route.trust(self._ca_bundle)
        # In headers: aiohttp 3.14 deprecates how httpx-aiohttp handles a password in the URL.
        greeting = self._proxy.headers if self._proxy else {}
        return AiohttpTransport(
            verify=tls,
            client=functools.partial(_session, tls),
            proxy=httpx.Proxy(self._proxy.url, headers=greeting) if self._proxy else None,
        )


class Response:
    """A response whose head has arrived.

    Attributes:
        status: The HTTP status, as received.
        headers: By name, in lower case; values of a repeated name are joined by commas.
        content_type: The media type in lower case, without its parameters.
    """

    def __init__(
        self, answer: httpx.Response, faults: TransportErrors, silence: float, limit: int
    ) -> None:
        self.status = answer.status_code
        self.headers = _plain(answer.headers.raw)
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        # Not aiter_raw, which counts and splits the same bytes again.
        self._stream = cast("AsyncIterable[bytes]", answer.stream)
        self._faults = faults
        self._silence = silence
        self._allowed: float | None = None
        self._limit = limit

    def check(self) -> None:
        """Refuse redirects and compressed responses.

        Raises:
            ProviderError: If it is a redirect or compressed. A compressed error response raises the
                class for its status instead.
        """
        if 300 <= self.status < 400:  # noqa: PLR2004 - the class of redirects
            raise self._faults.redirected(self.status, self.headers.get("location", ""))
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise self._faults.compressed(self.status, encoding, self.headers)

    async def read(self) -> bytes:
        """Return the whole body. Raises like `blocks`."""
        return b"".join([block async for block in self.blocks()])

    def watch_silence(self) -> None:
        """From now on, end the response with a `DeadlineError` if no byte arrives in time."""
        self._allowed = self._silence

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the body's bytes as they arrive; works only once.

        Raises:
            ProviderError: If the body exceeds the limit.
            TransportError: If the connection broke before the body's end.
            DeadlineError: If no byte arrived in time while silence is watched.
        """
        arrived = 0
        stream = aiter(self._stream)
        while block := await self._next(stream):
            if isinstance(block, BaseException):
                raise block
            arrived += len(block)
            if arrived > self._limit:
                raise self._faults.too_large(self._limit)
            yield block

    async def _next(self, stream: AsyncIterator[bytes]) -> bytes | BaseException:
        try:
            if self._allowed is None:
                return await anext(stream, b"")
            async with asyncio.timeout(self._allowed):
                return await anext(stream, b"")
        except TimeoutError:
            return self._faults.silent(self._silence)
        except BaseException as fault:  # noqa: BLE001 - returned for the caller to raise
            return self._faults.explain(fault)


@dataclass(frozen=True, slots=True)
class _Credential:
    """Adds the key to a request."""

    header: str
    prefix: str
    key: Secret

    def put_on(self, request: httpx.Request) -> httpx.Request:
        if self.key:
            request.headers[self.header] = f"{self.prefix}{self.key}"
        return request


def _plain(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers as a plain dict: one lookup in httpx's own type takes 20 µs."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _session(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    import aiohttp

    connector = aiohttp.TCPConnector(ssl=tls, limit=0, socket_factory=route.open_socket)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _sendable(key: str, engine: str) -> Secret:
    """Check that a header can carry this key.

    Raises:
        ConfigError: If it cannot. This comes first, because httpx would quote the key.
    """
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key of engine {engine!r} holds a character that no header can carry",
            hint=f"%gatewayx key set {engine}",
            engine=engine,
        )
    return Secret(key)


def _encode(payload: Mapping[str, object], engine: str) -> bytes:
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the request to engine {engine!r} cannot be written as JSON: {error}",
            hint="Give params plain numbers, texts, lists and dictionaries.",
            engine=engine,
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate in an invalid text
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
