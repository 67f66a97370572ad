"""Completion in a shell, in a project that may come from a stranger."""

import shlex

import pytest

from gatewayx_nb.cli.static_files import FOLDER


@pytest.fixture
def complete(bash):
    """Return a function that returns what bash offers for the last of several words."""

    def complete(*words):
        result = bash(
            f"source {FOLDER}/completion.bash\n"
            f"COMP_WORDS=(gatewayx {shlex.join(words)}); COMP_CWORD={len(words)}\n"
            '_gatewayx; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        assert (result.status, result.err) == (0, "")
        return result.out.split()

    return complete


def test_commands_options_and_engines_are_completed(project, complete):
    """An option begins with a dash; other words may be engines."""
    project.engine("acme", says="Hi")
    assert complete("mo") == ["models"]
    assert complete("ask", "--dry") == ["--dry-run"]
    assert complete("ask", "ac") == ["acme"]
    assert complete("completion", "f") == ["fish"]


def test_completion_runs_nothing_of_a_project(project, complete):
    """Neither an engine file nor a name with a command in it."""
    marker = project.root / "marker"
    project.engine("acme", body="    open('marker', 'w')\n")
    names = ("$(touch${IFS}marker)", "`touch marker`", "*", "\\u001b[2Jx", "fine")
    project.settings("[aliases]\n" + "".join(f'"{name}" = "mock"\n' for name in names))
    offered = complete("ask", "")
    assert "fine" in offered
    assert "acme" in offered
    assert not any(set(word) & set("$`*\x1b") for word in offered)
    assert not marker.exists()
