"""Measures the cost of the local server, compared with a bare passthrough and with no server.

    python benchmarks/serving.py [--quick] [--litellm PYTHON]

A loopback provider answers immediately. The passthrough forwards bytes with the same HTTP libraries
(Starlette, Uvicorn, aiohttp), without parsing them. The client is a process of its own; the setups
alternate within each round. The table shows the median and the 99th percentile of the latency of
single calls, and medians of the rounds: calls per second with 16 in flight, and the server's CPU
time for an answer and for a stream of 64 chunks. The benchmark takes about a minute; ``--quick``
takes ten seconds and is less precise.

``--litellm`` adds LiteLLM's proxy, whose pins contradict those of this package. PYTHON is the
interpreter of an environment with ``pip install 'litellm[proxy]'``. The benchmark then takes ten
minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
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
class Setup:
    """A way to call the provider, and its measurements by round."""

    name: str
    url: str
    token: str
    model: str
    server: subprocess.Popen[str] | None
    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    whole_cpu: list[float] = field(default_factory=list)
    stream_cpu: list[float] = field(default_factory=list)

    def cpu(self) -> float:
        """Return the CPU seconds that the server has used so far."""
        if self.server is None:
            return 0.0
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def call(session: aiohttp.ClientSession, setup: Setup, body: dict[str, object]) -> float:
    """Make a call and return its duration in seconds."""
    headers = {"authorization": f"Bearer {setup.token}"}
    started = time.perf_counter()
    async with session.post(
        f"{setup.url}/chat/completions", json={"model": setup.model, **body}, headers=headers
    ) as response:
        await response.read()
        response.raise_for_status()
    return time.perf_counter() - started


async def measure(setup: Setup, count: int) -> None:
    """Measure a round, and add its measurements to the setup."""
    async with aiohttp.ClientSession() as session:
        await call(session, setup, WHOLE)
        setup.latencies += [await call(session, setup, WHOLE) for _ in range(count // 4)]
        setup.whole_cpu.append(await _burst(session, setup, WHOLE, count))
        setup.stream_cpu.append(await _burst(session, setup, STREAM, count // 5))


async def _burst(
    session: aiohttp.ClientSession, setup: Setup, body: dict[str, object], count: int
) -> float:
    """Make concurrent calls, and return the server's CPU seconds per call."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def limited() -> None:
        async with slots:
            await call(session, setup, body)

    before, started = setup.cpu(), time.perf_counter()
    await asyncio.gather(*(limited() for _ in range(count)))
    if body is WHOLE:
        setup.rates.append(count / (time.perf_counter() - started))
    return (setup.cpu() - before) / count


@contextlib.contextmanager
def setups(litellm: str | None) -> Iterator[list[Setup]]:
    """Start the provider and the servers, and yield the setups.

    Args:
        litellm: Path of the interpreter that runs LiteLLM's proxy; ``None`` to omit the proxy.
    """
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, python: str = sys.executable) -> subprocess.Popen[str]:
            child = process.start(*arguments, python=python)
            stack.callback(child.communicate)
            return child

        provider = start("server.py")
        assert provider.stdout is not None
        url = f"http://127.0.0.1:{provider.stdout.readline().strip()}/v1"
        found = [Setup("no server", url, "none", "grok", None)]
        servers = {kind: start("proxy.py", kind, url) for kind in ("passthrough", "gatewayx")}
        if litellm is not None:
            servers["litellm"] = start("litellm_proxy.py", url, python=litellm)
        for kind, server in servers.items():
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise SystemExit(f"{kind} has not started; see the traceback above")
            root, token = line.split()
            found.append(Setup(kind, f"{root}/v1", token, "grok", server))
        yield found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure fewer rounds")
    parser.add_argument("--litellm", metavar="PYTHON", help="add LiteLLM's proxy; see above")
    arguments = parser.parse_args()
    is_quick = arguments.quick
    with setups(arguments.litellm) as compared:
        for _ in range(2 if is_quick else 7):
            for setup in compared:
                asyncio.run(measure(setup, 200 if is_quick else 1_000))
    print(f"{'setup':<16}{'latency, ms':>12}{'p99, ms':>10}{'calls/s':>10}", end="")
    print(f"{'CPU, ms':>10}{'stream, ms':>12}")
    for setup in compared:
        p99 = statistics.quantiles(setup.latencies, n=100)[-1]
        print(
            f"{setup.name:<16}{statistics.median(setup.latencies) * 1e3:>12.2f}{p99 * 1e3:>10.2f}"
            f"{statistics.median(setup.rates):>10.0f}"
            f"{statistics.median(setup.whole_cpu) * 1e3:>10.2f}"
            f"{statistics.median(setup.stream_cpu) * 1e3:>12.2f}"
        )


if __name__ == "__main__":
    main()
