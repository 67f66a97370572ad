"""Creates and stores the server's bearer token, and checks the token of each request."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.websockets import WebSocketClose

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    open_private,
    quoted_path,
    restrict_to_owner,
    user_config_dir,
    write_errors_as_config_error,
)
from gatewayx_nb.secrets import Secret
from gatewayx_nb.secure_config import make_secrets_folder
from gatewayx_nb.server.api_errors import NO_RETRY
from gatewayx_nb.server.json_response import json_response

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

_FILE_NAME = "server_token"

STATUS_PATHS = frozenset({"/health", "/engines/status", "/security/status"})
"""Paths that need no token, unless other machines can connect."""

_MIN_TOKEN_LENGTH, _MAX_TOKEN_LENGTH = 20, 500


def new_token() -> Secret:
    """Return a random token."""
    return Secret(f"gx-{secrets.token_urlsafe(32)}")


def stored_token(env: Mapping[str, str]) -> tuple[Secret, bool]:
    """Return the token in the user's folder, and whether it has just been created.

    Args:
        env: The environment, which may set the user's folder.

    Raises:
        ConfigError: If the file cannot be read or written, or does not contain a valid token.
    """
    path = user_config_dir(env).keys.parent / _FILE_NAME
    with write_errors_as_config_error(path, "Make the folder writable."):
        make_secrets_folder(path.parent)
        token = new_token()
        is_new = _write_new(path, token)
    return (token if is_new else _read_token(path)), is_new


def _write_new(path: Path, token: str) -> bool:
    """Write a file that only its owner can read, unless it exists; return whether it is new."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        return False
    try:
        with open(handle, "w", encoding="ascii") as file:  # noqa: PTH123 - a file descriptor
            file.write(f"{token}\n")
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return True


def _read_token(path: Path) -> Secret:
    handle = open_private(path, is_own=True)
    with open(handle, "rb") as file:  # noqa: PTH123 - a file descriptor
        restrict_to_owner(file.fileno(), path)
        text = file.read(_MAX_TOKEN_LENGTH + 1).decode("ascii", "replace").strip()
    is_token = text.isascii() and text.isprintable() and " " not in text
    if not (is_token and _MIN_TOKEN_LENGTH <= len(text) <= _MAX_TOKEN_LENGTH):
        raise ConfigError(
            f"{str(path)!r} does not contain a valid token.",
            hint=f"Remove the file with `rm {quoted_path(path)}`; the server then creates one.",
        )
    return Secret(text)


class TokenMiddleware:
    """Middleware that refuses requests without the token, whether or not their path exists.

    Args:
        app: The application.
        get_token: Returns the token; called for each request that needs it.
        open_paths: The paths that need no token.
    """

    def __init__(
        self, app: ASGIApp, get_token: Callable[[], str], open_paths: Collection[str] = STATUS_PATHS
    ) -> None:
        self._app, self._get_token, self._open_paths = app, get_token, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection or refuse it."""
        if scope["type"] == "lifespan" or self._is_admitted(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            error = {
                "message": "The server token is missing or invalid.",
                "hint": "Send it as `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`.",
                "type": "authentication_error",
                "param": None,
                "code": "invalid_api_key",
            }
            # Anthropic's SDK reads the outer `type`.
            content = {"type": "error", "error": error}
            headers = {"WWW-Authenticate": "Bearer", **NO_RETRY}
            await json_response(content, 401, headers)(scope, receive, send)

    def _is_admitted(self, scope: Scope) -> bool:
        # This is the path that the router uses, so any path that is not listed needs the token.
        if scope["path"] in self._open_paths:
            return True
        headers = Headers(scope=scope)
        tokens = [
            *map(_bearer_token, headers.getlist("authorization")),
            *headers.getlist("x-api-key"),
        ]
        # All tokens must match, so that a proxy and this server cannot use different ones.
        return bool(tokens) and all(self._is_token(value) for value in tokens)

    def _is_token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode(), str(self._get_token()).encode())


def _bearer_token(header: str) -> str:
    scheme, _, value = header.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""
