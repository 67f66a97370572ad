"""Runs the standalone server until it is stopped."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, NoReturn

import uvicorn

from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.server.app import build, stored_token_shown_once
from gatewayx_nb.server.uvicorn_settings import HOST, uvicorn_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from gatewayx_nb.engine_pool import EnginePool

PORT = 3001

_MAX_PORT = 65_535

_SIGTERM_STATUS = 128 + signal.SIGTERM
"""The exit status of a process that was ended by SIGTERM."""


def serve_forever(pool: EnginePool, host: str = HOST, port: int = PORT) -> None:
    """Serve until SIGINT (Ctrl-C) or SIGTERM; open streams then have 10 s to end.

    Args:
        pool: The pool that makes the calls.
        host: The address; unless it is a loopback address, other machines can connect.
        port: The port; 0 chooses a free port.

    Raises:
        UsageError: If the port is not a number from 0 to 65,535.
        ConfigError: If the server cannot use the address or the port, or cannot read its token.
        KeyboardInterrupt: After Ctrl-C.
        SystemExit: After SIGTERM.
    """
    if not 0 <= port <= _MAX_PORT:
        raise UsageError(f"the port must be a number from 0 to 65,535, got {port}.")
    with contextlib.closing(_listen(host, port)) as listener:
        token = stored_token_shown_once()
        is_public = not _is_loopback(listener)
        app = build(lambda: pool, lambda: token, is_public=is_public)
        actual_host, actual_port = listener.getsockname()[:2]
        url_host = f"[{actual_host}]" if ":" in actual_host else actual_host
        if is_public:
            sys.stderr.write("Warning: other machines can connect, and there is no TLS.\n")
        sys.stderr.write(f"Serving on http://{url_host}:{actual_port}. Press Ctrl-C to stop.\n")
        sys.stderr.flush()
        with _exit_at_sigterm():
            logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
            uvicorn.Server(uvicorn_settings(app, is_public=is_public)).run([listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio disables Nagle's algorithm only for this protocol number.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":  # elsewhere, the option would allow two servers on one port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} is in use.",
                hint="Choose another port with `--port`; `--port 0` chooses any free port.",
            ) from None
        reason = getattr(error, "strerror", None) or "it is not an address"
        raise ConfigError(
            f"the server cannot use the address {host!r}, port {port}: {reason}."
        ) from None
    return listener


def _is_loopback(listener: socket.socket) -> bool:
    host: str = listener.getsockname()[0]
    return host.startswith("127.") or host == "::1"


@contextlib.contextmanager
def _exit_at_sigterm() -> Iterator[None]:
    """Raise `SystemExit` at SIGTERM in the ``with`` block, so that the pool is closed."""

    # Uvicorn replaces the handler while it runs, and calls it after the last stream.
    def stop(_: int, __: FrameType | None) -> NoReturn:
        raise SystemExit(_SIGTERM_STATUS)

    previous_handler = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous_handler)
