"""The application: routes and error handlers, all with JSON responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import to_builtins
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from gatewayx_nb import engine_pool
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.server.loopback import LoopbackOnly
from gatewayx_nb.server.responses import error_response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from gatewayx_nb.engine_pool import EnginePool


def build(pool: Callable[[], EnginePool]) -> Starlette:
    """Build the application.

    The routes are plain functions that run in threads, because the pool blocks. Each request checks
    for changed files, so that engines are added and removed without a restart.

    Args:
        pool: Returns the pool; called for each request.
    """

    def engines(_: Request) -> Response:
        return json_response({"engines": to_builtins(pool().status())})

    def security(_: Request) -> Response:
        return json_response(pool().security_status().to_json())

    app = Starlette(
        routes=[Route("/engines/status", engines), Route("/security/status", security)],
        middleware=[Middleware(LoopbackOnly)],
        exception_handlers={
            HTTPException: _handle_http_error,
            GatewayError: _handle_gateway_error,
            Exception: _handle_unexpected_error,
        },
    )
    app.router.redirect_slashes = False  # a redirect would not be JSON
    return app


def _handle_http_error(_: Request, error: Exception) -> Response:
    """Respond to an unknown path or to a method other than GET."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    return error_response(error.status_code, error.detail, headers=error.headers)


def _handle_gateway_error(_: Request, error: Exception) -> Response:
    """Respond with the error and its fix; usually a settings file is unreadable."""
    assert isinstance(error, GatewayError)  # noqa: S101 - registered for this class
    return error_response(500, error.message, str(error.hint or ""))


def _handle_unexpected_error(_: Request, error: Exception) -> Response:
    """Respond without the text of an unexpected error, which is in the server's log."""
    # The text may contain a path or a key.
    return error_response(500, f"{type(error).__name__}; see the server's log.")


app = build(engine_pool.pool)
