"""An HTTP client for one provider, and its responses."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import Network, Secret
from gatewayx_nb.transport import connection, route
from gatewayx_nb.transport.error_mapping import TransportErrors

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    import aiohttp

    Body = bytes | BinaryIO | aiohttp.FormData

MAX_RESPONSE_BYTES = 64 * 2**20
"""Default maximum size of a response body in bytes."""

_MAX_HEADER_BYTES = 64 * 2**10
"""Maximum size of a header in bytes; aiohttp's default of 8 KiB is too low for some gateways."""


# NaN and infinity are not JSON (RFC 8259); providers reject the whole body.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class HTTPClient:
    """HTTP client for one provider; it belongs to the event loop of its first call.

    The client does not follow redirects, decompress bodies or keep cookies. It does not limit the
    number of connections, because the pool limits concurrency. The environment's proxies and
    ``NO_PROXY`` apply, except to this machine. Addresses are checked after the lookup, and
    forbidden addresses are refused; if a proxy resolves the host name, the address cannot be
    checked.

    Args:
        base_url: The provider's base URL; paths are appended to it.
        engine: Name of the engine, for errors.
        key: The key; empty if there is none.
        key_header: The header that contains the key.
        key_prefix: The text before the key in the header.
        headers: Headers sent with every request.
        network: Proxy, additional certificate authorities, and hosts allowed without TLS.
        read_timeout: Maximum seconds without data, after `Response.start_read_timeout` is called.
        connect_timeout: Maximum seconds for lookup, proxy, TCP and TLS together.
        max_bytes: Maximum size of a response body in bytes; 64 MiB by default.

    Raises:
        ConfigError: If the URL, the proxy, the certificate file or the key cannot be used, or the
            key would be sent unencrypted over the network.
    """

    def __init__(  # noqa: PLR0913 - each parameter is needed by some provider or network
        self,
        base_url: str,
        *,
        engine: str,
        key: str = "",
        key_header: str = "Authorization",
        key_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
        network: Network = Network(),  # noqa: B008 - frozen
        read_timeout: float = 60.0,
        connect_timeout: float = 5.0,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        url = route.parse_base_url(base_url, engine)
        route.check_host(url, engine, has_key=bool(key), plain_http_hosts=network.plain_http)
        self._base_url = url.geturl().rstrip("/")
        # Compression would delay the chunks of a stream, and a small response could expand to
        # gigabytes.
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "gatewayx-nb"}
        self._headers |= headers or {}
        self._key = _check_key(key, engine)
        self._key_header, self._key_prefix = key_header, key_prefix
        self._proxy = route.choose_proxy(url, network, engine)
        if self._proxy and url.scheme == "http":  # not tunnelled, so the proxy receives the request
            self._headers |= self._proxy.headers
        self._errors = TransportErrors(engine, url.netloc, self._key, bool(self._proxy))
        self._ca_bundle = network.ca_bundle
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._max_bytes = max_bytes
        self._open_lock = asyncio.Lock()  # concurrent first calls must share one session
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def post(
        self, path: str, payload: Mapping[str, object]
    ) -> AbstractAsyncContextManager[Response]:
        """Send a JSON object; the response stays open inside the ``async with`` block.

        Raises:
            UsageError: If the payload cannot be written as JSON.
            ConfigError: If the host's address is forbidden.
            ProviderError: If the response is a redirect or compressed. Other responses do not
                raise, regardless of their status.
            TransportError: If no response arrives. ``code`` is the point of failure: ``"dns"``,
                ``"connect"``, ``"proxy"``, ``"tls"``, ``"reset"``, ``"protocol"``, ``"closed"``,
                ``"internal"``.
        """
        return self._send("POST", path, encode_payload(payload, self._errors.engine))

    @asynccontextmanager
    async def post_file(
        self, path: str, file: Path, fields: Mapping[str, str] | None = None
    ) -> AsyncIterator[Response]:
        """Send a file, reading it while it is sent; see `post`.

        Args:
            path: The path, relative to the base URL.
            file: The file to send.
            fields: The fields of a form, to which the file is added as the field ``file``; ``None``
                to send the file itself as the JSON body.
        """
        await self._open_session()  # imports aiohttp
        with await asyncio.to_thread(file.open, "rb") as content:
            body = content if fields is None else _form(fields, file.name, content)
            content_type = "application/json" if fields is None else None
            async with self._send("POST", path, body, content_type) as response:
                yield response

    def get(self, path: str) -> AbstractAsyncContextManager[Response]:
        """Request a path, without a body; see `post`."""
        return self._send("GET", path)

    def download(self, path: str) -> AbstractAsyncContextManager[Response]:
        """Request a file; see `get`."""
        return self._send("GET", path, accept="application/binary")

    def own_path(self, url: str) -> str | None:
        """Return the path of a URL on the provider's own host, relative to the base URL.

        Return ``None`` if the URL has another host, port or scheme, or is outside the base URL,
        because the key must not be sent there.
        """
        base = urlsplit(self._base_url)
        try:
            other_url = urlsplit(url)
            is_own_origin = (
                route.origin(other_url) == route.origin(base) and "@" not in other_url.netloc
            )
        except ValueError:
            return None
        root = f"{base.path.rstrip('/')}/"
        if not is_own_origin or not other_url.path.startswith(root) or ".." in other_url.path:
            return None
        return other_url.path.removeprefix(root) + (
            f"?{other_url.query}" if other_url.query else ""
        )

    async def aclose(self) -> None:
        """Close all connections. Running calls fail with a `TransportError`."""
        # Set the flag first, so that a call that begins now does not open another session.
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        content: Body | None = None,
        content_type: str | None = "application/json",
        accept: str = "",
    ) -> AsyncIterator[Response]:
        header = None if content is None else content_type
        result = await self._exchange(method, path, content, header, accept)
        if isinstance(result, BaseException):
            # This is outside any `except` clause, so that no context is attached to the error.
            raise result
        response = Response(result, self._errors, self._read_timeout, self._max_bytes)
        try:
            response.check()
            yield response
        finally:
            response.close()

    async def _exchange(
        self, method: str, path: str, content: Body | None, content_type: str | None, accept: str
    ) -> aiohttp.ClientResponse | BaseException:
        session = await self._open_session()
        try:
            return await session.request(
                method,
                f"{self._base_url}/{path.lstrip('/')}",
                # Do not store the headers in a variable, because a traceback may show local
                # variables.
                headers=self._request_headers(content_type, accept),
                data=content,
                allow_redirects=False,
                proxy=self._proxy.url if self._proxy else None,
                # Do not put the password into the URL, which aiohttp 3.14 deprecates.
                proxy_headers=self._proxy.headers if self._proxy else None,
            )
        except BaseException as error:  # noqa: BLE001 - returned for the caller to raise
            return self._errors.translate(error)

    def _request_headers(self, content_type: str | None, accept: str) -> dict[str, str]:
        """Return the headers; the key comes last, so that no other header replaces it."""
        headers = dict(self._headers)
        if content_type is not None:
            headers["Content-Type"] = content_type
        if accept:
            headers["Accept"] = accept
        if self._key:
            headers[self._key_header] = f"{self._key_prefix}{self._key}"
        return headers

    async def _open_session(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise self._errors.connection_failed("closed", "the client is closed")
        loop = asyncio.get_running_loop()
        if self._session is None:
            async with self._open_lock:
                if self._session is None:
                    # Importing aiohttp and reading the certificates take a quarter of a
                    # second.
                    tls_context = await asyncio.to_thread(_load_aiohttp, self._ca_bundle)
                    self._session, self._loop = (
                        _new_session(tls_context, self._connect_timeout),
                        loop,
                    )
        if self._loop is not loop:
            raise RuntimeError("an HTTPClient belongs to the event loop of its first call")
        return self._session


class Response:
    """A response whose head has arrived.

    Attributes:
        status: The HTTP status, as received.
        headers: The headers by lower-case name; repeated headers are joined by commas.
        content_type: The media type in lower case, without its parameters.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        errors: TransportErrors,
        read_timeout: float,
        max_bytes: int,
    ) -> None:
        self.status = response.status
        self.headers = _join_headers(response.raw_headers)
        self.content_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._response = response
        self._errors = errors
        self._read_timeout = read_timeout
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None  # in the loop's time
        self._timer: asyncio.TimerHandle | None = None

    def check(self) -> None:
        """Check that the response is neither a redirect nor compressed.

        Raises:
            ProviderError: If the response is a redirect or compressed. A compressed error response
                raises the class for its status instead.
        """
        if 300 <= self.status < 400:  # noqa: PLR2004 - redirects
            raise self._errors.redirected(self.status, self.headers.get("location", ""))
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise self._errors.compressed(self.status, encoding, self.headers)

    @property
    def has_ended(self) -> bool:
        """Whether the whole body has been read."""
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        """Return the whole body; see `blocks` for the errors."""
        return b"".join([block async for block in self.blocks()])

    def start_read_timeout(self) -> None:
        """Start the read timeout: raise a `DeadlineError` if no data arrives in time."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._read_timeout, self._check_silence)

    async def blocks(self) -> AsyncGenerator[bytes]:
        """Yield the body's bytes as they arrive; can be called only once.

        Raises:
            ProviderError: If the body exceeds the limit.
            TransportError: If the connection breaks before the end of the body.
            DeadlineError: If no data arrives within the read timeout, after it has been started.
        """
        received_bytes = 0
        while block := await self._next():
            if isinstance(block, BaseException):  # outside any `except` clause, as in `_send`
                raise block
            received_bytes += len(block)
            if received_bytes > self._max_bytes:
                raise self._errors.too_large(self._max_bytes)
            yield block

    async def lines(self, max_line: int, max_bytes: int) -> AsyncIterator[bytes | None]:
        """Yield the lines of the body without line endings; ``None`` for a line that is too long.

        Args:
            max_line: Maximum size of a line in bytes; the memory use is limited accordingly.
            max_bytes: Maximum size of the body in bytes.

        Raises:
            ProviderError: If the body exceeds the limit; the lines before it have been yielded.
            TransportError: If the connection breaks before the end of the body.
            DeadlineError: If no data arrives within the read timeout, after it has been started.
        """
        self._max_bytes = max_bytes
        line, is_too_long = bytearray(), False
        async for block in self.blocks():
            first_line, *other_lines = block.split(b"\n")
            for line_end in (first_line, *other_lines[:-1]) if other_lines else ():
                line += line_end if not is_too_long else b""
                is_too_long = is_too_long or len(line) > max_line
                yield None if is_too_long else bytes(line)
                line.clear()
                is_too_long = False
            tail = other_lines[-1] if other_lines else first_line
            line += tail if not is_too_long else b""
            if len(line) > max_line:
                is_too_long = True
                line.clear()
        if line or is_too_long:
            yield None if is_too_long else bytes(line)

    def close(self) -> None:
        """Release the connection, which is reused only if the whole body has been read."""
        if self._timer is not None:
            self._timer.cancel()
        # An error while releasing a connection does not affect the response.
        with contextlib.suppress(Exception):
            self._response.release()

    async def _next(self) -> bytes | BaseException:
        self._waiting_since = self._loop.time()
        try:
            return await self._response.content.readany()
        except TimeoutError:
            return self._errors.silent(self._read_timeout)
        except BaseException as error:  # noqa: BLE001 - returned for the caller to raise
            # Return the bytes that have arrived first; the error is raised again later.
            return self._unread_bytes(error) or self._errors.translate(error)
        finally:
            self._waiting_since = None

    def _unread_bytes(self, error: BaseException) -> bytes:
        if not isinstance(error, Exception):  # a cancellation
            return b""
        return connection.unread(self._response.content)

    def _check_silence(self) -> None:
        """End a wait that exceeds the read timeout; check again when the next wait could exceed it.

        One timer for the whole response costs less than one for each block.
        """
        now = self._loop.time()
        deadline = (
            now if self._waiting_since is None else self._waiting_since
        ) + self._read_timeout
        if deadline > now:
            self._timer = self._loop.call_at(deadline, self._check_silence)
        else:
            self._response.content.set_exception(TimeoutError())


def _join_headers(raw_headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers as a plain dict, with repeated headers joined."""
    headers: dict[str, str] = {}
    for name, value in raw_headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _load_aiohttp(ca_bundle: str | None) -> ssl.SSLContext:
    """Import aiohttp, which is slow, and return the TLS context."""
    import aiohttp  # noqa: F401 - used in `_new_session`, on the event loop

    return route.ssl_context(ca_bundle)


def _new_session(tls_context: ssl.SSLContext, connect_timeout: float) -> aiohttp.ClientSession:
    """Open a session; httpx is not used, because its objects double the CPU cost of a request."""
    import aiohttp

    # A limit of 0 means any number of connections, because the pool limits concurrent calls.
    connector = connection.connector(ssl=tls_context, limit=0, socket_factory=route.open_socket)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        # Do not set a read timeout, because a model may think for minutes; see
        # `start_read_timeout`.
        timeout=aiohttp.ClientTimeout(connect=connect_timeout, sock_connect=connect_timeout),
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


def _check_key(key: str, engine: str) -> Secret:
    """Check that a header can contain this key.

    Raises:
        ConfigError: If it cannot. The error of the HTTP client itself would quote the key.
    """
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the key for engine {engine!r} must be printable ASCII to be sent in a header.",
            hint=Hint("set_key", engine=engine),
            engine=engine,
        )
    return Secret(key)


def _form(fields: Mapping[str, str], name: str, content: BinaryIO) -> aiohttp.FormData:
    """Return a form with a file that is read while it is sent."""
    import aiohttp

    form = aiohttp.FormData()
    for field, value in fields.items():
        form.add_field(field, value)
    form.add_field("file", content, filename=name, content_type="application/octet-stream")
    return form


def encode_payload(payload: Mapping[str, object], engine: str) -> bytes:
    """Return a payload as JSON.

    Raises:
        UsageError: If the payload cannot be written as JSON.
    """
    try:
        text = _ENCODER.encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the request to engine {engine!r} cannot be written as JSON: {error}.",
            hint="Use only numbers, strings, lists and dictionaries in `params`.",
            engine=engine,
        ) from None
    try:
        return text.encode()
    except UnicodeEncodeError:  # the str contains a lone surrogate
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
