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
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.files import quoted_path
from gatewayx_nb.model_registry import EngineStatus
from gatewayx_nb.server.json_response import json_response
from tests.conftest import Project
from tests.kernels import environment
from tests.schemas import schema

CANARY = "canary-5f0c1e7a9b3d"
TOKEN = "gx-0123456789abcdef0123456789"
PAGE = Path(__file__).parents[2] / "docs" / "guides" / "status_over_http.md"


def test_the_engines_status_matches_its_schema(server):
    """`/engines/status` returns the pool's rows, with exactly the fields of the schema."""
    response = server.client.get("/engines/status")
    expected_schema = schema("engines_status")

    jsonschema.validate(response.json(), expected_schema)
    assert set(expected_schema["properties"]["engines"]["items"]["properties"]) == {
        field.name for field in fields(EngineStatus)
    }
    mock = server.engines()["mock"]
    assert (mock["state"], mock["key"], mock["model"]) == ("ready", "not needed", "mock")
    assert server.engines()["grok"]["state"] == "no key"


def test_the_security_status_matches_its_schema(server):
    """`/security/status` returns set keys and refused files in the fixed schema.

    It contains no key and no absolute path.
    """
    server.project.set_keys(f"GATEWAYX_GROK_API_KEY={CANARY}\n")
    server.project.engine("open", "x").chmod(0o666)
    try:
        response = server.client.get("/security/status")
    finally:
        (server.project.engines / "open_engine.py").unlink()
        server.project.keys.unlink()
    status = response.json()

    jsonschema.validate(status, schema("security_status"))
    assert (status["counts"]["set"], status["counts"]["refused"]) == (1, 1)
    assert status["refused"][0]["what"] == "open"
    for secret in (CANARY, CANARY[:12], CANARY[-12:], str(server.project.root), str(Path.home())):
        assert secret not in response.text


def test_changes_apply_without_a_restart(server):
    """Added and removed engines and keys are in the next response."""
    engine_file = server.project.engine("mine", "x")
    assert server.engines()["mine"]["state"] == "ready"

    server.project.set_keys("GATEWAYX_GROK_API_KEY=a_real_key\n")
    assert server.engines()["grok"]["state"] == "ready"

    engine_file.unlink()
    server.project.keys.unlink()
    rows = server.engines()
    assert ("mine" in rows, rows["grok"]["state"]) == (False, "no key")


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_commands_of_the_guide_work(server):
    """The curl commands of the guide work, with the port of this server."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("curl ")]
    assert [line.split("/")[3].split()[0] for line in lines] == ["health", "engines", "security"]

    for line in lines:
        command = line.partition("#")[0].replace("http://127.0.0.1:3001", server.url)
        process = subprocess.run(
            [*shlex.split(command), "--silent", "--fail", "--noproxy", "*"],
            capture_output=True,
            check=True,
        )
        assert isinstance(json.loads(process.stdout), dict)


def request_in_process(pool, path="/engines/status"):
    """Send a GET request to an in-process application and return the response."""

    async def send():
        transport = httpx.ASGITransport(
            package.build(pool, lambda: TOKEN), raise_app_exceptions=False, client=("127.0.0.1", 9)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path)

    return anyio.run(send)


ENGINE_ERROR = (
    "    raise OSError('no C:\\\\Users\\\\me\\\\secret.txt, see https://host.example/a/b')\n"
)


@pytest.mark.parametrize("path", ["/engines/status", "/security/status"])
@pytest.mark.parametrize("damage", ["", "settings", "engine"])
def test_no_response_names_an_absolute_path(project, path, damage):
    """Only the last part of a path is shown, because folders reveal the name of the user."""
    project.engine("broken", body=ENGINE_ERROR)
    with project.pool() as pool:
        with pytest.raises(EngineLoadError):
            pool.ask("x", "broken")
        if damage == "settings":
            project.settings("oops")
        elif damage == "engine":
            project.engine("broken", "x").chmod(0o666)
        response = request_in_process(lambda: pool, path)

    for folder in (project.root, Path.home(), Path(package.__file__).parent.parent, "Users"):
        assert str(folder) not in response.text
    if damage == "settings":
        assert "gatewayx.toml" in response.json()["error"]["message"]
    elif path == "/engines/status":
        assert "broken_engine.py" in response.text
    if not damage and path == "/engines/status":
        assert "https://host.example/a/b" in response.text


def test_a_folder_is_removed_in_every_form():
    """A folder is removed from values and names, also as a shell command or a repr quotes it."""
    folder = "/home/Jane Doe/it's"
    content = {f"{folder}/a": [f"`rm {quoted_path(folder + '/b')}`", repr(f"{folder}/c")]}

    assert "Doe" not in json_response(content, hidden_folders=[folder]).body.decode()


@pytest.mark.parametrize("path", ["/engines/status", "/security/status"])
@pytest.mark.parametrize("damage", ["", "settings", "start", "entries"])
def test_no_response_names_a_folder_with_a_space(tmp_path, monkeypatch, path, damage):
    """A folder whose name has a space or an apostrophe is removed, too."""
    project = Project(tmp_path / "Jane Doe" / "it's")
    project.engine("broken", "x").chmod(0o666)
    project.engine("mine", body="    oops = [\n")
    monkeypatch.setenv("GATEWAYX_HOME", str(project.root))
    if damage == "entries":
        (project.root / "config" / "engines.toml").write_text("oops")
    if damage == "start":
        project.settings("oops")
        response = request_in_process(EnginePool, path)
    else:
        with project.pool() as pool:
            pool.status()
            if damage == "settings":
                project.settings("oops")
            response = request_in_process(lambda: pool, path)

    assert response.status_code == (500 if damage in ("settings", "start") else 200)
    for folder in (tmp_path.name, "Jane", "Doe", "it's"):
        assert folder not in response.text
    shown = "gatewayx.toml" if damage in ("settings", "start") else "mine"
    assert shown in response.text or path != "/engines/status"


def test_a_response_contains_no_key(project):
    """A response contains no key, even if an engine's error does."""
    project.set_keys(f"GATEWAYX_LEAK_API_KEY={CANARY}\n")
    (project.engines / "leak_engine.py").write_text(
        f"class Engine: ...\nraise ValueError({CANARY!r})\n"
    )
    with project.pool() as pool:
        with pytest.raises(EngineLoadError):
            pool.ask("x", model="leak")
        response = request_in_process(lambda: pool)

    (row,) = [row for row in response.json()["engines"] if row["name"] == "leak"]
    assert (row["key"], row["state"], "ValueError" in row["error"]) == ("set", "failed", True)
    assert CANARY not in response.text


