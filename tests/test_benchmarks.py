import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def quick(name):
    """Return the output of a quick benchmark run."""
    run = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.kernel
def test_the_quick_rendering_benchmark_has_a_row_for_each_answer():
    """`rendering.py --quick` finishes in a real kernel and prints a row for each answer."""
    out = quick("rendering")

    rows = [line for line in out.splitlines() if line.endswith(" s")]
    assert len(rows) == 5


@pytest.mark.kernel
def test_the_quick_benchmark_of_the_view_also_measures_handwritten_code():
    """`side_by_side.py --quick` finishes in a real kernel and prints all rows."""
    out = quick("side_by_side")

    rows = [line for line in out.splitlines() if " MB " in line]
    assert [row[:26].strip() for row in rows] == [
        "comparison view",
        "a widget value per chunk",
        "no output",
    ]


def test_the_quick_benchmark_measures_this_package_beside_the_bare_transport():
    """`overhead.py --quick` finishes, and each table has this package and the bare transport."""
    out = quick("overhead")

    tables = [table for table in out.split("\n\n") if table.startswith("CPU a ")]
    assert len(tables) == 4
    for table in tables:
        figures = {line[:30].strip(): line.split() for line in table.splitlines()}
        assert {"httpx on aiohttp", "httpx", "gatewayx_nb"} <= set(figures)
    assert "import gatewayx_nb" in out
    assert "await pool.aask" in out
