"""Lets in only what was asked on this machine, by a program or a page of this machine.

A page of any site can make a browser send requests to 127.0.0.1; and a site whose name is pointed
there (DNS rebinding) can read the answers. What it cannot do is send another Host or Origin than
its own. There are no CORS headers: a page of another port cannot read the answers either.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.websockets import WebSocketClose

from gatewayx_nb.server.answers import fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?"
_LOOPBACK_HOST = re.compile(_HOST, re.IGNORECASE)
_LOOPBACK_ORIGIN = re.compile(rf"https?://{_HOST}", re.IGNORECASE)


class LoopbackOnly:
    """Refuses every request that is not of this machine, before any route sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, or refuse it."""
        refusal = None if scope["type"] == "lifespan" else _refusal(scope)
        answer: ASGIApp = self._app
        if refusal is not None:
            answer = WebSocketClose() if scope["type"] == "websocket" else refusal
        await answer(scope, receive, send)


def _refusal(scope: Scope) -> Response | None:
    """Give the answer to a request that is not let in."""
    if not (_is_loopback(scope.get("server")) and _is_loopback(scope.get("client"))):
        return fault(403, "only this machine is answered.", "Bind the server to 127.0.0.1.")
    headers = Headers(scope=scope)
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    if len(hosts) != 1 or not _LOOPBACK_HOST.fullmatch(hosts[0]):
        return fault(421, "the Host is not of this machine.", "Ask 127.0.0.1 or localhost.")
    if not all(map(_LOOPBACK_ORIGIN.fullmatch, origins)):
        return fault(403, "pages of other origins are not answered.")
    return None


def _is_loopback(end: Sequence[object] | None) -> bool:
    """Tell whether an end of a connection, an address and a port, is on this machine."""
    try:
        address = ipaddress.ip_address(str(end[0])) if end else None
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, on a socket that takes both
    return address is not None and bool((mapped or address).is_loopback)
