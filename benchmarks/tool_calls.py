"""Measures the CPU time of a turn with a tool call, compared with a call without tools.

    python benchmarks/tool_calls.py [--quick]

An in-memory engine answers at once, so that only the work of this package is measured: the CPU time
of all threads of the process. A call with tools makes eight requests, between which a function
runs. It is compared with eight calls without tools; the rounds alternate, and the results are
medians. The benchmark takes about ten seconds; ``--quick`` takes one and is less precise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import gatewayx_nb as gx
from gatewayx_nb.llm_engines import Chunk, LLMEngine, ToolCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gatewayx_nb.llm_engines import Request

TURNS = 8
"""Number of requests of a call with tools."""


class Caller(LLMEngine):
    """An engine that calls a tool in each request until it has enough results."""

    requires_key = False
    model_name = "caller"
    features = frozenset({"system", "history", "tools"})

    async def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Yield a call of the first tool, or an answer."""
        turns = sum(message.role == "tool" for message in request.messages)
        if request.tools and turns < TURNS - 1:
            yield Chunk(tool_calls=(ToolCall(f"c{turns}", "weather", '{"city": "Rome"}'),))
            yield Chunk(finish_reason="tool_calls")
            return
        yield Chunk(text="Sunny.")
        yield Chunk(finish_reason="stop")


def weather(city: str, days: int = 1) -> str:
    """Return the weather in a city.

    Args:
        city: Name of the city.
        days: Number of days.
    """
    return f"sunny in {city} for {days} days"


@dataclass(frozen=True)
class Row:
    """A row of the table: CPU milliseconds per request, in all and in addition to a plain call."""

    name: str
    each: float
    extra: float


def measure(*, quick: bool) -> list[Row]:
    """Return rows for calls without tools, with one tool, and with a new tool for each call."""
    with gx.EnginePool(env={}, engines=[Caller()]) as pool:

        def plain() -> None:
            for _ in range(TURNS):
                pool.ask("Hi", "caller")

        def declare() -> None:
            @gx.tool(name="weather")
            def new_function(city: str, days: int = 1) -> str:
                return weather(city, days)

            assert len(pool.ask("Hi", "caller", tools=new_function).steps) == TURNS - 1

        def loop() -> None:
            assert len(pool.ask("Hi", "caller", tools=weather).steps) == TURNS - 1

        tasks = {"8 calls": plain, "a call with 8 turns": loop, "with a new function": declare}
        rounds: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(3 if quick else 15):
            for name, task in tasks.items():
                rounds[name].append(_each(task, 10 if quick else 40))
    medians = {name: statistics.median(samples) for name, samples in rounds.items()}
    base = medians["8 calls"]
    return [Row(name, each, each - base) for name, each in medians.items()]


def _each(task: Callable[[], None], count: int) -> float:
    """Return the milliseconds of CPU time per request."""
    started = time.process_time()
    for _ in range(count):
        task()
    return (time.process_time() - started) / count / TURNS * 1_000


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure fewer rounds")
    rows = measure(quick=parser.parse_args().quick)
    base = rows[0].each
    print(f"{'CPU a request':<26}{'ms':>8}{'more, ms':>10}{'÷ a call':>10}")
    for row in rows:
        print(f"{row.name:<26}{row.each:>8.3f}{row.extra:>10.3f}{row.each / base:>10.2f}")


if __name__ == "__main__":
    main()
