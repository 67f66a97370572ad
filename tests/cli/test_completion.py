"""Completion in a shell, in a project that may come from a stranger."""

import os
import shlex
import subprocess
import sys

from gatewayx_nb.cli.static_files import FOLDER
from tests.cli.conftest import ROOT


def _complete(project, *words):
    """Return what bash offers for a line whose last word is incomplete."""
    python = shlex.quote(sys.executable)
    script = (
        f'gatewayx() {{ {python} -m gatewayx_nb "$@"; }}\nsource {FOLDER}/completion.bash\n'
        f"COMP_WORDS=(gatewayx {shlex.join(words)}); COMP_CWORD={len(words)}\n"
        '_gatewayx; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert result.stderr == ""
    return result.stdout.split()


def test_commands_options_and_engines_are_completed(project):
    """An option begins with a dash; other words may be engines."""
    project.engine("acme", says="Hi")
    assert _complete(project, "mo") == ["models"]
    assert _complete(project, "ask", "--dry") == ["--dry-run"]
    assert _complete(project, "ask", "ac") == ["acme"]
    assert _complete(project, "completion", "f") == ["fish"]


def test_completion_runs_nothing_of_a_project(project):
    """Neither an engine file nor a name with a command in it."""
    marker = project.root / "marker"
    project.engine("acme", body="    open('marker', 'w')\n")
    names = ("$(touch${IFS}marker)", "`touch marker`", "*", "\\u001b[2Jx", "fine")
    project.settings("[aliases]\n" + "".join(f'"{name}" = "mock"\n' for name in names))
    offered = _complete(project, "ask", "")
    assert "fine" in offered
    assert "acme" in offered
    assert not any(set(word) & set("$`*\x1b") for word in offered)
    assert not marker.exists()
