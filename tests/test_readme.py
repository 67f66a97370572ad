"""The README: its examples are run, and its listings are compared with actual output."""

import doctest
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import gatewayx_nb
from gatewayx_nb import commands, secrets, text
from gatewayx_nb.comparisons import comparison
from gatewayx_nb.secure_config import key_lookup
from gatewayx_nb.testing import CHAT, Server, check

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_examples_have_the_output_shown():
    """The README's Python sessions, run as a single session, have the output shown."""
    session = "\n".join(re.findall(r"```python\n(>>> .*?)```", README, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)

    assert doctest.DocTestRunner().run(test).failed == 0


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


@pytest.mark.parametrize(
    "module", [gatewayx_nb, text, secrets, key_lookup, gatewayx_nb.messages, comparison]
)
def test_the_examples_in_docstrings_are_correct(module):
    outcome = doctest.testmod(module)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
