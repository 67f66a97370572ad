import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def run_quick(name):
    """Run a benchmark with `--quick` and return its output."""
    process = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.kernel
def test_the_quick_rendering_benchmark_has_a_row_for_each_answer():
    """`rendering.py --quick` finishes in a real kernel and prints a row for each answer."""
    output = run_quick("rendering")

    rows = [line for line in output.splitlines() if line.endswith(" s")]
    assert len(rows) == 5


@pytest.mark.kernel
def test_the_quick_view_benchmark_has_a_row_for_each_variant():
    """`side_by_side.py --quick` finishes in a real kernel and prints all rows."""
    output = run_quick("side_by_side")

    rows = [line for line in output.splitlines() if " MB " in line]
    assert [row[:26].strip() for row in rows] == [
        "comparison view",
        "a widget value per chunk",
        "no output",
    ]


def test_the_quick_overhead_benchmark_includes_the_bare_transport():
    """Each table of `overhead.py --quick` has rows for this package and for bare HTTP clients."""
    output = run_quick("overhead")

    tables = [table for table in output.split("\n\n") if table.startswith("CPU a ")]
    assert len(tables) == 4
    for table in tables:
        columns_by_client = {line[:30].strip(): line.split() for line in table.splitlines()}
        assert {"httpx on aiohttp", "httpx", "gatewayx_nb"} <= set(columns_by_client)
    assert "import gatewayx_nb" in output
    assert "await pool.aask" in output


def test_the_quick_cassette_benchmark_has_a_row_for_each_operation():
    """`cassettes.py --quick` prints the times of opening and renewing, and their ratios."""
    rows = [line.split()[0] for line in run_quick("cassettes").splitlines()[1:]]
    assert rows == ["open", "open", "renew"]


def test_the_quick_store_benchmark_has_a_row_for_each_operation():
    """`results_store.py --quick` prints the times of storing, loading and reading rows."""
    names = [line[:34].strip() for line in run_quick("results_store").splitlines()[1:]]
    assert names == [
        *("store", "store, an index over keys", "load", "first progress"),
        *("get, no such row", "get", "read all"),
    ]


def test_the_quick_pacing_benchmark_has_a_row_for_each_server_and_client():
    """`pacing.py --quick` prints a row for each client of five servers; we lose no call."""
    rows = [line for line in run_quick("pacing").splitlines() if line.startswith("  ")]

    assert len(rows) == 10
    ours = [row.split() for row in rows if row.startswith("  gatewayx_nb")]
    assert [row[-1] for row in ours] == ["0"] * 5


def test_the_quick_tool_benchmark_has_a_row_for_each_kind_of_call():
    """`tool_calls.py --quick` prints the time of a request with and without tools."""
    output = run_quick("tool_calls")

    assert [line[:26].strip() for line in output.splitlines()] == [
        "CPU a request",
        "8 calls",
        "a call with 8 turns",
        "with a new function",
    ]


def test_the_quick_serving_benchmark_compares_with_a_passthrough():
    """`serving.py --quick` prints the figures of each way to call the provider."""
    rows = [line.split() for line in run_quick("serving").splitlines()[1:]]
    assert [row[0] for row in rows] == ["no", "passthrough", "gatewayx"]
    assert all(float(figure) > 0 for figure in rows[-1][1:])


def test_the_quick_evaluation_benchmark_compares_with_a_map():
    """`evaluating.py --quick` prints the times of a map, of an evaluation, and of its summary."""
    lines = run_quick("evaluating").splitlines()
    assert [line.split()[0] for line in lines] == ["map", "evaluation", "one", "summary", "display"]
    assert lines[1].endswith("x map")
