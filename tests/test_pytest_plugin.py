"""The pytest plugin, in a separate pytest process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewayx_nb import hints
from gatewayx_nb.pytest_plugin import pools

REPOSITORY = Path(__file__).parents[1]

TEST_MODULE = """
import pytest


@pytest.mark.parametrize("prompt", ["Hi", "a/b c"])
def test_answer(gatewayx_pool, prompt):
    reply = gatewayx_pool.ask(prompt, model="mock")
    assert reply.text == f"[mock] {prompt}"
"""

FUNCTIONS = """
import gatewayx_nb as gx


def greet(prompt="Good morning"):
    return gx.ask(prompt, model="mock").text


async def agreet():
    return (await gx.aask("Good morning", model="mock")).text
"""


@pytest.fixture
def run_pytest(tmp_path):
    """Return a function that runs pytest in a folder with a single test module."""
    (tmp_path / "test_mine.py").write_text(TEST_MODULE)
    (tmp_path / "functions.py").write_text(FUNCTIONS)

    def run_pytest(*options, **env):
        # nbval takes seconds to import, so it is disabled unless needed.
        disabled_plugins = (
            ("cacheprovider",) if "--nbval" in options else ("cacheprovider", "nbval")
        )
        env = {"COLUMNS": "300", **env}
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


@pytest.fixture
def write_tests(tmp_path):
    """Return a function that replaces the test module by a body without imports."""

    def write_tests(body):
        header = "import pytest\nimport gatewayx_nb as gx\nimport functions\n"
        (tmp_path / "test_mine.py").write_text(header + body)

    return write_tests


def recorded_prompts(folder):
    """Return the prompts of each cassette of the test module."""
    prompts = {}
    for path in sorted((folder / "cassettes" / "test_mine").glob("*.jsonl")):
        entries = map(json.loads, path.read_text().splitlines()[1:])
        prompts[path.stem] = [entry["request"]["messages"][0]["content"] for entry in entries]
    return prompts


def test_replies_are_recorded_and_replayed(run_pytest, tmp_path):
    """Each test case has its own cassette, and fails without it or if its reply is edited."""
    unrecorded_run = run_pytest()
    recording_run = run_pytest("--gatewayx-record")
    replaying_run = run_pytest()
    folder = tmp_path / "cassettes" / "test_mine"
    (cassette, *_) = sorted(folder.glob("*.jsonl"))
    cassette.write_text(cassette.read_text().replace("[mock]", "[muck]"))
    edited_run = run_pytest()

    assert (
        "CassetteMissError: the call is not in the cassette 'test_answer-Hi.jsonl', which does not"
        " exist. Run `pytest --gatewayx-record 'test_mine.py::test_answer[Hi]'` to record it. Or"
        " ignore the cassette with `fresh=True`."
    ) in unrecorded_run.stdout
    assert "%gatewayx" not in unrecorded_run.stdout
    assert "2 passed" in recording_run.stdout, recording_run.stdout
    assert "2 passed" in replaying_run.stdout
    assert {path.name for path in folder.glob("*.jsonl")} == {
        "test_answer-Hi.jsonl",
        "test_answer-a-b-c-02c2eac2.jsonl",
    }
    assert "1 failed, 1 passed" in edited_run.stdout


KINDS_OF_TESTS = """
import unittest

OWN_POOL = gx.pool()
gx.use("mock")


@pytest.mark.gatewayx
def test_marker():
    assert gx.pool() is not OWN_POOL
    assert functions.greet() == "[mock] Good morning"
    assert gx.ask("The default model answers").text == "[mock] The default model answers"
    assert OWN_POOL.ask("From a pool that a module holds").replayed is not RECORDING


def test_without_marker():
    assert (gx.pool() is OWN_POOL, OWN_POOL.active_cassette) == (True, None)


def test_cassette(gatewayx_cassette):
    assert functions.greet() and gatewayx_cassette is gx.pool().active_cassette


def test_pool(gatewayx_pool):
    assert functions.greet() and gatewayx_pool is gx.pool()


