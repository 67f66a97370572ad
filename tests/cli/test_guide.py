"""The examples of the guide `shell` print what it shows."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT

GUIDE = (ROOT / "docs" / "guides" / "shell.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(\$ .*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][2:40])
def test_the_output_is_that_of_the_guide(project, block):
    """A line after `$` is a command, and the lines below it are its output."""
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    shown = "".join(f"{line}\n" for line in block.splitlines() if not line.startswith("$ "))
    python = shlex.quote(sys.executable)
    script = f'gatewayx() {{ {python} -m gatewayx_nb "$@"; }}\npython() {{ {python} "$@"; }}\n'
    result = subprocess.run(
        ["bash", "-c", script + "\n".join(commands)],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )
    assert result.stdout.decode() == shown


def test_the_guide_lists_the_exit_statuses():
    """The table has each status that `main` returns."""
    assert re.findall(r"^\| (\d+) \|", GUIDE, re.MULTILINE) == ["0", "1", "2", "3", "130"]
