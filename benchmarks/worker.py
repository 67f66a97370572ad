"""Measures one contender in its own process.

    python benchmarks/worker.py NAME URL

Prints a line when it is ready, then reads each `Task` and prints a `Sample`, one JSON line each.
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
    """One measurement.

    Attributes:
        prompt: The prompt, which tells the server how to answer.
        in_flight: Number of concurrent calls.
        seconds: How long new calls are started; calls that are running then are completed.
        streamed: Whether to read streams and count their text chunks instead of calls.
    """

    prompt: str
    in_flight: int = 1
    seconds: float = 1.0
    streamed: bool = False


@dataclass(frozen=True)
class Sample:
    """Result of a task: CPU seconds of all threads, and the number of calls or chunks."""

    cpu: float
    count: int

    @property
    def each(self) -> float:
        """Microseconds of CPU time per call or chunk."""
        return self.cpu / self.count * 1e6


async def measure(contender: Any, task: Task) -> Sample:  # noqa: ANN401 - see `Contender`
    """Measure a contender, after a first round of calls that opens its connections."""
    once = _once(contender, task)
    await asyncio.gather(*(once() for _ in range(task.in_flight)))
    end = time.monotonic() + task.seconds
    before = time.process_time()
    counts = await asyncio.gather(*(_repeat(once, end) for _ in range(task.in_flight)))
    return Sample(time.process_time() - before, sum(counts))


def _once(contender: Any, task: Task) -> Callable[[], Awaitable[int]]:  # noqa: ANN401
    work = contender.count if task.streamed else contender.ask

    async def once() -> int:
        result = work(task.prompt)
        result = await result if inspect.isawaitable(result) else result
        return result if task.streamed else int(bool(result))

    return once


async def _repeat(once: Callable[[], Awaitable[int]], end: float) -> int:
    count = await once()
    while time.monotonic() < end:
        count += await once()
    return count


def main(name: str, url: str) -> None:
    """Run the tasks from standard input until it ends."""
    _, kind = CONTENDERS[name]
    contender = kind(url)
    print(json.dumps(name), flush=True)
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            sample = runner.run(measure(contender, Task(**json.loads(line))))
            print(json.dumps(asdict(sample)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
