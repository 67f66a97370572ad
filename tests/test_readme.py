"""The README's examples are run, and its listings compared with the program."""

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


def test_the_examples_give_what_they_show():
    """The Python sessions of the README run as one."""
    session = "\n".join(re.findall(r"```python\n(>>> .*?)```", README, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)

    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_list_of_commands_is_the_programs():
    """The README lists the commands of `%gatewayx help`."""
    (listed,) = re.findall(r"a test compares them -->\n```\n(.*?)```", README, re.DOTALL)
    session = SimpleNamespace(prog="%gatewayx", ask_prog="%%gatewayx")
    shown = repr(commands.run(session, "help")).splitlines()[2:]

    assert [" ".join(line.split()) for line in listed.splitlines()] == [
        " ".join(line.split()) for line in shown
    ]


@pytest.fixture
def guide(project):
    """Return a project with the guide's engine files, verbatim."""
    files = re.findall(r"```python\n# engines/(\w+)_engine\.py\n(.*?)```", README, re.DOTALL)
    for name, source in files:
        (project.engines / f"{name}_engine.py").write_text(source)
    project.names = [name for name, _ in files]
    return project


def test_the_engines_of_the_guide_answer(guide):
    """The guide's engines reply whole, streamed and from a provider, here a local server."""
    with Server(CHAT.answer) as server:
        guide.set_keys(f"GATEWAYX_ACME_API_KEY=k\nGATEWAYX_ACME_BASE_URL={server.url}/v1\n")
        with guide.pool() as pool:
            shouted = pool.ask("hello", model="shout")
            words = [chunk.text for chunk in pool.stream("one two", model="words")]
            answered = pool.ask("hello", model="acme")

    assert guide.names == ["shout", "words", "acme"]
    assert (shouted.text, words) == ("HELLO", ["one ", "two ", ""])
    assert (bool(answered.text), server.requests[0].target) == (True, "/v1/chat/completions")


def test_the_engines_of_the_guide_keep_the_rules(guide, monkeypatch):
    """The guide's engines pass the conformance kit, whose output is the one in the guide."""
    monkeypatch.chdir(guide.root)
    (session,) = re.findall(r"```pycon\n(.*?)```", README, re.DOTALL)
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)

    assert doctest.DocTestRunner().run(test).failed == 0
    for name in guide.names:
        check(f"engines/{name}_engine.py", ask=name != "acme")


@pytest.mark.parametrize(
    "module", [gatewayx_nb, text, secrets, key_lookup, gatewayx_nb.messages, comparison]
)
def test_the_examples_in_docstrings_hold(module):
    outcome = doctest.testmod(module)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
