"""Measures the CPU time of showing three concurrent answers in a kernel.

    python benchmarks/side_by_side.py [--quick]

Each answer has 100 chunks a second for ten seconds. Compares the comparison view with handwritten
code (one thread for each model, which adds every chunk to an `ipywidgets.HTML`) and with the same
code without output. Prints the kernel's CPU seconds, including the streams, and the megabytes sent
to the page. All take turns in one kernel.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.kernels import Kernel

ROUNDS, PIECES = 3, 1_000
QUICK = (1, 50)

BEGIN = """\
import threading, time
import ipywidgets, markdown_it
import gatewayx_nb as gx

prompt, models, params = "word " * {pieces}, ["mock:a", "mock:b", "mock:c"], {{"rate": 100}}
view = gx.compare_view(prompt, models, params=params)
boxes = [ipywidgets.HTML() for _ in models]
render = markdown_it.MarkdownIt("commonmark", {{"html": False}}).render

def stream(model, box=None):
    text = ""
    for chunk in gx.stream(prompt, model=model, params=params):
        text += chunk.text
        if box is not None:
            box.value = render(text)

def each(*outputs):
    threads = [threading.Thread(target=stream, args=args) for args in zip(models, *outputs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
WAYS = {
    "comparison view": "view.run()",
    "a widget value per chunk": "each(boxes)",
    "no output": "each()",
}


def cost(kernel: Kernel, code: str) -> tuple[float, float]:
    """Return the CPU seconds and megabytes of one way to show the streams."""
    before = len(kernel.messages)
    kernel.run("began = time.process_time()")
    kernel.run(code, timeout=120)
    seconds = float(kernel.run("print(time.process_time() - began)").text)
    messages = kernel.messages[before:]
    return seconds, sum(len(json.dumps(message["content"])) for message in messages) / 1e6


def measure(rounds: int, pieces: int) -> dict[str, list[tuple[float, float]]]:
    """Return the costs of each way, by round."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("home", "project/config/secrets"):
            (root / part).mkdir(parents=True)
        with Kernel(root / "project", root / "home") as kernel:
            kernel.run(BEGIN.format(pieces=pieces))
            costs: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
            for _ in range(rounds):
                for name, code in WAYS.items():
                    costs[name].append(cost(kernel, code))
            return costs


def main() -> None:
    """Measure each way, and print the medians and their ratios."""
    rounds, pieces = QUICK if "--quick" in sys.argv else (ROUNDS, PIECES)
    medians = {
        name: [statistics.median(column) for column in zip(*costs, strict=True)]
        for name, costs in measure(rounds, pieces).items()
    }
    ours = medians["comparison view"]
    print(f"Three models, {pieces} chunks each at 100 a second; median of {rounds}")
    for name, (seconds, megabytes) in medians.items():
        ratios = f"{seconds / ours[0]:6.1f} {megabytes / ours[1]:6.1f}"
        print(f"  {name:24} {seconds:6.2f} s CPU  {megabytes:7.2f} MB   {ratios}", flush=True)


if __name__ == "__main__":
    main()
