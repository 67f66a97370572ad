"""The pytest plugin, in a pytest of its own as in a user's project."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

TEST = """
import pytest


@pytest.mark.parametrize("prompt", ["Say this", "a/b c"])
def test_answer(gatewayx_pool, prompt):
    reply = gatewayx_pool.ask(prompt, model="mock")
    assert reply.text == f"[mock] {prompt}"
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that runs pytest in a folder with one test."""
    (tmp_path / "test_mine.py").write_text(TEST)

    def run(*options, **env):
        # nbval takes seconds to import, so it is disabled unless needed.
        without = ("cacheprovider",) if "--nbval" in options else ("cacheprovider", "nbval")
        plugins = [word for name in without for word in ("-p", f"no:{name}")]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugins, *options],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_replies_are_recorded_once_and_replayed(run, tmp_path):
    """Each test has a cassette file beside it, and an edited reply makes the test fail."""
    before = run()
    recorded = run("--gatewayx-record")
    played = run()
    folder = tmp_path / "cassettes" / "test_mine"
    (one, *_) = sorted(folder.glob("*.jsonl"))
    one.write_text(one.read_text().replace("[mock]", "[muck]"))
    edited = run()

    assert "does not exist" in before.stdout
    assert "--gatewayx-record" in before.stdout
    assert "2 passed" in recorded.stdout, recorded.stdout
    assert "2 passed" in played.stdout
    assert {path.name for path in folder.glob("*.jsonl")} == {
        "test_answer-Say-this.jsonl",
        "test_answer-a-b-c.jsonl",
    }
    assert "1 failed, 1 passed" in edited.stdout


def test_the_plugin_imports_almost_nothing(tmp_path):
    """The plugin is loaded in every project, so it imports nothing but its own package."""
    script = (
        "import sys, pytest, json; before = set(sys.modules);"
        "import gatewayx_nb.pytest_plugin;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip

    imported = ["gatewayx_nb", "gatewayx_nb._lazy", "gatewayx_nb.pytest_plugin"]
    assert json.loads(done.stdout) == imported


def notebook(*cells):
    """Return a notebook; each cell is its source and the text of its output."""
    made = [
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
        {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    )


@pytest.mark.kernel
def test_the_nbval_sanitize_file_ignores_metrics(run, tmp_path):
    """Nbval's sanitize file, named by its short name, hides figures but not replies."""
    line = "mock:mock · {} s, first after 0.4 s · 3 in, {} out · $0.5{}"
    cell = "print('it said {} [" + line + "]')"
    said = "it said this [" + line.format(22.5, 5, "") + "]\n"
    good = (cell.format("this", 1.0, 4, " · replayed"), said)
    (tmp_path / "a.ipynb").write_text(notebook(good), encoding="utf-8")
    (tmp_path / "b.ipynb").write_text(
        notebook((good[0].replace("this", "that"), good[1])), encoding="utf-8"
    )
    options = ("--nbval", "--nbval-sanitize-with", "gatewayx", "a.ipynb")

    passed, failed = run(*options), run(*options[:-1], "b.ipynb")

    assert "1 passed" in passed.stdout, passed.stdout
    assert "1 failed" in failed.stdout
