"""Responses of a real server."""

import json
import shlex
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import anyio
import httpx
import jsonschema
import pytest

import gatewayx_nb
from gatewayx_nb import server as package
from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.model_registry import EngineStatus
from tests.kernels import environment
from tests.schemas import schema

CANARY = "canary-5f0c1e7a9b3d"
README = Path(__file__).parents[2] / "README.md"


def test_the_engines_status_fits_its_schema(server):
    """`/engines/status` returns the pool's rows, with exactly the fields of the schema."""
    answer = server.client.get("/engines/status")
    fixed = schema("engines_status")

    jsonschema.validate(answer.json(), fixed)
    assert set(fixed["properties"]["engines"]["items"]["properties"]) == {
        field.name for field in fields(EngineStatus)
    }
    mock = server.engines()["mock"]
    assert (mock["state"], mock["key"], mock["model"]) == ("ready", "not needed", "mock")
    assert server.engines()["grok"]["state"] == "no key"


def test_the_security_status_fits_its_schema(server):
    """The security status matches its schema and the pool's.

    It reports set keys and file access, without any key, absolute path or user name.
    """
    server.project.set_keys(f"GATEWAYX_GROK_API_KEY={CANARY}\n")
    server.project.engine("open", "x").chmod(0o666)
    try:
        answer = server.client.get("/security/status")
    finally:
        (server.project.engines / "open_engine.py").unlink()
        server.project.keys.unlink()
    status = answer.json()

    jsonschema.validate(status, schema("security_status"))
    assert (status["counts"]["set"], status["counts"]["refused"]) == (1, 1)
    assert status["refused"][0]["what"] == "open"
    for secret in (CANARY, CANARY[:12], CANARY[-12:], str(server.project.root), str(Path.home())):
        assert secret not in answer.text


def test_engines_and_keys_change_without_a_restart(server):
    """Each request notices added and removed engines and keys."""
    file = server.project.engine("mine", "x")
    assert server.engines()["mine"]["state"] == "ready"

    server.project.set_keys("GATEWAYX_GROK_API_KEY=a_real_key\n")
    assert server.engines()["grok"]["state"] == "ready"

    file.unlink()
    server.project.keys.unlink()
    after = server.engines()
    assert ("mine" in after, after["grok"]["state"]) == (False, "no key")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_commands_of_the_readme_work(server):
    """The README's commands work unmodified except for the port, which is a free one here."""
    lines = [line for line in README.read_text().splitlines() if line.startswith("curl ")]
    assert [line.split("/")[3] for line in lines] == ["engines", "security"]

    for line in lines:
        local = line.partition("#")[0].replace("http://127.0.0.1:3001", server.url)
        done = subprocess.run(
            [*shlex.split(local), "--silent", "--fail", "--noproxy", "*"],
            capture_output=True,
            check=True,
        )
        assert isinstance(json.loads(done.stdout), dict)


def asked(pool, path="/engines/status"):
    """Send a request to an in-process application."""

    async def ask():
        ends = httpx.ASGITransport(
            package.build(pool), raise_app_exceptions=False, client=("127.0.0.1", 9)
        )
        async with httpx.AsyncClient(transport=ends, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    return anyio.run(ask)


def test_no_key_is_in_an_answer(project):
    """A response has no key, even if an engine file raises an error that contains it."""
    project.set_keys(f"GATEWAYX_LEAK_API_KEY={CANARY}\n")
    (project.engines / "leak_engine.py").write_text(f"raise ValueError({CANARY!r})\n")
    with project.pool() as pool:
        with pytest.raises(EngineLoadError):
            pool.ask("x", model="leak")
        answer = asked(lambda: pool)

    (row,) = [row for row in answer.json()["engines"] if row["name"] == "leak"]
    assert (row["key"], row["state"], "ValueError" in row["error"]) == ("set", "failed", True)
    assert CANARY not in answer.text


def test_an_unexpected_error_is_reported_by_class_only():
    """A bug is reported by exception name only, because its message may contain anything."""

    def pool():
        raise RuntimeError(CANARY)

    answer = asked(pool)

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        500,
        "RuntimeError; see the server's log.",
    )


