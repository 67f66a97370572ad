"""Starts child processes in an environment without proxies, keys or projects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_FOREIGN = ("GATEWAYX_", "_API_KEY", "_PROXY", "_proxy")


def start(script: str, *arguments: str, python: str = sys.executable) -> subprocess.Popen[str]:
    """Start a script in this folder, with pipes to its standard input and output.

    Args:
        script: File name of the script.
        *arguments: Its arguments.
        python: Path of the interpreter; by default, that of this process.
    """
    return subprocess.Popen(
        [python, str(_HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=_environment(),
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python until it exits.

    Raises:
        CalledProcessError: If it fails.
    """
    return subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=_environment()
    )


def _environment() -> dict[str, str]:
    env = {
        name: value
        for name, value in os.environ.items()
        if not any(mark in name for mark in _FOREIGN)
    }
    # Without this variable, litellm downloads a table of prices from GitHub on import.
    return env | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