@pytest.mark.gatewayx
@pytest.mark.anyio
async def test_async():
    assert await functions.agreet() == "[mock] Good morning"


@pytest.mark.gatewayx
def test_without_calls():
    pass


@pytest.mark.gatewayx
class TestFirst:
    def test_same_name(self):
        assert functions.greet("One")


class TestSecond(unittest.TestCase):
    @pytest.mark.gatewayx
    def test_same_name(self):
        assert functions.greet("Two")


def test_is_restored():
    assert (gx.pool() is OWN_POOL, OWN_POOL.active_cassette) == (True, None)
"""


def test_functions_under_test_are_replayed(run_pytest, write_tests, tmp_path):
    """The marker and both fixtures reach `gx.ask`; the default pool is then as before."""
    write_tests(f"RECORDING = True\n{KINDS_OF_TESTS}")
    recording_run = run_pytest("--gatewayx-record")
    prompts = recorded_prompts(tmp_path)
    write_tests(f"RECORDING = False\n{KINDS_OF_TESTS}")
    replaying_run = run_pytest("--gatewayx-unused", "error", "--strict-markers")

    assert "9 passed" in recording_run.stdout, recording_run.stdout
    assert "9 passed" in replaying_run.stdout, replaying_run.stdout
    assert prompts.pop("test_marker")[1:] == [
        "The default model answers",
        "From a pool that a module holds",
    ]
    assert prompts == {
        "TestFirst.test_same_name": ["One"],
        "TestSecond.test_same_name": ["Two"],
        "test_async-asyncio": ["Good morning"],
        "test_cassette": ["Good morning"],
        "test_pool": ["Good morning"],
    }


def test_a_marker_names_path_and_mode(run_pytest, write_tests, tmp_path):
    """Tests can share a file, and a mode is used unless the option or the environment names one."""
    write_tests(
        """
pytestmark = pytest.mark.gatewayx("shared/a.jsonl")

@pytest.mark.gatewayx(mode="auto")
def test_records():
    assert functions.greet("One")

def test_replays(gatewayx_cassette):
    assert gatewayx_cassette.mode == "replay"
    assert functions.greet("One")

@pytest.mark.gatewayx(mode="off")
def test_is_live():
    assert not gx.ask("Two", model="mock").replayed
"""
    )
    auto_run = run_pytest("--gatewayx-unused", "error")
    replaying_run = run_pytest(GATEWAYX_CASSETTE_MODE="replay")

    assert "3 passed" in auto_run.stdout, auto_run.stdout
    assert "1 failed, 2 passed" in replaying_run.stdout
    assert (tmp_path / "shared" / "a.jsonl").is_file()


def test_invalid_arguments_of_the_marker_are_an_error(run_pytest, write_tests):
    """A misspelt argument or mode is named in one line."""
    write_tests(
        """
@pytest.mark.gatewayx(mod="auto")
def test_argument():
    pass

@pytest.mark.gatewayx(mode="recordd")
def test_mode():
    pass

@pytest.mark.gatewayx("auto")
def test_mode_as_path():
    pass

@pytest.mark.gatewayx(3)
def test_number():
    pass

@pytest.mark.gatewayx(mode="")
def test_empty_mode():
    pass

@pytest.mark.gatewayx(tools="walk")
def test_tools():
    pass
"""
    )
    for run in (run_pytest(), run_pytest("--gatewayx-record")):
        assert "@pytest.mark.gatewayx accepts path, mode and tools, got 'mod'." in run.stdout
        assert "got 'recordd'. Did you mean 'record'?" in run.stdout
        assert "path must be a file, got the mode 'auto'. Use `mode='auto'`." in run.stdout
        assert "path must be a str, got 3." in run.stdout
        assert "mode must be one of auto, record, replay, off, got ''." in run.stdout
        assert "tools must be 'run' or 'replay', got 'walk'." in run.stdout
        assert "6 errors" in run.stdout


TOOLS = """
import os

