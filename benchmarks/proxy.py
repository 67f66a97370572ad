"""Serves this package or a bare passthrough in front of a provider, for `serving.py`.

    python benchmarks/proxy.py gatewayx|passthrough PROVIDER_URL

It prints its URL and its token, and serves until its standard input ends.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from typing import TYPE_CHECKING

import aiohttp
from asgi_child import serve_until_input_ends
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

import gatewayx_nb as gx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

KEY = "k-0123456789"


def main() -> None:
    """Serve until the standard input ends."""
    kind, provider = sys.argv[1:]
    (_serve_gatewayx if kind == "gatewayx" else _serve_passthrough)(provider)


def _serve_gatewayx(provider: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        env = {
            "GATEWAYX_GROK_API_KEY": KEY,
            "GATEWAYX_GROK_BASE_URL": provider,
            "XDG_DATA_HOME": folder,
            "XDG_CONFIG_HOME": folder,
        }
        with gx.EnginePool(folder, env=env) as pool:
            server = gx.serve(pool)
            print(server.url, str(server.token), flush=True)
            sys.stdin.read()


def _serve_passthrough(provider: str) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as app.state.session:
            yield

    async def forward(request: Request) -> StreamingResponse:
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        response = await request.app.state.session.post(
            f"{provider}/chat/completions", data=await request.body(), headers=headers
        )
        return StreamingResponse(
            response.content.iter_any(), response.status, {"content-type": response.content_type}
        )

    route = Route("/v1/chat/completions", forward, methods=["POST"])
    app = Starlette(routes=[route], lifespan=lifespan)
    serve_until_input_ends(app, "none")


if __name__ == "__main__":
    main()
