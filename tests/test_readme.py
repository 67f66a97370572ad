"""The README: its examples are run, and its listings are compared with actual output."""

import doctest
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

import gatewayx_nb
from gatewayx_nb import commands, secrets, text
from gatewayx_nb.comparisons import comparison
from gatewayx_nb.secure_config import key_lookup
from gatewayx_nb.testing import CHAT, Server, check

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_have_the_output_shown():
    """The README's Python sessions, run as a single session, have the output shown."""
    session = "\n".join(re.findall(r"```python\n(>>> .*?)```", README, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)

    assert doctest.DocTestRunner().run(test).failed == 0


def test_links_lead_to_files():
    """Each relative link of the README names a file that exists."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)

    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_list_of_commands_is_complete():
    """The README's list of commands equals the output of `%gatewayx help`."""
    (command_list,) = re.findall(r"a test compares them -->\n```\n(.*?)```", README, re.DOTALL)
    session = SimpleNamespace(prog="%gatewayx", ask_prog="%%gatewayx")
    help_lines = repr(commands.run(session, "help")).splitlines()[2:]

    assert [" ".join(line.split()) for line in command_list.splitlines()] == [
        " ".join(line.split()) for line in help_lines
    ]


@pytest.fixture
def guide_project(project):
    """Return a project with the engine files of the README's guide."""
    files = re.findall(r"```python\n# engines/(\w+)_engine\.py\n(.*?)```", README, re.DOTALL)
    for name, source in files:
        (project.engines / f"{name}_engine.py").write_text(source)
    project.names = [name for name, _ in files]
    return project


def test_the_guides_engines_answer(guide_project):
    """The guide's three engines answer: a simple one, one with a stream and one with a provider."""
    with Server(CHAT.answer) as server:
        guide_project.set_keys(f"GATEWAYX_ACME_API_KEY=k\nGATEWAYX_ACME_BASE_URL={server.url}/v1\n")
        with guide_project.pool() as pool:
            shout_reply = pool.ask("hello", model="shout")
            word_chunks = [chunk.text for chunk in pool.stream("one two", model="words")]
            acme_reply = pool.ask("hello", model="acme")

    assert guide_project.names == ["shout", "words", "acme"]
    assert (shout_reply.text, word_chunks) == ("HELLO", ["one ", "two ", ""])
    assert (bool(acme_reply.text), server.requests[0].target) == (True, "/v1/chat/completions")


def test_the_guides_engines_pass_the_conformance_kit(guide_project, monkeypatch):
    """The guide's engines pass the conformance kit, with the output shown in the guide."""
    monkeypatch.chdir(guide_project.root)
    (session,) = re.findall(r"```pycon\n(.*?)```", README, re.DOTALL)
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)

    assert doctest.DocTestRunner().run(test).failed == 0
    for name in guide_project.names:
        check(f"engines/{name}_engine.py", ask=name != "acme")


@pytest.fixture
def guide_repository(tmp_path):
    """Return a folder with the files of the README's guide to tests, and its commands."""
    for name, source in re.findall(
        r"```(?:python|yaml)\n# (\S*story\.py|\S+\.yml)\n(.*?)```", README, re.DOTALL
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    cells = re.findall(
        r"```\n(%load_ext gatewayx_nb\n%gatewayx cassette.*?|%%gatewayx mock\n.*?)```",
        README,
        re.DOTALL,
    )
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    )
    nbformat.write(notebook, tmp_path / "story.ipynb")
    return tmp_path


def shell(command, folder, *prefix, **variables):
    """Run a command of the README in a folder, and check that it succeeds."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = [f"{name}={value}" for name, value in {"PATH": path, **variables}.items()]
    process = subprocess.run(
        [*prefix, "env", *settings, *shlex.split(command, comments=True)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.mark.kernel
def test_the_guides_repository_passes_without_network(guide_repository):
    """The guide's files pass by its commands: recorded with a network, then tested without one."""
    recording = re.search(r"^pytest --gatewayx-record.*\n(?:.*\n)*?```", README, re.MULTILINE)
    for command in recording.group().splitlines()[:-1]:
        shell(command, guide_repository)
    workflow = (guide_repository / ".github" / "workflows" / "test.yml").read_text()
    variables = dict(re.findall(r"^      (GATEWAYX_\w+): (\w+)$", workflow, re.MULTILINE))
    (command,) = re.findall(r"- run: (pytest .*)", workflow)
    without_network = (sys.executable, str(ROOT / "notebooks" / "bare.py"))
    output = shell(command, guide_repository, *without_network, **variables)
    output_in_ci = shell(command, guide_repository, *without_network, CI="true")

    assert variables == {"GATEWAYX_CASSETTE_MODE": "replay"}
    assert "3 passed in" in output
    assert "3 passed in" in output_in_ci


@pytest.mark.parametrize(
    "module", [gatewayx_nb, text, secrets, key_lookup, gatewayx_nb.messages, comparison]
)
def test_the_examples_in_docstrings_are_correct(module):
    outcome = doctest.testmod(module)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
