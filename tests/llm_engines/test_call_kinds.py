"""Every kind of call raises the same typed error for a fault."""

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

FIRST_EVENTS = CHAT.events[:2]

FAULTS = {
    "401": ([Send(reply(b"{}", 401))], AuthenticationError),
    "402": ([Send(reply(b"{}", 402))], QuotaError),
    "429": ([Send(reply(b"{}", 429, retry_after="0"))], RateLimitError),
    "500": ([Send(reply(b"{}", 500))], ProviderError),
    "an error in 200": ([Send(reply(CHAT.fault))], ProviderError),
    "HTML": ([Send(html())], ProviderError),
    "gzip": ([Send(gzipped())], ProviderError),
    "redirect": ([Send(redirect("http://127.0.0.1:9/"))], ProviderError),
    "reset before the response": ([Reset()], TransportError),
    "reset during the stream": (CHAT.stream(*FIRST_EVENTS, end=Reset()), TransportError),
    "end without a marker": (CHAT.stream(*FIRST_EVENTS), TruncatedError),
    "no response": ([Stall()], DeadlineError),
}


async def _collect(stream):
    return [chunk async for chunk in stream]


def _run_cell(pool, options):
    arguments = cell.read("grok", "x", {})
    arguments.options.update(options)
    AnswerRun(pool, arguments, QuietView(), lambda _: None).run()


CALLS = {
    "ask": lambda pool, options: pool.ask("x", model="grok", **options),
    "aask": lambda pool, options: asyncio.run(pool.aask("x", model="grok", **options)),
    "stream": lambda pool, options: list(pool.stream("x", model="grok", **options)),
    "astream": lambda pool, options: asyncio.run(_astream(pool, options)),
    "cell": _run_cell,
}


async def _astream(pool, options):
    return await _collect(pool.astream("x", model="grok", **options))


@pytest.mark.parametrize("call_kind", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_kind_of_call_raises_the_same_error(project, call_kind, fault):
    """A fault raises a one-line typed error with a hint, and the pool's next call works."""
    script, kind = FAULTS[fault]
    project.settings("limits.retries = 0")

    def answer(request):
        # By prompt, because a call with a short timeout may end before its request arrives.
        is_next = b"next" in request.body
        chosen = CHAT.answer if is_next else script
        return chosen(request) if callable(chosen) else chosen

    with Server(answer) as server:
        url = f"{server.url}/v1"
        project.set_keys(f"GATEWAYX_GROK_API_KEY=k\nGATEWAYX_GROK_BASE_URL={url}\n")
        with project.pool() as pool:
            with pytest.raises(kind) as caught:
                CALLS[call_kind](pool, {"timeout": 0.5 if fault == "no response" else 20})
            next_reply = pool.ask("next", model="grok")

    assert type(caught.value) is kind
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert next_reply.text
