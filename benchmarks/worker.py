"""Measures one contender in a process of its own.

    python benchmarks/worker.py NAME URL

Prints a line when it is ready; then reads a `Task` and prints a `Sample`, a line of JSON each.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from contenders import CONTENDERS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True)
class Task:
    """What to measure.

    Attributes:
        prompt: What the server is told.
        in_flight: Calls at once.
        seconds: How long to go on asking; each asker finishes the call that it has begun.
        streamed: Whether to read streams, and count pieces of text rather than calls.
    """

    prompt: str
    in_flight: int = 1
    seconds: float = 1.0
    streamed: bool = False


@dataclass(frozen=True)
class Sample:
    """What was measured: seconds of CPU, of all threads, for so many calls or pieces."""

    cpu: float
    count: int

    @property
    def each(self) -> float:
        """Microseconds of CPU for one."""
        return self.cpu / self.count * 1e6


async def measure(contender: Any, task: Task) -> Sample:  # noqa: ANN401 - see `Contender`
    """Measure a contender, after a first wave of calls that opens its connections."""
    once = _once(contender, task)
    await asyncio.gather(*(once() for _ in range(task.in_flight)))
    end = time.monotonic() + task.seconds
    before = time.process_time()
    counts = await asyncio.gather(*(_repeat(once, end) for _ in range(task.in_flight)))
    return Sample(time.process_time() - before, sum(counts))


def _once(contender: Any, task: Task) -> Callable[[], Awaitable[int]]:  # noqa: ANN401
    work = contender.count if task.streamed else contender.ask

    async def once() -> int:
        done = work(task.prompt)
        done = await done if inspect.isawaitable(done) else done
        return done if task.streamed else int(bool(done))

    return once


async def _repeat(once: Callable[[], Awaitable[int]], end: float) -> int:
    count = await once()
    while time.monotonic() < end:
        count += await once()
    return count


def main(name: str, url: str) -> None:
    """Measure what standard input asks for, until it ends."""
    _, kind = CONTENDERS[name]
    contender = kind(url)
    print(json.dumps(name), flush=True)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            sample = runner.run(measure(contender, Task(**json.loads(line))))
            print(json.dumps(asdict(sample)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
