"""A Uvicorn server on loopback with a client for it, and the server of a notebook."""

import contextlib
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import anthropic
import httpx
import openai
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.server import serve
from tests.conftest import Project
from tests.kernels import environment
from tests.server.messages_client import Connection
from tests.server.responses_client import END, Served, VisionEngine

_URL_LINE = re.compile(r"running on (http://\S+)")
_TOKEN_LINE = re.compile(r"Server token \(shown only once\): (\S+)")


@dataclass(frozen=True)
class RunningServer:
    """A running server, its project and a client that ignores proxies and has the token."""

    url: str
    token: str
    project: Project
    client: httpx.Client

    def engines(self) -> dict[str, dict]:
        """Return the status rows of the engines by name."""
        rows = self.client.get("/engines/status").raise_for_status().json()["engines"]
        return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Run `uvicorn gatewayx_nb.server:app` in a project until the module's tests end."""
    folder = tmp_path_factory.mktemp("server")
    project = Project(folder / "project")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "gatewayx_nb.server:app", "--port", "0"],
        cwd=project.root,
        env=environment(folder / "home"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        (token,) = _find(_TOKEN_LINE, process.stderr)
        (url,) = _find(_URL_LINE, process.stderr)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, trust_env=False, headers=headers) as client:
            yield RunningServer(url, token, project, client)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _find(pattern, lines):
    """Return the groups of the first line that matches."""
    return next(match.groups() for line in lines if (match := pattern.search(line)))


@contextlib.contextmanager
def serving(*engines, pool=None, **env):
    """Serve a pool of engines, and yield the server."""
    with contextlib.ExitStack() as stack:
        pool = pool or stack.enter_context(EnginePool(env=env, engines=engines))
        server = serve(pool)
        stack.callback(server.close)
        yield server


@contextlib.contextmanager
def openai_client(server):
    """Yield a client of OpenAI's SDK, with its usual retries."""
    # Without TLS, since reading the certificates takes most of the time of a test.
    transport = openai.DefaultHttpxClient(trust_env=False, verify=False)
    with openai.OpenAI(**server.openai, http_client=transport) as client:
        yield client


def wait_until(condition, seconds=120):
    """Wait until a condition holds, or fail."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def post(server, path, body, token=None, **headers):
    """Send a request and return the response, with the whole body of a stream."""
    headers = {"Authorization": f"Bearer {token or server.token}"} | headers
    with httpx.Client(base_url=server.url, trust_env=False, verify=False) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(
            path, content=content, headers={"content-type": "application/json"} | headers
        )


@pytest.fixture(scope="module")
def served():
    """Serve a scripted engine until the module's tests end."""
    engine = VisionEngine(["ok", END])
    with serving(engine) as server, openai_client(server) as client:
        headers = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=f"{server.url}/v1", headers=headers, trust_env=False) as http:
            yield Served(engine, client, http)


@pytest.fixture
def echo(served):
    """Return a server whose answers are all the same."""
    served.play(["ok", END])
    return served


@pytest.fixture
def connect():
    """Return a function that serves an engine, and returns clients of the server."""
    with contextlib.ExitStack() as stack:

        def open_clients(*engines):
            server = stack.enter_context(serving(*engines))
            headers = {"x-api-key": str(server.token)}
            http = httpx.Client(base_url=server.url, headers=headers, trust_env=False)
            sdk = anthropic.Anthropic(**server.anthropic)
            return Connection(stack.enter_context(sdk), stack.enter_context(http))

        yield open_clients
