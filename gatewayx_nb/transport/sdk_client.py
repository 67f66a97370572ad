"""Creates the ``httpx2`` client that the MCP SDK uses, with this package's network rules."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from typing_extensions import override

from gatewayx_nb.bounded_json import count_values
from gatewayx_nb.transport.client import MAX_RESPONSE_BYTES
from gatewayx_nb.transport.reconnections import ReconnectionLimit
from gatewayx_nb.transport.route import check_host, check_resolved, choose_proxy, ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayx_nb.secure_config import Network, Secret

_MAX_VALUES = 100_000
"""Maximum number of JSON values in a message; the SDK uses about 400 bytes for each."""

_EVENT_STREAM = "text/event-stream"
_EVENT_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
"""The end of an event: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 600.0
"""Maximum seconds without data, because a server may hold a stream open; calls have deadlines."""


def sdk_client(url: str, name: str, key: Secret, network: Network) -> Any:  # noqa: ANN401 - a class of httpx2
    """Return an ``httpx2.AsyncClient`` for one server; it does not follow redirects.

    Args:
        url: The server's URL.
        name: The server's name, for errors.
        key: The bearer token; none is sent if it is empty.
        network: The proxy, the certificate authorities and the hosts that need no TLS.

    Raises:
        ConfigError: If the address is forbidden, the key would be sent without TLS, or a network
            setting is invalid.
    """
    import httpx2

    url_parts = urlsplit(url)
    check_host(url_parts, name, has_key=bool(key), plain_http_hosts=network.plain_http)
    proxy = choose_proxy(url_parts, network, name)
    context = ssl_context(network.ca_bundle)
    sdk_proxy = None
    if proxy is not None:
        proxy_context = context if proxy.url.startswith("https:") else None
        sdk_proxy = httpx2.Proxy(proxy.url, headers=proxy.headers, ssl_context=proxy_context)
    transport = httpx2.AsyncHTTPTransport(verify=context, proxy=sdk_proxy)
    # A compressed response could expand to any size.
    headers = {"Accept-Encoding": "identity"}
    if key:
        headers["Authorization"] = f"Bearer {str.__str__(key)}"
    return httpx2.AsyncClient(
        transport=_limited_transport(transport, is_direct=proxy is None),
        headers=headers,
        timeout=httpx2.Timeout(_CONNECT_TIMEOUT, read=_READ_TIMEOUT),
        trust_env=False,
        follow_redirects=False,
    )


class _ValueCounter:
    """Counts the JSON values of a response, or of one event of a stream, as it arrives.

    Args:
        is_event_stream: Whether the response is a stream of events; a blank line ends each of them.
    """

    def __init__(self, *, is_event_stream: bool) -> None:
        self._is_event_stream, self._count = is_event_stream, 0

    def count(self, chunk: bytes) -> int:
        """Add a chunk; return the highest number of values so far in an event of the chunk."""
        events = _EVENT_END.split(chunk) if self._is_event_stream else [chunk]
        counts = [count_values(event) for event in events]
        counts[0] += self._count
        self._count = counts[-1]
        return max(counts)


def _limited_transport(transport: Any, *, is_direct: bool) -> Any:  # noqa: ANN401 - classes of httpx2
    """Return a transport that refuses forbidden addresses and responses that are too large.

    Args:
        transport: The transport that sends the requests.
        is_direct: Whether no proxy is used; a proxy looks the host up itself.
    """
    import httpx2

    reconnections = ReconnectionLimit()

    class LimitedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: Any, method: str, *, is_event_stream: bool) -> None:  # noqa: ANN401
            self._stream, self._method, self._is_event_stream = stream, method, is_event_stream
            self._start, self._is_empty = time.monotonic(), True

        @override
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size, value_counter = 0, _ValueCounter(is_event_stream=self._is_event_stream)
            async for chunk in self._stream:
                size += len(chunk)
                self._is_empty = False
                if size > MAX_RESPONSE_BYTES or value_counter.count(chunk) > _MAX_VALUES:
                    raise httpx2.ReadError("the response is too large")
                yield chunk

        @override
        async def aclose(self) -> None:
            reconnections.note_end(self._method, self._start, is_empty=self._is_empty)
            await self._stream.aclose()

    class LimitedTransport(httpx2.AsyncBaseTransport):
        @override
        async def handle_async_request(self, request: Any) -> Any:
            await reconnections.wait_until_allowed(request)
            if is_direct:
                await check_resolved(request.url.host)
            response = await transport.handle_async_request(request)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise httpx2.ReadError("the response is compressed")
            is_event_stream = response.headers.get("Content-Type", "").startswith(_EVENT_STREAM)
            response.stream = LimitedStream(
                response.stream, request.method, is_event_stream=is_event_stream
            )
            return response

        @override
        async def aclose(self) -> None:
            await transport.aclose()

    return LimitedTransport()
