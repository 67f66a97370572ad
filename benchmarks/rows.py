"""Measures the rows per second of `map`, beside handwritten code with other packages.

    python benchmarks/rows.py [--quick]

Each contender makes the same number of calls, 100 of them in flight, to a server that takes 200 ms,
50 ms or no time for each. This process runs on one core and the server on another. The contenders
take turns; the table shows medians. `map` stores each answer durably; the others keep theirs in
memory. ``--quick`` measures few rows once, to test the script.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from contenders import BARE, CONTENDERS, KEY, MODEL, OURS
from overhead import served

if TYPE_CHECKING:
    from collections.abc import Callable

IN_FLIGHT = 100
ROUNDS = 3
ROWS = {0.2: 10_000, 0.05: 10_000, 0.0: 5_000}
"""Number of rows, by the seconds that the server takes for an answer."""

QUICK_ROWS = 200
_numbers = itertools.count()


def prompts(count: int, wait: float) -> list[str]:
    """Return prompts that differ from those of earlier rounds."""
    return [f"wait={wait} n={next(_numbers)}" for _ in range(count)]


def gather(name: str, url: str) -> Callable[[list[str]], None]:
    """Return a function that makes calls with a contender, 100 at a time."""
    contender: Any = CONTENDERS[name][1](url)
    runner = asyncio.Runner()

    async def ask_all(texts: list[str]) -> None:
        rest = iter(texts)

        async def work() -> None:
            for text in rest:
                await contender.ask(text)

        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    return lambda texts: runner.run(ask_all(texts))


def mapped(url: str) -> Callable[[list[str]], None]:
    """Return a function that calls `EnginePool.map`."""
    from gatewayx_nb import EnginePool

    home = tempfile.mkdtemp(prefix="gatewayx-bench-")
    env = {"GATEWAYX_GROK_API_KEY": KEY, "GATEWAYX_GROK_BASE_URL": url, "XDG_DATA_HOME": home}
    pool = EnginePool(home=home, env=env)

    def ask_all(texts: list[str]) -> None:
        replies = pool.map(
            texts, "{{input}}", f"grok:{MODEL}", concurrency=IN_FLIGHT, progress=False
        )
        assert not replies.failed

    return ask_all


def litellm_batch(url: str) -> Callable[[list[str]], None]:
    """Return a function that calls `litellm.batch_completion`."""
    import litellm

    def ask_all(texts: list[str]) -> None:
        litellm.batch_completion(
            model=f"openai/{MODEL}",
            messages=[[{"role": "user", "content": text}] for text in texts],
            api_base=url,
            api_key=KEY,
            max_workers=IN_FLIGHT,
        )

    return ask_all


def measure(
    contenders: dict[str, Callable[[list[str]], None]], count: int, wait: float, rounds: int
) -> dict[str, float]:
    """Return each contender's median rows per second, without a first round for connecting."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, ask_all in contenders.items():
            texts = prompts(count, wait)
            start = time.monotonic()
            ask_all(texts)
            rates[name].append(count / (time.monotonic() - start))
    return {name: statistics.median(values[1:]) for name, values in rates.items()}


def main() -> None:
    """Measure, and print a table for each speed of the server."""
    quick = "--quick" in sys.argv
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # do not download prices
    with served() as root:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        url = f"{root}/v1"
        contenders = {
            f"{OURS}, map": mapped(url),
            f"{OURS}, gather": gather(OURS, url),
            BARE: gather(BARE, url),
            "openai, gather": gather("openai", url),
            "litellm, batch": litellm_batch(url),
        }
        for wait, rows in ROWS.items():
            count = QUICK_ROWS if quick else rows
            rates = measure(contenders, count, wait, 1 if quick else ROUNDS)
            ideal = f", ideal {IN_FLIGHT / wait:,.0f} rows/s" if wait else ""
            print(f"{count:,} rows, {IN_FLIGHT} in flight, {wait * 1000:.0f} ms each{ideal}")
            ours = rates[f"{OURS}, map"]
            for name, rate in rates.items():
                print(f"  {name:22} {rate:8,.0f} rows/s   map is {ours / rate:5.2f} x", flush=True)
    os._exit(0)  # exit without closing the contenders' connections, which would warn


if __name__ == "__main__":
    main()