def test_a_file_name_that_is_invalid_utf8_is_a_row(server):
    """A file name that is not valid UTF-8 is a row, escaped in JSON."""
    path = server.project.root / "engines" / "f\udcff_engine.py"
    try:
        path.write_text("")
    except OSError:
        pytest.skip("this file system has no such names")

    assert server.client.get("/engines/status").status_code == 200
    path.unlink()


def test_an_unreadable_settings_file_is_reported(server):
    """An unreadable settings file is reported with a hint until it is fixed."""
    server.project.settings("default_modle = 'grok'")
    answer = server.client.get("/engines/status")

    assert answer.status_code == 500
    assert "default_modle" in answer.json()["error"]["message"]

    server.project.settings("")
    assert server.client.get("/engines/status").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("HEAD", "/engines/status", 200),
        ("HEAD", "/security/status", 200),
        ("POST", "/security/status", 405),
        ("POST", "/engines/status", 405),
        ("OPTIONS", "/engines/status", 405),
        ("DELETE", "/engines/status", 405),
        ("GET", "/engines/status/", 404),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/engines/../../etc/passwd", 404),
    ],
)
def test_other_paths_and_methods_are_errors(server, method, path, status):
    """Only GET of a known path succeeds; every response is uncached JSON without CORS."""
    answer = server.client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert (answer.content == b"") == (method == "HEAD")
    if status >= 400:
        assert answer.json()["error"]["message"]


def test_concurrent_requests_are_served(server):
    """Concurrent requests succeed while files change."""

    def ask(turn):
        server.project.engine("busy", says=str(turn))
        return server.client.get("/engines/status").status_code

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(ask, range(64))) == {200}
    (server.project.engines / "busy_engine.py").unlink()


HOSTS = {
    "127.0.0.1": 200,
    "127.0.0.1:3001": 200,
    "localhost:8888": 200,
    "LocalHost": 200,
    "[::1]:80": 200,
    "evil.example": 421,
    "127.0.0.1.evil.example": 421,
    "localhost.evil.example:3001": 421,
    "127.0.0.1@evil.example": 421,
    "evil.example#127.0.0.1": 421,
    "169.254.169.254": 421,
    "0.0.0.0": 421,
    "localhost:": 421,
    "": 421,
}


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_the_host_header_must_name_this_machine(server, host):
    """A Host name that merely resolves to loopback is refused (DNS rebinding)."""
    assert server.client.get("/engines/status", headers={"Host": host}).status_code == HOSTS[host]


ORIGINS = {
    "http://127.0.0.1:3001": 200,
    "http://localhost:8888": 200,
    "https://[::1]": 200,
    "https://evil.example": 403,
    "http://localhost.evil.example": 403,
    "http://127.0.0.1:3001.evil.example": 403,
    "file://": 403,
    "null": 403,
    "": 403,
}


@pytest.mark.parametrize("origin", ORIGINS, ids=repr)
def test_pages_of_other_origins_are_refused(server, origin):
    """A foreign Origin is refused for any method; a local one gets no CORS header."""
    answer = server.client.get("/engines/status", headers={"Origin": origin})

    assert answer.status_code == ORIGINS[origin]
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_request_forwarded_by_a_local_proxy_is_refused(server):
    """A foreign client behind a local proxy is refused: Uvicorn reads the proxy's header."""
    answer = server.client.get("/engines/status", headers={"X-Forwarded-For": "192.0.2.7"})

    assert (answer.status_code, answer.json()["error"]["message"]) == (
        403,
        "Only this machine is allowed.",
    )


def test_two_hosts_in_one_request_are_refused(server):
    """Two Host headers are refused, because servers differ in which one they use."""
    port = httpx.URL(server.url).port
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(
            b"GET /engines/status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
            b"Connection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: peer.recv(65536), b""))

    assert answer.split()[1] in (b"400", b"421")


def test_without_starlette_the_import_says_what_to_install(tmp_path):
    script = "import sys; sys.modules['starlette'] = None; import gatewayx_nb.server"
    env = environment(tmp_path) | {"PYTHONPATH": str(Path(gatewayx_nb.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )

    assert done.stderr.splitlines()[-1] == (
        "gatewayx_nb.errors.ConfigError: The server needs starlette, which is not installed."
        ' `pip install "gatewayx-nb[server]"`'
    )
