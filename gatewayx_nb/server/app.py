"""Builds the ASGI application, with its routes, access control and error responses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from gatewayx_nb import engine_pool
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.server.api_errors import NO_RETRY, APIError, describe, error_location
from gatewayx_nb.server.chat_completions_api import ChatCompletionsAPI
from gatewayx_nb.server.embeddings_api import embed, read_embedding_request
from gatewayx_nb.server.hidden_paths import known_folders, without_keys
from gatewayx_nb.server.inference import ModelAPI, ModelEndpoint, until_disconnected
from gatewayx_nb.server.json_request import read_request
from gatewayx_nb.server.json_response import error_response, json_response
from gatewayx_nb.server.loopback import LoopbackMiddleware, OriginMiddleware
from gatewayx_nb.server.messages_api import MessagesAPI, count_tokens
from gatewayx_nb.server.model_list import describe_model, list_models
from gatewayx_nb.server.responses_api import ResponsesAPI
from gatewayx_nb.server.token import STATUS_PATHS, TokenMiddleware, stored_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from gatewayx_nb.engine_pool import EnginePool

log = logging.getLogger(__name__)

_MODEL_APIS: Mapping[str, ModelAPI] = {
    "chat/completions": ChatCompletionsAPI(),
    "responses": ResponsesAPI(),
    "messages": MessagesAPI(),
}
"""The APIs for models, by path below ``/v1``."""


def build(
    pool: Callable[[], EnginePool],
    token: Callable[[], str],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
    *,
    is_public: bool = False,
) -> Starlette:
    """Build the application.

    Changes to files take effect within a second, so engines can be added and removed without a
    restart.

    Args:
        pool: Returns the pool; called for each request.
        token: Returns the token that requests to models must have.
        lifespan: The application's lifespan context manager; ``None`` if it needs none.
        is_public: Whether other machines may connect; every path then needs the token.
    """
    routes = _Routes(pool)
    app = Starlette(
        # Routes are tried in turn, so the most frequently used ones come first.
        routes=[
            *(
                Route(f"/v1/{path}", ModelEndpoint(api, pool), methods=["POST"])
                for path, api in _MODEL_APIS.items()
            ),
            Route("/health", routes.health),
            Route("/engines/status", routes.engines),
            Route("/security/status", routes.security),
            Route("/v1/models", routes.models),
            Route("/v1/models/{name:path}", routes.model),
            Route("/v1/embeddings", routes.embeddings, methods=["POST"]),
            Route("/v1/messages/count_tokens", routes.message_tokens, methods=["POST"]),
        ],
        middleware=[
            Middleware(_UnexpectedErrorMiddleware),
            Middleware(OriginMiddleware if is_public else LoopbackMiddleware),
            Middleware(TokenMiddleware, token, open_paths=() if is_public else STATUS_PATHS),
        ],
        exception_handlers={
            HTTPException: _handle_http_error,
            GatewayError: routes.handle_gateway_error,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would not be JSON
    return app


class _Routes:
    """Handlers of all routes except those of `ModelEndpoint`.

    Starlette runs the synchronous handlers in a thread pool, because they block.
    """

    def __init__(self, pool: Callable[[], EnginePool]) -> None:
        self._pool = pool

    def health(self, _: Request) -> Response:
        """Respond that the server is running; no engine is checked."""
        return json_response({"status": "ok"})

    def engines(self, _: Request) -> Response:
        """Respond with the status of the engines."""
        rows = to_builtins(self._pool().status())
        return json_response({"engines": rows}, hidden_folders=known_folders(self._pool))

    def security(self, _: Request) -> Response:
        """Respond with the sources of the keys, without any part of a key."""
        status = self._pool().security_status().to_json()
        return json_response(status, hidden_folders=known_folders(self._pool))

    def models(self, request: Request) -> Response:
        """Respond with the models that can be called."""
        return json_response(list_models(self._pool(), anthropic=_is_anthropic(request)))

    def model(self, request: Request) -> Response:
        """Respond with one model."""
        name = request.path_params["name"]
        model_info = describe_model(self._pool(), name, anthropic=_is_anthropic(request))
        return json_response(model_info)

    async def embeddings(self, request: Request) -> Response:
        """Respond with embeddings."""
        embedding_request = await read_request(
            request.scope, request.receive, read_embedding_request
        )
        bodies: list[bytes] = []

        async def answer() -> None:
            bodies.append(await embed(self._pool(), embedding_request))

        await until_disconnected(request.receive, answer())
        return json_response(b"".join(bodies))

    async def message_tokens(self, request: Request) -> Response:
        """Respond with an estimate of the tokens in a request to the Messages API."""
        body = await read_request(request.scope, request.receive, lambda fields: fields)
        # Reading images and loading the engine's code are slow.
        tokens = await asyncio.to_thread(lambda: count_tokens(self._pool(), body))
        return json_response({"input_tokens": tokens})

    async def handle_gateway_error(self, request: Request, error: Exception) -> Response:
        """Respond with the error and its hint."""
        assert isinstance(error, GatewayError)  # noqa: S101 - registered for this class
        api_error = describe(error)
        message = without_keys(api_error.message, self._pool)
        content = _api_error_body(request, replace(api_error, message=message)) or {
            "error": {
                "message": without_keys(error.message, self._pool),
                "hint": str(error.hint or ""),
            }
        }
        folders = known_folders(self._pool)
        return json_response(content, api_error.status, api_error.headers, folders)


def _is_anthropic(request: Request) -> bool:
    is_messages_path = request.url.path.startswith("/v1/messages")
    return is_messages_path or "anthropic-version" in request.headers


def _api_error_body(request: Request, error: APIError) -> dict[str, Any] | None:
    """Return the body of an error in the format of the path's API; ``None`` outside ``/v1``."""
    if not request.url.path.startswith("/v1/"):
        return None
    return error.anthropic if _is_anthropic(request) else error.openai


def _handle_http_error(request: Request, error: Exception) -> Response:
    """Respond to an unknown path or to a method that the path does not have."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    headers = {**(error.headers or {}), **NO_RETRY}
    if content := _api_error_body(request, APIError(error.status_code, error.detail)):
        return json_response(content, error.status_code, headers)
    return error_response(error.status_code, error.detail, headers=headers)


class _UnexpectedErrorMiddleware:
    """Middleware that responds to an unexpected error, and logs it without its text.

    Starlette's own middleware would pass the error on to the server, which would log the error's
    text, possibly with a prompt or a key.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            if scope["type"] != "http":
                raise
            log.error("A request failed: %s", error_location(error))  # noqa: TRY400 - without the text
            api_error = describe(error)
            response = error_response(500, api_error.message, headers=api_error.headers)
            await response(scope, receive, send)


@functools.cache
def stored_token_shown_once() -> str:
    """Return the server token of this user; show it if it has just been created."""
    token, is_new = stored_token(os.environ)
    if is_new:
        sys.stderr.write(f"Server token (shown only once): {token!s}\n")
    return token


@contextlib.asynccontextmanager
async def _with_token(_: Starlette) -> AsyncIterator[None]:
    """Create the token at the start, so that it is shown before the first request."""
    try:
        stored_token_shown_once()
    except GatewayError as error:  # the status can be read without a token
        sys.stderr.write(f"{error}\n")
    yield


app = build(engine_pool.pool, stored_token_shown_once, lifespan=_with_token)
