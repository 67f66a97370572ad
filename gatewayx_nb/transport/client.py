"""A client for one provider, and the answers it gives."""

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
from gatewayx_nb.transport.faults import Faults

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

LIMIT = 64 * 2**20


class HTTPClient:
    """Speaks to one provider, on the event loop of its first call.

    Redirects are not followed, compressed bodies not inflated, cookies not kept, and the number of
    connections is not limited: the pool's concurrency does that. The proxies of the environment
    hold, ``NO_PROXY`` too, but never for this machine. A name that a proxy looks up is not checked
    for forbidden addresses; every other one is, after the lookup.

    Args:
        base_url: Where the provider answers; paths are put behind it.
        engine: Name of the engine, for the errors.
        key: The key; empty where there is none.
        key_header: The header that carries the key.
        key_prefix: What stands before it there.
        headers: Sent with every request.
        network: Proxy, further certificate authorities, hosts allowed without TLS.
        silence: Seconds without a byte that a watched answer may last.
        connect: Seconds for lookup, proxy, TCP and TLS together.
        limit: Most bytes of one answer. Default 64 MiB.

    Raises:
        ConfigError: The URL, the proxy, the certificate file or the key cannot be used, or the key
            would go over the network in the clear.
    """

    def __init__(  # noqa: PLR0913 - each is a thing that some provider or network needs
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
        if self._proxy and url.scheme == "http":  # not tunnelled: it speaks to the proxy itself
            self._headers |= self._proxy.headers
        self._faults = Faults(engine, url.netloc, self._credential.key, bool(self._proxy))
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
        """Send a JSON object; the answer is open inside the ``async with``.

        Raises:
            UsageError: The payload holds what JSON cannot say.
            ConfigError: The host's address is a forbidden one.
            ProviderError: A redirect, or a compressed answer. Other answers do not raise, whatever
                their status.
            TransportError: No answer; ``code`` tells where it failed: ``"dns"``, ``"connect"``,
                ``"proxy"``, ``"tls"``, ``"reset"``, ``"protocol"``, ``"closed"``, ``"internal"``.
        """
        return self._send("POST", path, _encode(payload, self._faults.engine))

    def get(self, path: str) -> AbstractAsyncContextManager[Response]:
        """Ask for a path; the answer is open inside the ``async with``. Raises as `post` does."""
        return self._send("GET", path)

    async def aclose(self) -> None:
        """Close every connection. Calls that are under way end in a `TransportError`."""
        self._is_closed = True
        if self._transport is not None:
            await self._transport.aclose()

    @asynccontextmanager
    async def _send(
        self, method: str, path: str, content: bytes | None = None
    ) -> AsyncIterator[Response]:
        answer = await self._answer(method, path, content)
        if isinstance(answer, BaseException):
            # Raised here, outside of any except clause, so that nothing hangs on as its context.
            raise answer
        try:
            response = Response(answer, self._faults, self._silence, self._limit)
            response.check()
            yield response
        finally:
            # What goes wrong in letting go of a connection is no fault of the answer.
            with contextlib.suppress(Exception):
                await answer.aclose()

    async def _answer(
        self, method: str, path: str, content: bytes | None
    ) -> httpx.Response | BaseException:
        transport = await self._opened()
        try:
            return await transport.handle_async_request(self._request(method, path, content))
        except BaseException as fault:  # noqa: BLE001 - the caller raises what this gives
            return self._faults.explain(fault)

    def _request(self, method: str, path: str, content: bytes | None) -> httpx.Request:
        """Make a request; the key comes to it last."""
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
        """Give the URL of a path, read once: httpx takes 30 µs to read one, at each request."""
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
                    # On a thread: the imports and the certificates take a quarter of a second.
                    self._transport = await asyncio.to_thread(self._open)
                    self._loop = loop
        if self._loop is not loop:
            raise RuntimeError("an HTTPClient belongs to the event loop of its first call")
        return self._transport

    def _open(self) -> AiohttpTransport:
        """Make the connections, without `httpx.AsyncClient` before them.

        What that adds is not wanted here, cookies and redirects, or done before, and it takes as
        long as the rest of a call.
        """
        import httpx
        from httpx_aiohttp import AiohttpTransport

        tls = route.trust(self._ca_bundle)
        # By headers, as aiohttp 3.14 deprecates what httpx-aiohttp makes of a password in the URL.
        greeting = self._proxy.headers if self._proxy else {}
        return AiohttpTransport(
            verify=tls,
            client=functools.partial(_session, tls),
            proxy=httpx.Proxy(self._proxy.url, headers=greeting) if self._proxy else None,
        )


class Response:
    """An answer whose head has arrived.

    Attributes:
        status: The HTTP status, as it came.
        headers: By name, in lower case; several of a name are joined by commas.
        content_type: The media type in lower case, without its parameters.
    """

    def __init__(self, answer: httpx.Response, faults: Faults, silence: float, limit: int) -> None:
        self.status = answer.status_code
        self.headers = _plain(answer.headers.raw)
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        # Not aiter_raw, which counts and cuts the same bytes once more.
        self._stream = cast("AsyncIterable[bytes]", answer.stream)
        self._faults = faults
        self._silence = silence
        self._allowed: float | None = None
        self._limit = limit

    def check(self) -> None:
        """Refuse what is no answer of the provider's.

        Raises:
            ProviderError: It points elsewhere, or it is compressed (for which an error keeps the
                class of its status).
        """
        if 300 <= self.status < 400:  # noqa: PLR2004 - the class of redirects
            raise self._faults.redirected(self.status, self.headers.get("location", ""))
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise self._faults.compressed(self.status, encoding, self.headers)

    async def read(self) -> bytes:
        """Give the whole body. Raises as `blocks` does."""
        return b"".join([block async for block in self.blocks()])

    def watch_silence(self) -> None:
        """From now on, too long a time without a byte ends the answer in a `DeadlineError`."""
        self._allowed = self._silence

    async def blocks(self) -> AsyncIterator[bytes]:
        """Give the body's bytes as they arrive, once.

        Raises:
            ProviderError: The body is longer than the limit.
            TransportError: The connection broke before the body's end.
            DeadlineError: Silence, once it is watched.
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
        except BaseException as fault:  # noqa: BLE001 - the caller raises what this gives
            return self._faults.explain(fault)


@dataclass(frozen=True, slots=True)
class _Credential:
    """Puts the key on a request."""

    header: str
    prefix: str
    key: Secret

    def put_on(self, request: httpx.Request) -> httpx.Request:
        if self.key:
            request.headers[self.header] = f"{self.prefix}{self.key}"
        return request


def _plain(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Give headers as a plain dictionary: one look into httpx's own takes 20 µs."""
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
        ConfigError: It cannot. Said here, as httpx would quote the key.
    """
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key of engine {engine!r} holds a character that no header can carry",
            mend=f"%gatewayx key set {engine}",
            engine=engine,
        )
    return Secret(key)


def _encode(payload: Mapping[str, object], engine: str) -> bytes:
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the request to engine {engine!r} cannot be written as JSON: {error}",
            mend="Give params plain numbers, texts, lists and dictionaries.",
            engine=engine,
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which a broken text may hold
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
