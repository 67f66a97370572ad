import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def test_the_quick_benchmark_measures_this_package_beside_the_bare_transport():
    """`overhead.py --quick` runs to its end and has a row for both in each of its tables."""
    run = subprocess.run(
        [sys.executable, "benchmarks/overhead.py", "--quick"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    tables = [table for table in run.stdout.split("\n\n") if table.startswith("CPU a ")]
    assert len(tables) == 4
    for table in tables:
        figures = {line[:30].strip(): line.split() for line in table.splitlines()}
        assert {"httpx on aiohttp", "httpx", "gatewayx_nb"} <= set(figures)
    assert "import gatewayx_nb" in run.stdout
    assert "await pool.aask" in run.stdout