@gx.tool(read_only=True)
def weather(city: str) -> str:
    "Return the weather."
    with open("called", "a") as file:
        file.write("x")
    return os.environ["WEATHER"] + " in " + city

def ask():
    return gx.ask('call weather {"city": "Rome"}', "mock", tools=weather)

@pytest.mark.gatewayx(tools="run")
def test_runs():
    assert ask().steps[0].allowed_by in ("tools", "replay")

@pytest.mark.gatewayx
def test_replays():
    assert ask().text == "[mock] sunny in Rome"
"""


def test_a_marker_runs_the_functions_that_a_replayed_model_calls(run_pytest, write_tests, tmp_path):
    """A different result is a miss that shows both; the environment takes precedence."""
    write_tests(TOOLS)
    called = tmp_path / "called"
    recording_run = run_pytest("--gatewayx-record", WEATHER="sunny")
    assert "2 passed" in recording_run.stdout, recording_run.stdout

    called.unlink()
    same_run = run_pytest("--gatewayx-unused", "error", WEATHER="sunny")
    assert "2 passed" in same_run.stdout, same_run.stdout
    assert called.read_text() == "x"

    other_run = run_pytest(WEATHER="rainy")
    assert "1 failed, 1 passed" in other_run.stdout
    assert (
        "its result of 'weather' is 'sunny in Rome', not 'rainy in Rome'. Run `pytest"
        " --gatewayx-record test_mine.py::test_runs` to record it."
    ) in other_run.stdout

    overruled_run = run_pytest(WEATHER="rainy", GATEWAYX_CASSETTE_TOOLS="replay")
    assert "2 passed" in overruled_run.stdout, overruled_run.stdout


def test_an_option_that_contradicts_the_environment_is_an_error(run_pytest):
    run = run_pytest("--gatewayx-record", GATEWAYX_CASSETTE_MODE="replay")

    assert "--gatewayx-record contradicts GATEWAYX_CASSETTE_MODE=replay" in run.stderr


TWO_CALLS = """
@pytest.mark.gatewayx
def test_greet():
    functions.greet("One")
    functions.greet("Two")

@pytest.mark.gatewayx
def test_other():
    functions.greet("Three")
