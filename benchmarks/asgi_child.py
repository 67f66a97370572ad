"""Serves an ASGI application in a child process, for the benchmark `serving.py`."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve_until_input_ends(app: ASGIApp, token: str) -> None:
    """Print the URL of a free port and the token, and serve until the standard input ends."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(f"http://127.0.0.1:{listener.getsockname()[1]} {token}", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the application may print a banner
    config = uvicorn.Config(app, log_level="critical", access_log=False)
    asyncio.run(_serve(uvicorn.Server(config), listener))


async def _serve(server: uvicorn.Server, listener: socket.socket) -> None:
    serving = asyncio.create_task(server.serve([listener]))
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving
