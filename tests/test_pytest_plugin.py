"""The pytest plugin, in a separate pytest process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

TEST_MODULE = """
import pytest


@pytest.mark.parametrize("prompt", ["Say this", "a/b c"])
def test_answer(gatewayx_pool, prompt):
    reply = gatewayx_pool.ask(prompt, model="mock")
    assert reply.text == f"[mock] {prompt}"
"""


@pytest.fixture
def run_pytest(tmp_path):
    """Return a function that runs pytest in a folder with a single test module."""
    (tmp_path / "test_mine.py").write_text(TEST_MODULE)

    def run_pytest(*options, **env):
        # nbval takes seconds to import, so it is disabled unless needed.
        disabled_plugins = (
            ("cacheprovider",) if "--nbval" in options else ("cacheprovider", "nbval")
        )
        plugin_options = [word for name in disabled_plugins for word in ("-p", f"no:{name}")]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugin_options, *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return run_pytest


def test_replies_are_recorded_and_replayed(run_pytest, tmp_path):
    """Each test case has its own cassette, and fails without it or if its reply is edited."""
    unrecorded_run = run_pytest()
    recording_run = run_pytest("--gatewayx-record")
    replaying_run = run_pytest()
    folder = tmp_path / "cassettes" / "test_mine"
    (cassette, *_) = sorted(folder.glob("*.jsonl"))
    cassette.write_text(cassette.read_text().replace("[mock]", "[muck]"))
    edited_run = run_pytest()

    assert "does not exist" in unrecorded_run.stdout
    assert "--gatewayx-record" in unrecorded_run.stdout
    assert "2 passed" in recording_run.stdout, recording_run.stdout
    assert "2 passed" in replaying_run.stdout
    assert {path.name for path in folder.glob("*.jsonl")} == {
        "test_answer-Say-this.jsonl",
        "test_answer-a-b-c.jsonl",
    }
    assert "1 failed, 1 passed" in edited_run.stdout


def test_the_plugin_imports_only_its_own_package(tmp_path):
    """Importing the plugin, which pytest does in every project, imports no other modules."""
    script = (
        "import sys, pytest, json; before = set(sys.modules);"
        "import gatewayx_nb.pytest_plugin;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip

    imported = ["gatewayx_nb", "gatewayx_nb._lazy", "gatewayx_nb.pytest_plugin"]
    assert json.loads(process.stdout) == imported


def make_notebook(*cells):
    """Return a notebook as JSON; each cell is a pair of its source and its output."""
    json_cells = [
        {
            "cell_type": "code", "execution_count": 1, "metadata": {}, "source": source,
            "id": f"c{number}",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": text}
            ] if text else [],
        }
        for number, (source, text) in enumerate(cells)
    ]  # fmt: skip
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {
            "cells": json_cells,
            "metadata": {"kernelspec": kernel},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


@pytest.mark.kernel
def test_the_nbval_sanitize_file_ignores_only_metrics(run_pytest, tmp_path):
    """The sanitize file `gatewayx` makes nbval ignore metrics, but not the text of replies."""
    summary = "mock:mock · {} s, first after 0.4 s · 3 in, {} out · $0.5{}"
    cell = "print('it said {} [" + summary + "]')"
    saved_output = "it said this [" + summary.format(22.5, 5, "") + "]\n"
    matching_cell = (cell.format("this", 1.0, 4, " · replayed"), saved_output)
    (tmp_path / "a.ipynb").write_text(make_notebook(matching_cell), encoding="utf-8")
    (tmp_path / "b.ipynb").write_text(
        make_notebook((matching_cell[0].replace("this", "that"), matching_cell[1])),
        encoding="utf-8",
    )
    options = ("--nbval", "--nbval-sanitize-with", "gatewayx", "a.ipynb")

    passing_run, failing_run = run_pytest(*options), run_pytest(*options[:-1], "b.ipynb")

    assert "1 passed" in passing_run.stdout, passing_run.stdout
    assert "1 failed" in failing_run.stdout
