"""Measures the CPU cost of a call on this machine, compared with the alternatives.

    python benchmarks/overhead.py [--quick]

A loopback server answers immediately, so only the client's own work is measured: the CPU time of
all threads of its process. Each contender has its own process; they take turns in each round, and
the results are medians of the rounds. The benchmark takes about three minutes on two idle cores;
``--quick`` takes about 20 s and is less precise.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import offline
import process
from contenders import BARE, CONTENDERS, OURS, PLAIN
from worker import Sample, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

BUDGET = 5.0
"""Seconds of measuring after which a contender is not measured again in the same scenario."""


@dataclass(frozen=True)
class Scenario:
    """One table: its title, and the task for each contender."""

    title: str
    task: Task

    def suits(self, name: str) -> bool:
        """Return whether a contender supports it; a blocking one makes one call at a time."""
        return self.task.in_flight == 1 or "sync" not in name


@dataclass
class Samples:
    """Samples of one contender: microseconds of CPU per item, by round."""

    rounds: list[float] = field(default_factory=list)
    spent: float = 0.0
    peak: int = 0

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.rounds)


def scenarios(*, quick: bool) -> list[Scenario]:
    """Return the scenarios to measure.

    The answers are delayed so that all concurrent calls are open before the first answer.
    """
    seconds = 0.2 if quick else 0.8
    calls = [(1, 0.0), (50, 0.1)] if quick else [(1, 0.0), (100, 0.1), (500, 0.5)]
    streams = [("a write for each", 200 if quick else 600, 1), ("50 in a write", 2000, 50)]
    return [
        *(
            Scenario(f"CPU a call, {flying} in flight", Task(f"wait={wait}", flying, seconds))
            for flying, wait in calls
        ),
        *(
            Scenario(
                f"CPU a streamed chunk, {how}",
                Task(f"events={events} each={each}", seconds=seconds, streamed=True),
            )
            for how, events, each in streams
        ),
    ]


class Worker:
    """The process of one contender."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._process = process.start("worker.py", name, url)

    def ready(self) -> None:
        """Wait until the process has imported its packages."""
        self._line()

    def measure(self, task: Task) -> Sample:
        """Run a task in the process and return its sample."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asdict(task)) + "\n")
        self._process.stdin.flush()
        return Sample(**json.loads(self._line()))

    def close(self) -> None:
        """Let the process exit and remove its folder; kill it if that takes more than 5 s."""
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.name!r} has ended; see its error above")
        return line


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Run the server and yield its base URL."""
    server = process.start("server.py")
    assert server.stdout
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.communicate()


@contextlib.contextmanager
def working(names: list[str], url: str) -> Iterator[list[Worker]]:
    """Start a process for each contender, and yield them when all are ready."""
    with contextlib.ExitStack() as stack:
        workers = []
        for name in names:
            workers.append(Worker(name, url))
            stack.callback(workers[-1].close)
        for worker in workers:
            worker.ready()
        yield workers


def race(scenario: Scenario, workers: list[Worker], rounds: int, root: str) -> dict[str, Samples]:
    """Measure the contenders in turn; slow ones have fewer rounds, but at least one."""
    figures = {worker.name: Samples() for worker in workers if scenario.suits(worker.name)}
    for _ in range(rounds):
        for worker in workers:
            measured = figures.get(worker.name)
            if measured is None or measured.spent > BUDGET:
                continue
            _peak(root)
            started = time.monotonic()
            measured.rounds.append(worker.measure(scenario.task).each)
            measured.spent += time.monotonic() - started
            measured.peak = max(measured.peak, _peak(root))
    return figures


def _peak(root: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{root}/peak") as response:
        return int(response.read())


def show(scenario: Scenario, figures: dict[str, Samples]) -> None:
    """Print a table of the microseconds, ratios, and the spread of the rounds."""
    bare, plain = figures[BARE].median, figures[PLAIN].median
    columns = f"{'µs':>8}{'÷ bare':>8}{'÷ httpx':>9}{'lowest-highest':>16}{'open':>6}"
    print(f"\n{scenario.title:<42}{columns}")
    for name in CONTENDERS:
        samples = figures.get(name)
        if samples is None:
            if scenario.suits(name):
                print(f"  {name:<40}{'not installed':>15}")
            continue
        spread = f"{min(samples.rounds):.0f}-{max(samples.rounds):.0f}"
        ratios = f"{samples.median / bare:>8.2f}{samples.median / plain:>9.2f}"
        print(
            f"  {name:<40}{samples.median:>8.1f}{ratios}{spread:>16}{samples.peak:>6}", flush=True
        )


def installed() -> list[str]:
    """Return the names of the installed contenders, and print the versions of their packages."""
    names = [name for name, (package, _) in CONTENDERS.items() if importlib.util.find_spec(package)]
    packages = dict.fromkeys(["aiohttp", *(CONTENDERS[name][0] for name in names)])
    versions = (f"{name} {importlib.metadata.version(name)}" for name in packages)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; {', '.join(versions)}")
    print(f'"bare" is {BARE}, the connections of {OURS}; "open" is the most calls open at once.')
    return names


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="measure one short round of each")
    quick = parser.parse_args().quick
    started = time.monotonic()
    with served() as root, working(installed(), f"{root}/v1") as workers:
        for scenario in scenarios(quick=quick):
            show(scenario, race(scenario, workers, 1 if quick else 3, root))
    offline.report(quick=quick)
    print(f"\n{time.monotonic() - started:.0f} s in total.")


if __name__ == "__main__":
    main()
