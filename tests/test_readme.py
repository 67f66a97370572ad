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
    (command_list,) = re.findall(r"a test compares them -->\n```text\n(.*?)```", README, re.DOTALL)
    session = SimpleNamespace(prog="%gatewayx", ask_prog="%%gatewayx", commands=commands.COMMANDS)
    help_lines = repr(commands.run(session, "help")).splitlines()[2:]

    assert [" ".join(line.split()) for line in command_list.splitlines()] == [
        " ".join(line.split()) for line in help_lines
    ]


@pytest.mark.parametrize(
    "module", [gatewayx_nb, text, secrets, key_lookup, gatewayx_nb.messages, comparison]
)
def test_the_examples_in_docstrings_are_correct(module):
    outcome = doctest.testmod(module)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
