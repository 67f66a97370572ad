"""A Uvicorn server on loopback, and a client for it."""

import re
import subprocess
import sys
from dataclasses import dataclass

import httpx
import pytest

from tests.conftest import Project
from tests.kernels import environment

_URL_LINE = re.compile(r"running on (http://\S+)")


@dataclass(frozen=True)
class RunningServer:
    """A running server, its project and a client that ignores proxies."""

    url: str
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
        (url,) = next(
            match.groups() for line in process.stderr if (match := _URL_LINE.search(line))
        )
        with httpx.Client(base_url=url, trust_env=False) as client:
            yield RunningServer(url, project, client)
    finally:
        process.terminate()
        process.communicate(timeout=20)
