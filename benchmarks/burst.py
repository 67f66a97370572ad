"""Measures a burst: 2,000 calls, 500 at a time, to a server that takes 200 ms for each.

    python benchmarks/burst.py

Prints the wall-clock seconds, and their ratio to those of the bare transport. The two contenders
take turns in one run, and the server does the same work for both. The lower bound is 0.8 s.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import TYPE_CHECKING, Any

from contenders import CONTENDERS
from overhead import served

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS, CONCURRENCY, ROUNDS = 2_000, 500, 5
PROMPT = "wait=0.2"
BARE, OURS = "httpx on aiohttp", "gatewayx_nb"


async def burst(contender: Any) -> float:  # noqa: ANN401 - see `Contender`
    """Return the seconds that the burst takes."""
    calls: Iterator[None] = iter([None] * CALLS)

    async def ask() -> None:
        for _ in calls:
            await contender.ask(PROMPT)

    start = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(CONCURRENCY)))
    return time.monotonic() - start


async def measure(contenders: dict[str, Any]) -> dict[str, list[float]]:
    """Return the seconds of all rounds except the first, which opens the connections."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS + 1):
        for name, contender in contenders.items():
            times[name].append(await burst(contender))
    return {name: seconds[1:] for name, seconds in times.items()}


def main() -> None:
    """Measure the contenders, and print the medians and their ratios."""
    with served() as root:
        contenders = {name: CONTENDERS[name][1](f"{root}/v1") for name in (BARE, OURS)}
        times = asyncio.run(measure(contenders))
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print(f"{CALLS} calls, {CONCURRENCY} in flight, 200 ms each; median of {ROUNDS}")
    for name, median in medians.items():
        print(f"  {name:20} {median:6.2f} s   {median / medians[BARE]:.2f}", flush=True)
    os._exit(0)  # exit without closing the contenders' connections, which would warn


if __name__ == "__main__":
    main()
