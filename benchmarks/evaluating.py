"""Measures an evaluation beside a map of as many calls, and the summary of an evaluation.

    python benchmarks/evaluating.py [--quick]

An in-memory engine answers after 50 ms, and 100 calls are in flight. An evaluation of 1,000 rows
and four variants takes turns with a map of 4,000 rows; the table shows medians. Then a scorer is
added, which requires no further calls, and 100,000 scored answers are summarized and displayed.
``--quick`` measures few rows once, to test the script.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import gatewayx_nb as gx
from gatewayx_nb.evaluation import GridCell, Score, Variant
from gatewayx_nb.evaluation.grid_cell import EvaluatedRows
from gatewayx_nb.llm_engines import LLMEngine

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 0.05
ROUNDS = 3
_numbers = itertools.count()


class Waiting(LLMEngine):
    """An engine that answers after 50 ms and counts its calls."""

    requires_key = False
    model_name = "waiting"
    features = frozenset({"system", "temperature"})
    asked = 0

    async def generate(self, prompt: str, **_: object) -> str:
        """Return the prompt."""
        type(self).asked += 1
        await asyncio.sleep(WAIT)
        return prompt


def is_short(text: str) -> bool:
    """Return whether an answer is short."""
    return len(text) < 20  # noqa: PLR2004


def size(text: str) -> int:
    """Return the length of an answer."""
    return len(text)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(rows: int, rounds: int) -> None:
    """Print the times of an evaluation, a map, and an added scorer."""
    prompts = {name: f"{name}: {{{{text}}}}" for name in "abcd"}
    maps, evaluations, scorings = [], [], []
    with tempfile.TemporaryDirectory() as home, gx.EnginePool(home, {}, Waiting()) as pool:
        for _ in range(rounds):
            texts = [f"{next(_numbers)}" for _ in range(4 * rows)]
            maps.append(timed(lambda: pool.map(texts, "{{input}}", "waiting", progress=False)))  # noqa: B023
            grid = [{"text": f"{next(_numbers)}"} for _ in range(rows)]

            def run(*scorers: Callable[..., object]) -> None:
                gx.evaluate(grid, prompts, "waiting", scorers, pool=pool, progress=False)  # noqa: B023

            evaluations.append(timed(lambda: run(is_short)))
            asked = Waiting.asked
            scorings.append(timed(lambda: run(is_short, size)))
            assert asked == Waiting.asked
    base, own, more = map(statistics.median, (maps, evaluations, scorings))
    print(f"map of {4 * rows:,} rows                  {base:8.2f} s")
    print(f"evaluation of {rows:,} rows, 4 variants   {own:8.2f} s {own / base:8.2f} x map")
    print(f"one more scorer, nothing asked        {more:8.2f} s")


def measure_summary(rows: int) -> None:
    """Print the times to summarize, compare and display four variants."""
    random.seed(0)
    variants = [Variant(name, name, "mock") for name in "abcd"]
    inputs = tuple({"text": f"text {position}"} for position in range(rows))
    cells = [
        GridCell(
            position,
            position,
            variant,
            answer="an answer " * 20,
            model="m",
            cost=0.001,
            seconds=1.0,
            scores={"right": Score(random.random() < 0.7), "size": Score(random.gauss(9, 3))},  # noqa: PLR2004
        )
        for position in range(rows)
        for variant in variants
    ]
    result = gx.Evaluation(cells, EvaluatedRows(inputs, tuple(range(rows))), variants)
    summary, display = timed(result.summary), timed(result._repr_html_)
    print(f"summary of {4 * rows:,} answers          {summary:8.2f} s")
    print(f"display                               {display:8.2f} s")


def main() -> None:
    """Measure and print the table."""
    is_quick = "--quick" in sys.argv
    measure(50 if is_quick else 1_000, 1 if is_quick else ROUNDS)
    measure_summary(250 if is_quick else 25_000)


if __name__ == "__main__":
    main()
