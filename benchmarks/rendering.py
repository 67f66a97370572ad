"""Measures the CPU time of rendering an answer of 20,000 characters in a kernel.

    python benchmarks/rendering.py [--quick]

Prints the CPU seconds of a real kernel for the whole answer, which a cell streams in chunks of four
characters, 500 a second. The time of the same cell without output (``-q``) is subtracted. The
answers are prose, many sections, and the answers that are most expensive to render: a single list,
table or code block.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kernels import Kernel

LENGTH, PIECE, RATE, ROUNDS = 20_000, 4, 500, 1
QUICK = (2_000, 1)

ANSWERS = {
    "prose": "A sentence of **prose** that goes on for a while, with `code`.\n\n",
    "sections": "## Part\n\nSome **bold** words, `code` and\n\n- an item\n- another\n\n",
    "one list": "- item with **bold** text\n",
    "one table": "| word | `x` |\n",
    "one block of code": "x = foo(bar)\n",
}
HEADS = {"one table": "| a | b |\n|---|---|\n", "one block of code": "```python\n"}

ENGINE = f"""\
import asyncio
import time

from ..llm_engines import Chunk, LLMEngine


class LongEngine(LLMEngine):
    requires_key = False

    async def stream(self, request):
        text, start = request.prompt, time.monotonic()
        for at in range(0, len(text), {PIECE}):
            due = start + at / {PIECE} / {RATE}
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield Chunk(text=text[at : at + {PIECE}])
        yield Chunk(finish_reason="stop")
"""


def seconds(kernel: Kernel, options: str) -> float:
    """Return the CPU seconds that all threads of the kernel use for a cell."""
    kernel.run("import time; before = time.process_time()")
    kernel.run(f"%%gatewayx long {options}\n{{{{text}}}}", timeout=300)
    return float(kernel.run("print(time.process_time() - before)").text)


def measure(length: int, rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of rendering, for each answer and round."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("home", "project/engines", "project/config/secrets"):
            (root / part).mkdir(parents=True)
        (root / "project/engines/long_engine.py").write_text(ENGINE)
        with Kernel(root / "project", root / "home") as kernel:
            kernel.run("%load_ext gatewayx_nb")
            kernel.run("%%gatewayx long\nwarm")
            return {name: _measure(kernel, name, length, rounds) for name in ANSWERS}


def _measure(kernel: Kernel, name: str, length: int, rounds: int) -> list[float]:
    head, part = HEADS.get(name, ""), ANSWERS[name]
    text = (head + part * (length // len(part) + 1))[:length]
    kernel.run(f"text = {text!r}")
    return [seconds(kernel, "") - seconds(kernel, "-q") for _ in range(rounds)]


def main() -> None:
    """Measure, and print the medians."""
    length, rounds = QUICK if "--quick" in sys.argv else (LENGTH, ROUNDS)
    print(f"CPU to render {length:,} characters in chunks of {PIECE}, {RATE} per second")
    for name, times in measure(length, rounds).items():
        print(f"  {name:20} {statistics.median(times):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