"""


@pytest.fixture
def stale_project(run_pytest, write_tests):
    """Record three calls in two tests, and remove a call."""
    write_tests(TWO_CALLS)
    assert "2 passed" in run_pytest("--gatewayx-record").stdout
    write_tests(TWO_CALLS.replace('    functions.greet("One")\n', ""))


UNUSED = "cassettes/test_mine/test_greet.jsonl: 1 of 2 entries was not used by the test."


@pytest.mark.usefixtures("stale_project")
@pytest.mark.parametrize(
    ("level", "summary", "is_reported"),
    [
        ("ignore", "2 passed in", False),
        ("warn", "2 passed, 1 warning in", True),
        ("error", "2 passed, 1 error in", True),
    ],
)
def test_unused_entries_are_reported(run_pytest, level, summary, is_reported):
    """The option decides whether entries that a passed test has not used are reported."""
    run = run_pytest("--gatewayx-unused", level)

    assert summary in run.stdout
    assert (UNUSED in run.stdout) is is_reported
    command = "`pytest --gatewayx-record test_mine.py::test_greet` removes them."
    assert (command in run.stdout) is is_reported


@pytest.mark.usefixtures("stale_project")
def test_unused_entries_are_pruned_when_recording(run_pytest, tmp_path):
    """`--gatewayx-record` removes what a passed test has not used."""
    run = run_pytest("--gatewayx-record")

    assert "2 passed in" in run.stdout, run.stdout
    assert recorded_prompts(tmp_path) == {"test_greet": ["Two"], "test_other": ["Three"]}


@pytest.mark.usefixtures("stale_project")
@pytest.mark.parametrize("option", ["--gatewayx-record", "--gatewayx-unused=error"])
def test_the_entries_of_a_failed_test_are_kept(run_pytest, write_tests, tmp_path, option):
    """A failed or skipped test may not have made all its calls, so it is not reported."""
    write_tests(
        TWO_CALLS.replace('    functions.greet("One")\n', "    assert 0\n").replace(
            '    functions.greet("Three")\n', "    pytest.skip('no')\n"
        )
    )
    run = run_pytest(option)

    assert "1 failed, 1 skipped in" in run.stdout, run.stdout
    assert recorded_prompts(tmp_path) == {"test_greet": ["One", "Two"], "test_other": ["Three"]}


@pytest.mark.usefixtures("stale_project")
def test_a_cassette_without_a_test_is_reported(run_pytest, write_tests):
    """A cassette whose test was deleted is a warning, or fails the run; not in a partial run."""
    write_tests(
        "@pytest.mark.gatewayx\ndef test_greet():\n"
        "    functions.greet('One')\n    functions.greet('Two')\n"
    )
    message = "cassettes/test_mine/test_other.jsonl: no test uses this cassette."
    runs = {
        options: run_pytest(*options)
        for options in [
            (),
            ("-k", "nothing"),
            ("-n2",),
            ("--gatewayx-unused=error",),
            ("-n2", "--gatewayx-unused=error", "-W", "error"),
            ("test_mine.py::test_greet", "--gatewayx-unused=error"),
            ("--gatewayx-unused=ignore",),
        ]
    }

    strict_run = run_pytest("-W", "error")

    assert f"ERROR: {message}" in strict_run.stdout + strict_run.stderr
    assert (strict_run.returncode, "INTERNALERROR" in strict_run.stdout) == (4, False)
    counts = [run.stdout.count(message) for run in runs.values()]
    assert counts == [1, 1, 1, 1, 1, 0, 0]
    assert [run.returncode for run in runs.values()] == [0, 5, 0, 1, 1, 0, 0]
    assert "ERROR: 1 cassette belongs to no test" in runs["--gatewayx-unused=error",].stdout


def test_a_miss_shows_the_frames_of_the_test(run_pytest, write_tests):
    """Frames of the package are shown with `--full-trace` only."""
    write_tests("@pytest.mark.gatewayx\ndef test_greet():\n    gx.ask('Hi', model='mock')\n")
    short, full = run_pytest().stdout, run_pytest("--full-trace").stdout

    assert "test_mine.py:6: CassetteMissError" in short
    assert "cassette.py:" not in short
    assert "cassette.py:" in full


def test_the_fixtures_wording_is_not_used_for_another_cassette(run_pytest, write_tests):
    """An error about a cassette that the test opened itself does not suggest the marker."""
    write_tests(
        "@pytest.mark.gatewayx\ndef test_greet():\n    gx.cassette('inner.jsonl', mode='replay')\n"
    )
    output = run_pytest().stdout

    assert "Open a cassette with `gatewayx_nb.cassette(" in output
    assert "@pytest.mark.gatewayx(" not in output


def test_hints_are_worded_for_pytest():
    """Each wording belongs to an existing hint, takes its arguments, and names no magic."""
    folder = Path("/home/ann/tests")
    own = folder / "cassettes" / "a.jsonl"
    wording = pools.pytest_wording("test_a.py::test_b[1 2]", own, folder)

    def text(action, **arguments):
        return hints.format_hint(hints.Hint(action, **arguments), wording)

    command = "`pytest --gatewayx-record 'test_a.py::test_b[1 2]'`"
    assert set(wording) <= set(hints.SCRIPT_WORDING)
    assert text("record_cassette", mode="auto") == f"Run {command} to record it."
    assert text("renew_recording") == f"Run {command} to record it again."
    assert text("open_cassette", path=own, mode="auto") == (
        'Name a cassette with `@pytest.mark.gatewayx("cassettes/a.jsonl", mode="auto")`.'
    )
    assert text("prune_cassette", path=own) == (
        f"Run {command} to record it again, or keep the newer ones with"
        f' `gatewayx_nb.cassette("{own}").prune()`.'
    )
    # The test itself opened another one.
    for hint in (
        hints.Hint("open_cassette", path=folder / "inner.jsonl", mode="record"),
        hints.Hint("prune_cassette", path=folder / "inner.jsonl"),
    ):
        assert hints.format_hint(hint, wording) == str(hint)


def test_the_wording_is_restored(request, tmp_path):
    """In the block, hints name pytest's options even if a notebook's wording was set."""
    previous = hints.set_wording({"run_again": "Run the cell again."})
    try:
        with pools.default_cassette(tmp_path / "a.jsonl", "replay", request.node):
            assert "--gatewayx-record" in hints.render(hints.Hint("renew_recording"))
            assert hints.render(hints.Hint("run_again")) == "Try again."
        assert hints.render(hints.Hint("run_again")) == "Run the cell again."
    finally:
        hints.set_wording(previous)


def test_the_plugin_imports_only_its_own_package(tmp_path):
    """Importing the plugin, which pytest does in every project, imports no other modules."""
    script = (
        "import sys, pytest, json, hashlib, queue, tempfile; before = set(sys.modules);"
        "import gatewayx_nb.pytest_plugin;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip

    imported = [
        "gatewayx_nb",
        "gatewayx_nb._lazy",
        "gatewayx_nb.pytest_plugin",
        "gatewayx_nb.pytest_plugin.notebooks",
        "gatewayx_nb.pytest_plugin.unused",
    ]
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


NOTEBOOK = [
    ("%load_ext gatewayx_nb\n%gatewayx cassette", ""),
    ("import gatewayx_nb as gx\nassert gx.ask('One', model='mock')", ""),
    ("assert gx.ask('Two', model='mock')", ""),
]


@pytest.fixture
def notebook(run_pytest, tmp_path):
    """Return a notebook whose last cell was removed after its cassette was recorded."""
    path = tmp_path / "story.ipynb"
    path.write_text(make_notebook(*NOTEBOOK), encoding="utf-8")
    run = run_pytest("--nbval-lax", "--nbval", path.name)
    assert "3 passed" in run.stdout, run.stdout
    path.write_text(make_notebook(*NOTEBOOK[:2]), encoding="utf-8")
    return path


@pytest.mark.kernel
def test_unused_entries_of_a_notebook_are_reported(run_pytest, notebook):
    """Entries that a whole notebook has not used are reported, but not after a part of it.

    `cassette` without a path opens the notebook's own, as in JupyterLab. nbval kills the kernel.
    """
    message = "cassettes/story.jsonl: 1 of 2 entries was not used by the notebook."
    options = ("--nbval-lax", "--nbval", "-k", "Cell", "--gatewayx-unused")
    warning_run = run_pytest(*options, "warn", notebook.name, GATEWAYX_CASSETTE_MODE="replay")
    failing_run = run_pytest(*options, "error", notebook.name, CI="true")
    partial_run = run_pytest(*options, "error", f"{notebook.name}::Cell 0")
    cells = [*NOTEBOOK[:2], ("1 / 0", "")]
    notebook.write_text(make_notebook(*cells), encoding="utf-8")
    failed_run = run_pytest(*options, "error", notebook.name)

    assert "2 passed, 1 warning in" in warning_run.stdout, warning_run.stdout
    assert message in warning_run.stdout
    assert "2 passed, 1 error in" in failing_run.stdout, failing_run.stdout
    assert message in failing_run.stdout
    assert "1 passed in" in partial_run.stdout, partial_run.stdout
    assert "1 failed, 2 passed in" in failed_run.stdout, failed_run.stdout


def test_hints_of_a_cyclic_chain_of_errors_are_worded(run_pytest, write_tests):
    """An error that is its own cause, as after `raise error from error`, does not stop pytest."""
    write_tests(
        "@pytest.mark.gatewayx\n"
        "def test_cycle():\n"
        "    try:\n"
        "        gx.ask('Hi', model='mock')\n"
        "    except gx.GatewayError as error:\n"
        "        raise error from error\n"
    )

    result = run_pytest()

    assert "1 failed" in result.stdout
    assert "Run `pytest --gatewayx-record test_mine.py::test_cycle` to record it" in result.stdout
