"""The application: routes and error handlers, all with JSON responses."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from gatewayx_nb import engine_pool
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.files import find_project, user_config_dir
from gatewayx_nb.server.loopback import LoopbackOnly
from gatewayx_nb.server.responses import error_response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
        rows = to_builtins(pool().status())
        return json_response({"engines": rows}, hidden_folders=_known_folders(pool))

    def security(_: Request) -> Response:
        status = pool().security_status().to_json()
        return json_response(status, hidden_folders=_known_folders(pool))

    def gateway_error(_: Request, error: Exception) -> Response:
        """Respond with the error and its fix; usually, a settings file is unreadable."""
        assert isinstance(error, GatewayError)  # noqa: S101 - registered for this class
        folders = _known_folders(pool)
        return error_response(500, error.message, str(error.hint or ""), hidden_folders=folders)

    app = Starlette(
        routes=[Route("/engines/status", engines), Route("/security/status", security)],
        middleware=[Middleware(LoopbackOnly)],
        exception_handlers={
            HTTPException: _handle_http_error,
            GatewayError: gateway_error,
            Exception: _handle_unexpected_error,
        },
    )
    app.router.redirect_slashes = False  # a redirect would not be JSON
    return app


def _known_folders(pool: Callable[[], EnginePool]) -> set[str]:
    """Return the folders of the project, the user, the environment and this package."""
    roots = [Path.home(), Path(__file__).parents[2]]
    env: Mapping[str, str] = os.environ
    try:
        config = pool().config
        env, folders = config.env, config.config_dirs
    except GatewayError:  # without valid settings, there is no pool
        folders = (user_config_dir(env),)
        with contextlib.suppress(GatewayError):
            folders += tuple(filter(None, [find_project(env)]))
    roots += [folder.root for folder in folders]
    configured_folders = [
        env.get("GATEWAYX_HOME", ""),
        *env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep),
    ]
    roots += [Path(name).expanduser().absolute() for name in configured_folders if name]
    forms = [form for root in roots for form in (str(root), os.path.realpath(root))]
    return {form for form in forms if form != Path(form).anchor}


def _handle_http_error(_: Request, error: Exception) -> Response:
    """Respond to an unknown path or to a method other than GET."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    return error_response(error.status_code, error.detail, headers=error.headers)


def _handle_unexpected_error(_: Request, error: Exception) -> Response:
    """Respond without the text of an unexpected error, which is in the server's log."""
    # The text may contain a path or a key.
    return error_response(500, f"{type(error).__name__}; see the server's log.")


app = build(engine_pool.pool)
