"""Runs the server of a notebook in a thread of the kernel."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING

import uvicorn
from typing_extensions import override

from gatewayx_nb.engine_pool import pool_getter
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secrets import MASK, NotPicklable
from gatewayx_nb.server.app import build
from gatewayx_nb.server.token import new_token
from gatewayx_nb.server.uvicorn_settings import HOST, SHUTDOWN_TIMEOUT, THREAD, uvicorn_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.engine_pool import EnginePool

_EXIT_TIMEOUT = 1.0
"""Maximum number of seconds to wait for the server's thread at exit; 0.1 s usually suffices."""


class ClientOptions(dict[str, str]):
    """The keyword arguments of a client, whose ``repr`` shows neither the port nor the token."""

    @override
    def __repr__(self) -> str:
        return f"{{'base_url': 'http://{HOST}:…', 'api_key': {MASK}}}"


class NotebookServer(NotPicklable):
    """A local server in the kernel; see `serve`.

    Attributes:
        token: The token that requests must have; it is valid until the server is closed.
    """

    def __init__(self, pool: Callable[[], EnginePool]) -> None:
        self.token = new_token()
        # With another protocol number, asyncio does not disable Nagle's algorithm, and each answer
        # takes 40 ms longer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind((HOST, 0))
        self._socket.listen(2048)  # clients can connect while the thread starts
        self._port = self._socket.getsockname()[1]
        app = build(pool, lambda: self.token)
        self._uvicorn = uvicorn.Server(uvicorn_settings(app))
        self._process = os.getpid()
        # The thread is a daemon, so that the kernel ends even if a client keeps a stream open.
        self._thread = threading.Thread(target=self._run_server, name=THREAD, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The root URL; each server has its own port."""
        return f"http://{HOST}:{self._port}"

    @property
    def openai(self) -> ClientOptions:
        """``base_url`` and ``api_key`` of clients for OpenAI's APIs."""
        return ClientOptions(base_url=f"{self.url}/v1", api_key=self.token)

    @property
    def anthropic(self) -> ClientOptions:
        """``base_url`` and ``api_key`` of clients for Anthropic's API."""
        return ClientOptions(base_url=self.url, api_key=self.token)

    @property
    def is_running(self) -> bool:
        """Whether the server is running in this process; a forked process has no server."""
        has_thread = self._process == os.getpid() and self._thread.is_alive()
        return has_thread and not self._uvicorn.should_exit

    def close(self) -> None:
        """Stop the server; requests in progress have 10 s to finish."""
        self._uvicorn.should_exit = True
        if self._process == os.getpid():
            self._thread.join(SHUTDOWN_TIMEOUT + 1)
        atexit.unregister(self.stop_at_exit)  # the callback would keep the server and pool alive

    def stop_at_exit(self) -> None:
        """Stop the server without waiting for the requests in progress."""
        self._uvicorn.force_exit = self._uvicorn.should_exit = True
        if self._process == os.getpid():
            self._thread.join(_EXIT_TIMEOUT)

    @override
    def __repr__(self) -> str:
        return f"NotebookServer({'running' if self.is_running else 'stopped'})"

    def _run_server(self) -> None:
        with contextlib.suppress(SystemExit):  # Uvicorn raises it if it cannot start
            asyncio.run(self._uvicorn.serve([self._socket]))
        self._socket.close()


_running_server: NotebookServer | None = None
_lock = threading.Lock()


def serve(pool: EnginePool | None = None) -> NotebookServer:
    """Start a server for other libraries in this notebook, or return the running one.

    The server answers in the formats of OpenAI's and Anthropic's APIs, on a free port of this
    machine, with the keys, settings, budget and cassette of the pool. It ends with the process.

    See also: the guide ``other-libraries``.

    >>> import gatewayx_nb as gx, openai
    >>> server = gx.serve()
    >>> client = openai.OpenAI(**server.openai)
    >>> messages = [{"role": "user", "content": "Say this"}]
    >>> client.chat.completions.create(model="mock", messages=messages).choices[0].message.content
    '[mock] Say this'

    Args:
        pool: The pool that makes the calls; a new server is started for it. The default pool if
            omitted.

    Raises:
        UsageError: If ``pool`` is not an `EnginePool`.
        ConfigError: If the extra ``server`` is not installed, or the server cannot start.
    """
    if pool is not None:
        return _start_server(pool_getter(pool))
    global _running_server  # noqa: PLW0603 - one server for the default pool
    with _lock:
        if _running_server is None or not _running_server.is_running:
            _running_server = _start_server(pool_getter(None))
        return _running_server


def _start_server(pool: Callable[[], EnginePool]) -> NotebookServer:
    try:
        server = NotebookServer(pool)
    except OSError as error:
        raise ConfigError(f"the server cannot start: {error.strerror}.") from None
    atexit.register(server.stop_at_exit)
    return server
