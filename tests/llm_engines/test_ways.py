"""Every fault, in every way of calling, raises the same typed error."""

import asyncio

import pytest

from gatewayx_nb.display import QuietView
from gatewayx_nb.errors import (
    AuthenticationError,
    DeadlineError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TransportError,
    TruncatedError,
)
from gatewayx_nb.magics import cell
from gatewayx_nb.magics.cell_run import AnswerRun
from gatewayx_nb.testing import CHAT, Reset, Send, Server, Stall, gzipped, html, redirect, reply

HALF = CHAT.events[:2]

FAULTS = {
    "401": ([Send(reply(b"{}", 401))], AuthenticationError),
    "402": ([Send(reply(b"{}", 402))], QuotaError),
    "429": ([Send(reply(b"{}", 429, retry_after="99"))], RateLimitError),
    "500": ([Send(reply(b"{}", 500))], ProviderError),
    "an error in 200": ([Send(reply(CHAT.fault))], ProviderError),
    "a page": ([Send(html())], ProviderError),
    "compressed": ([Send(gzipped())], ProviderError),
    "elsewhere": ([Send(redirect("http://127.0.0.1:9/"))], ProviderError),
    "reset at once": ([Reset()], TransportError),
    "reset midway": (CHAT.stream(*HALF, end=Reset()), TransportError),
    "ended midway": (CHAT.stream(*HALF), TruncatedError),
    "silent": ([Stall()], DeadlineError),
}


async def _each(stream):
    return [chunk async for chunk in stream]


def _ask_cell(pool, options):
    arguments = cell.read("grok", "x", {})
    arguments.options.update(options)
    AnswerRun(pool, arguments, QuietView(), lambda _: None).run()


WAYS = {
    "ask": lambda pool, options: pool.ask("x", model="grok", **options),
    "aask": lambda pool, options: asyncio.run(pool.aask("x", model="grok", **options)),
    "stream": lambda pool, options: list(pool.stream("x", model="grok", **options)),
    "astream": lambda pool, options: asyncio.run(_astream(pool, options)),
    "cell": _ask_cell,
}


async def _astream(pool, options):
    return await _each(pool.astream("x", model="grok", **options))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_the_same_error_in_every_way(project, way, fault):
    """The error is typed, one line with a hint, and the next call on the pool works."""
    script, kind = FAULTS[fault]
    project.settings("limits.retries = 0")
    with Server(script, CHAT.answer) as server:
        url = f"{server.url}/v1"
        project.set_keys(f"GATEWAYX_GROK_API_KEY=k\nGATEWAYX_GROK_BASE_URL={url}\n")
        with project.pool() as pool:
            with pytest.raises(kind) as caught:
                WAYS[way](pool, {"timeout": 0.5 if fault == "silent" else 20})
            after = pool.ask("x", model="grok")

    assert type(caught.value) is kind
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert after.text
