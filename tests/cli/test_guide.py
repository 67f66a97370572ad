"""The examples of the guide `shell` print what it shows."""

import re
import subprocess

import pytest

from tests.cli.conftest import ROOT

GUIDE = (ROOT / "docs" / "guides" / "shell.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(\$ .*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][2:40])
def test_the_output_is_that_of_the_guide(bash, block):
    """A line after `$` is a command, and the lines below it are its output."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    shown = "".join(f"{line}\n" for line in block.splitlines() if not line.startswith("$ "))
    assert bash("\n".join(commands), stderr=subprocess.STDOUT).out == shown


def test_the_guide_lists_the_exit_statuses():
    """The table has each status that `main` returns."""
    assert re.findall(r"^\| (\d+) \|", GUIDE, re.MULTILINE) == ["0", "1", "2", "3", "130"]
