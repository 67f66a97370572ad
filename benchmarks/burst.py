"""How long a burst takes: 2,000 calls, 500 at once, at a server that takes 200 ms for each.

    python benchmarks/burst.py

Seconds on the clock, beside the bare transport, in turns and in one run; the server's own work is
the same for both. Nothing can be faster than 0.8 s.
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
    """Give the seconds that all the calls take."""
    calls: Iterator[None] = iter([None] * CALLS)

    async def ask() -> None:
        for _ in calls:
            await contender.ask(PROMPT)

    start = time.monotonic()
    await asyncio.gather(*(ask() for _ in range(AT_ONCE)))
    return time.monotonic() - start


async def measure(contenders: dict[str, Any]) -> dict[str, list[float]]:
    """Give the seconds of each round; the first round, which opens connections, is left out."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS + 1):
        for name, contender in contenders.items():
            taken[name].append(await burst(contender))
    return {name: seconds[1:] for name, seconds in taken.items()}


def main() -> None:
    """Measure, and print the medians with their ratio."""
    with served() as root:
        contenders = {name: CONTENDERS[name][1](f"{root}/v1") for name in (BARE, OURS)}
        taken = asyncio.run(measure(contenders))
    middles = {name: statistics.median(seconds) for name, seconds in taken.items()}
    print(f"{CALLS} calls, {AT_ONCE} in flight, 200 ms each; median of {ROUNDS}")
    for name, middle in middles.items():
        print(f"  {name:20} {middle:6.2f} s   {middle / middles[BARE]:.2f}", flush=True)
    os._exit(0)  # the contenders' connections end with the process, without a word


if __name__ == "__main__":
    main()