def test_an_unexpected_error_is_reported_by_class_only():
    """The response to a bug has only the exception's class: its message may contain anything."""

    def pool():
        raise RuntimeError(CANARY)

    response = request_in_process(pool)

    assert (response.status_code, response.json()["error"]["message"]) == (
        500,
        "RuntimeError; see the server's log.",
    )


def test_a_file_name_that_is_invalid_utf8_is_accepted(server):
    """An engine file whose name is not valid UTF-8 does not prevent the status."""
    path = server.project.root / "engines" / "f\udcff_engine.py"
    try:
        path.write_text("")
    except OSError:
        pytest.skip("this file system has no such names")

    assert server.client.get("/engines/status").status_code == 200
    path.unlink()


def test_an_invalid_settings_file_is_reported(server):
    """While the settings are invalid, the response is an error that names the setting."""
    server.project.settings("default_modle = 'grok'")
    response = server.client.get("/engines/status")

    assert response.status_code == 500
    assert "default_modle" in response.json()["error"]["message"]

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
    response = server.client.request(method, path)

    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert (response.content == b"") == (method == "HEAD")
    if status >= 400:
        assert response.json()["error"]["message"]


def test_concurrent_requests_are_served(server):
    """Concurrent requests succeed while files change."""

    def change_and_request(number):
        server.project.engine("busy", says=str(number))
        return server.client.get("/engines/status").status_code

    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(change_and_request, range(64))) == {200}
    (server.project.engines / "busy_engine.py").unlink()


STATUS_BY_HOST = {
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


@pytest.mark.parametrize("host", STATUS_BY_HOST, ids=repr)
def test_the_host_header_must_name_this_machine(server, host):
    """A Host name that merely resolves to loopback is refused (DNS rebinding)."""
    assert (
        server.client.get("/engines/status", headers={"Host": host}).status_code
        == STATUS_BY_HOST[host]
    )


STATUS_BY_ORIGIN = {
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


@pytest.mark.parametrize("origin", STATUS_BY_ORIGIN, ids=repr)
def test_requests_of_other_origins_are_refused(server, origin):
    """A request with a foreign Origin is refused; one with a local Origin gets no CORS header."""
    response = server.client.get("/engines/status", headers={"Origin": origin})

    assert response.status_code == STATUS_BY_ORIGIN[origin]
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_a_request_forwarded_by_a_local_proxy_is_refused(server):
    """A foreign client behind a local proxy is refused, because Uvicorn reads `X-Forwarded-For`."""
    response = server.client.get("/engines/status", headers={"X-Forwarded-For": "192.0.2.7"})

    assert (response.status_code, response.json()["error"]["message"]) == (
        403,
        "Only connections from this machine are accepted.",
    )


def test_two_host_headers_are_refused(server):
    """A request with two Host headers is refused, because servers disagree on which is used."""
    port = httpx.URL(server.url).port
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"GET /engines/status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"
            b"Connection: close\r\n\r\n"
        )
        response = b"".join(iter(lambda: connection.recv(65536), b""))

    assert response.split()[1] in (b"400", b"421")


def test_without_starlette_the_import_error_has_the_install_command(tmp_path):
    script = "import sys; sys.modules['starlette'] = None; import gatewayx_nb.server"
    env = environment(tmp_path) | {"PYTHONPATH": str(Path(gatewayx_nb.__file__).parents[1])}
    process = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False
    )

    assert process.stderr.splitlines()[-1] == (
        "gatewayx_nb.errors.ConfigError: the server needs starlette, which is not installed."
        ' `pip install "gatewayx-nb[server]"`'
    )
