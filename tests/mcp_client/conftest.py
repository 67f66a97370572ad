"""MCP servers as processes, and pools that start them."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb import EnginePool

SERVERS = Path(__file__).with_name("servers")
CALC = (sys.executable, str(SERVERS / "calc.py"))
RAW = (sys.executable, str(SERVERS / "raw.py"))
"""The commands that start the servers in the folder `servers`."""


def calc(**options) -> gx.MCPServer:
    """Return a server written with the SDK."""
    return gx.mcp([*CALC], **options)


def raw(kind: str, *arguments: str, **options) -> gx.MCPServer:
    """Return a server written without the SDK."""
    return gx.mcp([*RAW, kind, *arguments], name="raw", **options)


def is_alive(process: int) -> bool:
    """Return whether a process exists and has not ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    except NotADirectoryError:  # pragma: no cover - macOS has no /proc
        os.kill(process, 0)
        return True
    return state != "Z"


def wait_for_end(process: int, timeout: float = 30) -> bool:
    """Wait until a process has ended; return whether it has."""
    deadline = time.monotonic() + timeout
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    if is_alive(process):
        os.kill(process, signal.SIGKILL)  # a failed test must not leave it
        return False
    return True


def wait_for_file(path: Path, timeout: float = 60) -> None:
    """Wait until a file exists."""
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def pool():
    """Yield a pool with the mock engine; its servers end with it."""
    with EnginePool(env={}) as pool:
        yield pool


@pytest.fixture
def call(pool):
    """Return a function that calls a tool through the mock engine and returns the step."""

    def call(server, tool, arguments="{}", **options):
        options = {"approve": "always", **options}
        reply = pool.ask(f"call {tool} {arguments}", "mock", tools=server, **options)
        (step,) = reply.steps
        return step

    return call


@pytest.fixture
def user_settings():
    """Return a function that writes the user's settings."""

    def write(text):
        path = Path(os.environ["XDG_CONFIG_HOME"]) / "gatewayx" / "config" / "gatewayx.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write
