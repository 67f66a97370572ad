"""The cost of the local server, compared with a bare passthrough and with no server.

    python benchmarks/serving.py [--quick]

A loopback provider answers immediately. The passthrough forwards bytes with the same HTTP libraries
(Starlette, Uvicorn, aiohttp), without parsing them. The client is a process of its own; the ways
take turns in each round, and the medians of the rounds are reported: the time of a call that is
alone, calls per second with 16 in flight, and the server's CPU time for a whole answer and for a
stream of 64 chunks. It takes about a minute; ``--quick`` takes ten seconds and is less precise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

IN_FLIGHT = 16

WHOLE = {"messages": [{"role": "user", "content": "wait=0"}]}
STREAM = {"messages": [{"role": "user", "content": "events=64 each=1"}], "stream": True}


@dataclass
class Way:
    """A way to call the provider, and its figures by round."""

    name: str
    url: str
    token: str
    model: str
    server: subprocess.Popen[str] | None
    alone: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    whole_cpu: list[float] = field(default_factory=list)
    stream_cpu: list[float] = field(default_factory=list)

    def cpu(self) -> float:
        """Return the CPU seconds of the server so far."""
        if self.server is None:
            return 0.0
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def call(session: aiohttp.ClientSession, way: Way, body: dict[str, object]) -> float:
    """Make a call and return its seconds."""
    headers = {"authorization": f"Bearer {way.token}"}
    started = time.perf_counter()
    async with session.post(
        f"{way.url}/chat/completions", json={"model": way.model, **body}, headers=headers
    ) as response:
        await response.read()
        response.raise_for_status()
    return time.perf_counter() - started


async def measure(way: Way, count: int) -> None:
    """Add the figures of one round."""
    async with aiohttp.ClientSession() as session:
        await call(session, way, WHOLE)
        way.alone += [await call(session, way, WHOLE) for _ in range(count // 4)]
        way.whole_cpu.append(await _burst(session, way, WHOLE, count))
        way.stream_cpu.append(await _burst(session, way, STREAM, count // 5))


async def _burst(
    session: aiohttp.ClientSession, way: Way, body: dict[str, object], count: int
) -> float:
    """Make calls with several in flight, and return the server's CPU seconds for each."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def limited() -> None:
        async with slots:
            await call(session, way, body)

    before, started = way.cpu(), time.perf_counter()
    await asyncio.gather(*(limited() for _ in range(count)))
    if body is WHOLE:
        way.rates.append(count / (time.perf_counter() - started))
    return (way.cpu() - before) / count


@contextlib.contextmanager
def ways() -> Iterator[list[Way]]:
    """Start the provider and the servers, and yield the ways to call it."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            child = process.start(*arguments)
            stack.callback(child.communicate)
            return child

        provider = start("server.py")
        assert provider.stdout is not None
        url = f"http://127.0.0.1:{provider.stdout.readline().strip()}/v1"
        found = [Way("no server", url, "none", "grok", None)]
        for kind in ("passthrough", "gatewayx"):
            server = start("proxy.py", kind, url)
            assert server.stdout is not None
            root, token = server.stdout.readline().split()
            found.append(Way(kind, f"{root}/v1", token, "grok", server))
        yield found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure fewer rounds")
    is_quick = parser.parse_args().quick
    with ways() as compared:
        for _ in range(2 if is_quick else 7):
            for way in compared:
                asyncio.run(measure(way, 200 if is_quick else 1_000))
    print(f"{'the local server':<16}{'alone, ms':>12}{'p99, ms':>10}{'calls/s':>10}", end="")
    print(f"{'CPU, ms':>10}{'stream, ms':>12}")
    for way in compared:
        p99 = statistics.quantiles(way.alone, n=100)[-1]
        print(
            f"{way.name:<16}{statistics.median(way.alone) * 1e3:>12.2f}{p99 * 1e3:>10.2f}"
            f"{statistics.median(way.rates):>10.0f}{statistics.median(way.whole_cpu) * 1e3:>10.2f}"
            f"{statistics.median(way.stream_cpu) * 1e3:>12.2f}"
        )


if __name__ == "__main__":
    main()
