"""Cassettes in a real kernel: a replayed notebook has the outputs that were saved."""

import subprocess
import sys

import nbformat
import pytest

from tests.kernels import Kernel, environment

pytestmark = pytest.mark.kernel

CELLS = (
    "%load_ext gatewayx_nb\nimport gatewayx_nb as gx",
    "%gatewayx cassette",
    "%%gatewayx mock -p rate=30 -o answer\none two three four five six",
    "%%gatewayx mock mock:b\none two",
    "answer.replayed, answer.usage.output_tokens, gx.ask('Hi', model='mock').text",
    "%gatewayx",
)


@pytest.fixture
def run_notebook(project, tmp_path):
    """Return a function that runs the notebook's cells in a new kernel and returns the outcomes."""
    home = tmp_path / "home"
    home.mkdir()

    def run(**env):
        notebook = str(project.root / "story.ipynb")
        with Kernel(project.root, home, JPY_SESSION_NAME=notebook, **env) as kernel:
            return [kernel.run(cell) for cell in CELLS]

    return run


def saved_output(outcome):
    """Return the cell's display data and value, which a notebook saves."""
    return [content["data"] for content in outcome.contents("display_data", "execute_result")]


def test_every_replay_of_a_notebook_has_the_same_output(run_notebook, project):
    """Replays of a notebook save the same output, with one display and no updates per cell."""
    recording = run_notebook()
    first_replay, second_replay = (run_notebook(GATEWAYX_CASSETTE_MODE="replay") for _ in range(2))

    assert (project.root / "cassettes" / "story.jsonl").is_file()
    assert recording[2].contents("update_display_data")
    assert [*map(saved_output, first_replay)] == [*map(saved_output, second_replay)]
    for cell in (2, 3):
        assert len(first_replay[cell].displays) == 1
        assert not first_replay[cell].contents("update_display_data", "clear_output")
        assert "replayed" in first_replay[cell].last_display["text/html"]
    assert first_replay[2].last_display["text/plain"] == recording[2].last_display["text/plain"]
    opened = "Cassette cassettes/story.jsonl is open in mode auto: it replays what is recorded"
    opened += " and records the rest."
    assert first_replay[1].result == recording[1].result == opened
    assert first_replay[4].result == "(True, 7, '[mock] Hi')"
    assert "replay" in first_replay[5].result
    assert not any(outcome.error for outcome in (*recording, *first_replay, *second_replay))


def test_nbval_detects_a_changed_cassette(run_notebook, project, tmp_path):
    """A replayed notebook passes nbval, and fails if one word of its cassette changes."""
    run_notebook()
    outcomes = run_notebook(GATEWAYX_CASSETTE_MODE="replay")
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    for number, (cell, outcome) in enumerate(zip(CELLS, outcomes, strict=True), start=1):
        outputs = [
            nbformat.v4.output_from_msg(message)
            for message in outcome.messages
            if message["msg_type"] in ("display_data", "execute_result")
        ]
        notebook.cells.append(
            nbformat.v4.new_code_cell(cell, outputs=outputs, execution_count=number)
        )
    nbformat.write(notebook, project.root / "story.ipynb")

    def run_nbval():
        return subprocess.run(
            [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "story.ipynb"],
            cwd=project.root,
            env=environment(
                tmp_path / "home",
                GATEWAYX_CASSETTE_MODE="replay",
                JPY_SESSION_NAME=str(project.root / "story.ipynb"),
            ),
            capture_output=True,
            text=True,
            check=False,
        ).stdout

    cassette = project.root / "cassettes" / "story.jsonl"
    report = run_nbval()
    cassette.write_text(cassette.read_text().replace("five", "fife"))
    report_after_change = run_nbval()

    assert f"{len(CELLS)} passed" in report, report
    assert "failed" in report_after_change
