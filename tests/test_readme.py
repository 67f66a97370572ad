"""What README shows is run, or compared with what the program says."""

import doctest
import re
from pathlib import Path

import pytest

import gatewayx_nb
from gatewayx_nb import commands, rendering
from gatewayx_nb.secure_config import keys, secret

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_examples_give_what_they_show():
    """The Python session of the first screen."""
    (session,) = re.findall(r"```python\n(>>> .*?)```", README, re.DOTALL)
    test = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)

    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_list_of_commands_is_the_programs():
    """Made from `%gatewayx help`."""
    (listed,) = re.findall(r"a test compares them -->\n```\n(.*?)```", README, re.DOTALL)
    shown = repr(commands.run(None, "help")).splitlines()[2:]

    assert [" ".join(line.split()) for line in listed.splitlines()] == [
        " ".join(line.split()) for line in shown
    ]


def test_the_engine_of_the_guide_answers(project):
    """As it stands there."""
    (source,) = re.findall(r"```python\n(from \.\.llm_engines.*?)```", README, re.DOTALL)
    (project.engines / "shout_engine.py").write_text(source)

    assert project.pool().ask("hello", model="shout").text == "HELLO"


@pytest.mark.parametrize("module", [gatewayx_nb, rendering, secret, keys, gatewayx_nb.messages])
def test_the_examples_in_docstrings_hold(module):
    """They are run."""
    outcome = doctest.testmod(module)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
