"""An HTTP client for the SDK of MCP, which uses a library of its own, with our rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from typing_extensions import override

from gatewayx_nb.transport.client import MAX_RESPONSE_BYTES
from gatewayx_nb.transport.route import check_host, choose_proxy, ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayx_nb.secure_config import Network, Secret

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 600.0
"""Seconds without a byte; a server may hold a stream open, and calls have their own deadlines."""


def sdk_client(url: str, name: str, key: Secret, network: Network) -> Any:  # noqa: ANN401 - of httpx2
    """Return an ``httpx2.AsyncClient`` for one server.

    Args:
        url: The server's URL.
        name: The name in errors.
        key: Sent as a bearer token; none if empty.
        network: The proxy, the certificate authorities and the hosts that need no TLS.

    Raises:
        ConfigError: If the address is forbidden, the key would be sent without TLS, or a network
            setting is invalid.
    """
    import httpx2

    parts = urlsplit(url)
    check_host(parts, name, has_key=bool(key), allowed=network.plain_http)
    proxy = choose_proxy(parts, network, name)
    context = ssl_context(network.ca_bundle)
    route = None
    if proxy is not None:
        own = context if proxy.url.startswith("https:") else None
        route = httpx2.Proxy(proxy.url, headers=proxy.headers, ssl_context=own)
    transport = httpx2.AsyncHTTPTransport(verify=context, proxy=route)
    return httpx2.AsyncClient(
        transport=_limited(transport),
        headers={"Authorization": f"Bearer {str.__str__(key)}"} if key else {},
        timeout=httpx2.Timeout(_CONNECT_TIMEOUT, read=_READ_TIMEOUT),
        trust_env=False,
        follow_redirects=False,
    )


def _limited(transport: Any) -> Any:  # noqa: ANN401 - of httpx2
    """Return a transport that refuses answers of more than `MAX_RESPONSE_BYTES`."""
    import httpx2

    class LimitedStream(httpx2.AsyncByteStream):
        def __init__(self, stream: Any) -> None:  # noqa: ANN401
            self._stream = stream

        @override
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self._stream:
                size += len(chunk)
                if size > MAX_RESPONSE_BYTES:
                    raise httpx2.ReadError("the answer is too large")
                yield chunk

        @override
        async def aclose(self) -> None:
            await self._stream.aclose()

    class LimitedTransport(httpx2.AsyncBaseTransport):
        @override
        async def handle_async_request(self, request: Any) -> Any:
            response = await transport.handle_async_request(request)
            response.stream = LimitedStream(response.stream)
            return response

        @override
        async def aclose(self) -> None:
            await transport.aclose()

    return LimitedTransport()
