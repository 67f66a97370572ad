"""Time of a burst: 2,000 calls, 500 concurrently, to a server that takes 200 ms for each.

    python benchmarks/burst.py

Reports wall-clock seconds, compared with the bare transport; the contenders take turns within one
run. The server's own work is the same for both. The lower bound is 0.8 s.
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

CALLS, AT_ONCE, ROUNDS = 2_000, 500, 5
PROMPT = "wait=0.2"
BARE, OURS = "httpx on aiohttp", "gatewayx_nb"


async def burst(contender: Any) -> float:  # noqa: ANN401 - see `Contender`
    """Return the seconds that all the calls take."""
    calls: Iterator[None] = iter([None] * CALLS)

    async def ask() -> None:
        for _ in calls:
            await contender.ask(PROMPT)

    start = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    return time.monotonic() - start


async def measure(contenders: dict[str, Any]) -> dict[str, list[float]]:
    """Return the seconds of each round, except the first, which opens connections."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS + 1):
        for name, contender in contenders.items():
            taken[name].append(await burst(contender))
    return {name: seconds[1:] for name, seconds in taken.items()}


def main() -> None:
    """Measure, and print the medians and their ratio."""
    with served() as root:
        contenders = {name: CONTENDERS[name][1](f"{root}/v1") for name in (BARE, OURS)}
        taken = asyncio.run(measure(contenders))
    middles = {name: statistics.median(seconds) for name, seconds in taken.items()}
    print(f"{CALLS} calls, {AT_ONCE} in flight, 200 ms each; median of {ROUNDS}")
    for name, middle in middles.items():
        print(f"  {name:20} {middle:6.2f} s   {middle / middles[BARE]:.2f}", flush=True)
    os._exit(0)  # exit without closing the contenders' connections, which would warn


if __name__ == "__main__":
    main()
