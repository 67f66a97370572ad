"""A cassette in a real kernel: the saved outputs, which the notebook test compares."""

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
def runs(project, tmp_path):
    """Return a function that runs the cells in a new kernel and returns their outcomes."""
    home = tmp_path / "home"
    home.mkdir()

    def run(**env):
        name = str(project.root / "story.ipynb")
        with Kernel(project.root, home, JPY_SESSION_NAME=name, **env) as kernel:
            return [kernel.run(cell) for cell in CELLS]

    return run


def shown(outcome):
    """Return the saved output of a cell, without the parts that differ when replayed."""
    return [content["data"] for content in outcome.of("display_data", "execute_result")]


def test_a_notebook_plays_its_cassette_back(runs, project):
    """Every replay shows the same: one display and no updates, which nbval would not compare."""
    recorded = runs()
    first, second = (runs(GATEWAYX_CASSETTE_MODE="replay") for _ in range(2))

    assert (project.root / "cassettes" / "story.jsonl").is_file()
    assert recorded[2].of("update_display_data")
    assert list(map(shown, first)) == list(map(shown, second))
    for cell in (2, 3):
        assert len(first[cell].displays) == 1
        assert not first[cell].of("update_display_data", "clear_output")
        assert "replayed" in first[cell].shown["text/html"]
    assert first[2].shown["text/plain"] == recorded[2].shown["text/plain"]
    assert first[1].result == recorded[1].result == "Cassette story.jsonl is open."
    assert first[4].result == "(True, 7, '[mock] Hi')"
    assert "replay" in first[5].result
    assert not any(outcome.error for outcome in (*recorded, *first, *second))


def test_nbval_compares_such_a_notebook(runs, project, tmp_path):
    """Nbval compares the notebook strictly and fails if one word of the cassette changes."""
    runs()
    outcomes = runs(GATEWAYX_CASSETTE_MODE="replay")
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )
    for number, (cell, outcome) in enumerate(zip(CELLS, outcomes, strict=True), start=1):
        outputs = [
            nbformat.v4.output_from_msg(message)
            for message in outcome.messages
            if message["msg_type"] in ("display_data", "execute_result")
        ]
        book.cells.append(nbformat.v4.new_code_cell(cell, outputs=outputs, execution_count=number))
    nbformat.write(book, project.root / "story.ipynb")

    def nbval():
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
    good = nbval()
    cassette.write_text(cassette.read_text().replace("five", "fife"))
    bad = nbval()

    assert f"{len(CELLS)} passed" in good, good
    assert "failed" in bad
