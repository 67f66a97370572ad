"""Controls access by the addresses of a connection, and by its Host and Origin headers.

A page on any site can make a browser send requests to 127.0.0.1, and a site whose name resolves to
that address (DNS rebinding) can read the responses. But such a page cannot send a Host or Origin
other than its own. Responses have no CORS headers, so a page from another port cannot read them
either.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.websockets import WebSocketClose
from typing_extensions import override

from gatewayx_nb.server.json_response import error_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_HOST_PATTERN = r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?"
_LOOPBACK_HOST = re.compile(_HOST_PATTERN, re.IGNORECASE)
_LOOPBACK_ORIGIN = re.compile(rf"https?://{_HOST_PATTERN}", re.IGNORECASE)


class OriginMiddleware:
    """Middleware that refuses requests from pages of other origins before routing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection or refuse it."""
        refusal = None if scope["type"] == "lifespan" else self._refusal(scope)
        app: ASGIApp = self._app
        if refusal is not None:
            app = WebSocketClose() if scope["type"] == "websocket" else refusal
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the response that refuses a request, or ``None`` to admit the request."""
        origins = Headers(scope=scope).getlist("origin")
        if not all(map(_LOOPBACK_ORIGIN.fullmatch, origins)):
            return error_response(403, "Requests from pages of other origins are not allowed.")
        return None


class LoopbackMiddleware(OriginMiddleware):
    """Middleware that also refuses all requests from outside this machine."""

    @override
    def _refusal(self, scope: Scope) -> Response | None:
        if not (_is_loopback(scope.get("server")) and _is_loopback(scope.get("client"))):
            return error_response(
                403,
                "Only connections from this machine are accepted.",
                "Bind the server to 127.0.0.1.",
            )
        hosts = Headers(scope=scope).getlist("host")
        # Two Host headers are invalid (RFC 9112), and servers disagree on which one to use.
        if len(hosts) != 1 or not _LOOPBACK_HOST.fullmatch(hosts[0]):
            return error_response(
                421, "Host must name this machine.", "Use 127.0.0.1 or localhost."
            )
        return super()._refusal(scope)


def _is_loopback(endpoint: Sequence[object] | None) -> bool:
    """Return whether an endpoint of a connection (address and port) is on this machine."""
    return _is_loopback_address(str(endpoint[0])) if endpoint else False


@functools.lru_cache(64)
def _is_loopback_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    ipv4_address = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, on a dual-stack socket
    return bool((ipv4_address or address).is_loopback)
