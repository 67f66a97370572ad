"""The command line, run in this process or in a process of its own."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewayx_nb.cli import main

ROOT = Path(__file__).parents[2]


@dataclass
class Result:
    """What a command line has written, and its exit status."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(project, monkeypatch, capsys):
    """Return a function that runs a line in this process, in the folder of a project."""
    monkeypatch.chdir(project.root)

    def run(*words: str) -> Result:
        status = main(words)
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)

    return run


@pytest.fixture
def start(project):
    """Return a function that starts a process with a line; the processes end with the test."""
    started = []

    def start(*words: str, **options) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "gatewayx_nb", *words],
            **{"cwd": project.root, "stdin": subprocess.DEVNULL, **_PIPES, **options},
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def bash(project):
    """Return a function that runs a script in bash, in which `gatewayx` is this program."""
    python = shlex.quote(sys.executable)
    functions = f'gatewayx() {{ {python} -m gatewayx_nb "$@"; }}\npython() {{ {python} "$@"; }}\n'

    def bash(script: str, *, stderr: int = subprocess.PIPE) -> Result:
        process = subprocess.run(
            ["bash", "-c", functions + script],
            cwd=project.root,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=False,
            timeout=300,
        )
        return Result(process.returncode, process.stdout.decode(), (process.stderr or b"").decode())

    return bash


_PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.fixture
def shell(start):
    """Return a function that runs a line in a process, with text on standard input."""

    def shell(*words: str, text: bytes | None = None, **options) -> Result:
        options |= {} if text is None else {"stdin": subprocess.PIPE}
        process = start(*words, **options)
        out, err = process.communicate(text, timeout=120)
        return Result(process.returncode, out.decode(), err.decode())

    return shell
