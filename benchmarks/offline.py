"""Benchmarks without a network: imports, discovery of engines, and calls to `mock`.

python benchmarks/offline.py [--quick]
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import process

from gatewayx_nb import EnginePool

if TYPE_CHECKING:
    from collections.abc import Callable

_STATEMENTS = {
    "import gatewayx_nb": "gatewayx_nb",
    "from gatewayx_nb import EnginePool": "gatewayx_nb",
    "import httpx": "httpx",
    "import openai": "openai",
    "import aisuite": "aisuite",
    "import litellm": "litellm",
}
"""The required package, by import statement."""

_LOAD_EXT = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
started = time.perf_counter()
shell.run_line_magic("load_ext", "gatewayx_nb")
print((time.perf_counter() - started) * 1e6)
"""

_ENGINE = """from ..llm_engines import LLMEngine


class Engine(LLMEngine):
    model_name = "one"

    async def generate(self, prompt, **kwargs):
        return prompt
"""

_KEYS = {f"GATEWAYX_E{number}_API_KEY": "k" for number in range(5)}


def report(*, quick: bool) -> None:
    """Measure everything, and print wall times, and CPU times for the calls.

    Each result is the minimum of several rounds, because other load can only add time.
    """
    rounds = 1 if quick else 3
    print("\nImports, each in a new process" + " " * 26 + "µs")
    for statement, package in _STATEMENTS.items():
        _show(statement, package, functools.partial(_import_time, statement), rounds)
    _show("%load_ext gatewayx_nb, in a running IPython", "IPython", _load_time, rounds)
    with tempfile.TemporaryDirectory() as folder:
        for number in (10, 100, 1_000, 10_000):
            _report_discovery(Path(folder, str(number)), number, rounds)
        _report_calls(Path(folder, "10"), rounds, 200 if quick else 1000)


def _report_discovery(home: Path, number: int, rounds: int) -> None:
    print(f"\nFinding {number:,} engine files, with keys for {len(_KEYS)}")
    _write_engines(home, number)
    build = functools.partial(EnginePool, home, {"XDG_CONFIG_HOME": str(home), **_KEYS})
    pool = build()
    pool.ask("the first loads the engine", model="e0")
    for label, work in {
        "a new pool and its list of models": lambda: build().models(),
        "the list again": pool.models,
        "the status of all engines": pool.status,
        "a check for changed files": pool.refresh,
    }.items():
        _show(label, "gatewayx_nb", functools.partial(_wall, work), rounds)
    pool.close()


def _report_calls(home: Path, rounds: int, number: int) -> None:
    print("\nCPU of a call to `mock`, which answers immediately: the pool's own work")
    with (
        EnginePool(home, {"XDG_CONFIG_HOME": str(home)}) as pool,
        asyncio.Runner() as runner,
    ):

        async def await_all() -> None:
            for _ in range(number):
                await pool.aask("one two", model="mock")

        def ask_all() -> None:
            for _ in range(number):
                pool.ask("one two", model="mock")

        pool.ask("the first loads the engine", model="mock")
        for label, work in {
            "pool.ask": ask_all,
            "await pool.aask": lambda: runner.run(await_all()),
        }.items():
            _show(label, "gatewayx_nb", lambda work=work: _cpu(work) / number, rounds)


def _show(label: str, package: str, measure: Callable[[], float], rounds: int) -> None:
    if importlib.util.find_spec(package):
        lowest = min(measure() for _ in range(rounds))
        print(f"  {label:<44}{lowest:>12,.0f}", flush=True)
    else:
        print(f"  {label:<44}{'not installed':>15}")


def _import_time(statement: str) -> float:
    """Return the microseconds of an import, as reported by `python -X importtime`."""
    lines = process.run("-X", "importtime", "-c", statement).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines[1:]]
    started = next(place for place, row in enumerate(rows) if row[2].strip() == "site") + 1
    return sum(float(row[1]) for row in rows[started:] if not row[2].startswith("  "))


def _load_time() -> float:
    return float(process.run("-c", _LOAD_EXT).stdout)


def _write_engines(home: Path, number: int) -> None:
    (home / "engines").mkdir(parents=True)
    for place in range(number):
        (home / "engines" / f"e{place}_engine.py").write_text(_ENGINE)


def _wall(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e6


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e6


if __name__ == "__main__":
    report(quick="--quick" in sys.argv)
