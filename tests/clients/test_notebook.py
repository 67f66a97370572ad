"""A notebook whose calls are made by LangChain and instructor."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "tests" / "clients" / "langchain_and_instructor.ipynb"


def test_a_notebook_with_langchain_and_instructor_needs_no_key_and_no_network():
    """Every output is compared by nbval, in a process without keys, weights and network."""
    command = [sys.executable, str(ROOT / "notebooks" / "bare.py"), "env", "CI=true"]
    command += [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval"]
    command += ["--nbval-current-env", "--nbval-sanitize-with", "gatewayx", str(NOTEBOOK)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert process.returncode == 0, process.stdout + process.stderr
    assert "5 passed" in process.stdout
    assert "The network is available" not in process.stdout
