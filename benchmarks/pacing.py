"""Measures how much of a provider's limit is used, and how many requests are refused.

    python benchmarks/pacing.py [--quick]

Servers of `counting_server.py` refuse requests that exceed their limit. This package, waiting out
rate limits, and the openai SDK with its default retries make a hundred calls at a time, each to its
own server. This package learns a limit that is not stated; it is then measured after two minutes.
The benchmark takes 12 minutes; ``--quick`` takes half a minute, in which little is learned.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import process
from contenders import KEY, MODEL, OURS
from counting_server import AT_ONCE, HALVED_AFTER, LATENCY, LIMITS, PER_SECOND, TOKENS_PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator

CONCURRENCY = 100
STATED = ("headers", "tokens")
SECONDS, SECONDS_LEARNED, LEARNED_AFTER = 40, 150, 120
QUICK_SECONDS = 3

SHORT, LONG = "word " * 40, "word " * 320
"""Prompts of 50 and 400 tokens; if tokens are limited, every eighth prompt is long."""


class Asker(Protocol):
    """Sends one prompt."""

    async def ask(self, prompt: str) -> None:
        """Wait for the answer."""
        ...


class Paced:
    """This package: calls that wait out rate limits, as the rows of a map do."""

    def __init__(self, url: str) -> None:
        from gatewayx_nb import EnginePool

        self._folder = tempfile.TemporaryDirectory(prefix="gatewayx-bench-")
        home = self._folder.name
        env = {"GATEWAYX_GROK_API_KEY": KEY, "GATEWAYX_GROK_BASE_URL": url, "XDG_CONFIG_HOME": home}
        self._pool = EnginePool(home=home, env=env)

    async def ask(self, prompt: str) -> None:
        """Make the call on the engine's loop."""
        from gatewayx_nb.engine_pool.call import EngineCall
        from gatewayx_nb.messages import Message, Request

        pool = self._pool
        target = pool._registry.resolve(f"grok:{MODEL}")  # noqa: SLF001 - `map` is not in the pool
        call = EngineCall(
            pool._runtime.host(target),  # noqa: SLF001
            target,
            Request((Message("user", prompt),), MODEL),
            pool._config.settings.limits,  # noqa: SLF001
            pool._usage,  # noqa: SLF001
            waits_out_rate_limits=True,
        )
        await call.portal.arun(call.run())


class Gathered:
    """The openai SDK with its default retries."""

    def __init__(self, url: str) -> None:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(base_url=url, api_key=KEY)

    async def ask(self, prompt: str) -> None:
        """Await the completion."""
        message = {"role": "user", "content": prompt}
        await self._client.chat.completions.create(model=MODEL, messages=[message])


ASKERS = {OURS: Paced, "openai, gather": Gathered}


@dataclass(frozen=True, slots=True)
class Result:
    """What a server counted.

    Attributes:
        used: Fraction of the limit that was used.
        refused: Fraction of the requests that was refused.
        lost: Number of calls that failed.
    """

    used: float
    refused: float
    lost: int


@contextlib.contextmanager
def counting(kind: str) -> Iterator[str]:
    """Run a counting server and yield its root URL."""
    server = process.start("counting_server.py", kind)
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.communicate()


async def ask_for(asker: Asker, kind: str, seconds: float) -> int:
    """Make calls for some seconds, a hundred at a time; return how many failed."""
    prompts = itertools.cycle([SHORT] * 7 + [LONG] if kind == "tokens" else [SHORT])
    lost = 0

    async def ask_in_turn() -> None:
        nonlocal lost
        for prompt in prompts:
            try:
                await asker.ask(prompt)
            except Exception:  # noqa: BLE001 - every package has its own errors
                lost += 1

    tasks = [asyncio.create_task(ask_in_turn()) for _ in range(CONCURRENCY)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return lost


def limit_of(kind: str, since: int) -> float:
    """Return the requests or tokens per second that a server allows after ``since`` seconds."""
    if kind == "halved":
        return PER_SECOND / 2 if since >= HALVED_AFTER else PER_SECOND
    return {"tokens": TOKENS_PER_SECOND, "at-once": AT_ONCE / LATENCY}.get(kind, PER_SECOND)


async def measure(name: str, kind: str, seconds: range) -> Result:
    """Start a server, let an asker call it, and return what it counted in ``seconds``."""
    with counting(kind) as root:
        # The server counts seconds from the first request, before which the client must start.
        lost = await ask_for(ASKERS[name](f"{root}/v1"), kind, seconds.stop + 1)
        return _result(root, kind, seconds, lost)


def _result(root: str, kind: str, seconds: range, lost: int) -> Result:
    with urllib.request.urlopen(f"{root}/counts") as answer:
        counts = json.load(answer)
    accepted, refused = (
        sum(counts[name].get(str(second), 0) for second in seconds)
        for name in ("accepted", "refused")
    )
    used = accepted / (limit_of(kind, seconds.start) * len(seconds))
    # A request has 94 tokens on average.
    requests = accepted / (93.75 if kind == "tokens" else 1)
    return Result(used, refused / max(1.0, requests + refused), lost)


def seconds_of(name: str, kind: str, *, is_quick: bool) -> range:
    """Return the seconds of a run that are measured, counted from the first request."""
    if is_quick:
        return range(QUICK_SECONDS)
    if kind in STATED or (name != OURS and kind != "halved"):
        return range(SECONDS)
    return range(LEARNED_AFTER, SECONDS_LEARNED)


async def report(*, is_quick: bool) -> None:
    """Measure each kind of server, and print a row for each asker."""
    print(f"{CONCURRENCY} calls at a time, {LATENCY * 1000:.0f} ms each")
    for kind, description in LIMITS.items():
        print(f"\n{description:44} used   refused   calls lost")
        for name in ASKERS:
            result = await measure(name, kind, seconds_of(name, kind, is_quick=is_quick))
            shares = f"{result.used:6.1%}   {result.refused:7.2%}"
            print(f"  {name:40} {shares}   {result.lost:10,}", flush=True)
    os._exit(0)  # exit without closing the clients' connections, which would warn


if __name__ == "__main__":
    asyncio.run(report(is_quick="--quick" in sys.argv))
