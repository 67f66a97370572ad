"""`gatewayx serve`: its start, its end, its port, its cassette, and who may connect."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from tests.kernels import environment

BODY = {"model": "mock", "messages": [{"role": "user", "content": "Hi"}]}


@contextlib.contextmanager
def serving(project, *words):
    """Run the command, and yield the process, a client with the token, and the printed lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewayx_nb", "serve", "--port", "0", *words],
        cwd=project.root,
        env=environment(project.root.parent / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    try:
        while not (found := re.search(r"Serving on (http://\S+:\d+)", (lines or [""])[-1])):
            line = process.stderr.readline()
            assert line, lines
            lines.append(line)
        (path,) = (project.root.parent / "home").rglob("server_token")
        headers = {"x-api-key": path.read_text().strip()}
        with httpx.Client(base_url=found[1], trust_env=False, headers=headers) as client:
            yield process, client, lines
    finally:
        process.kill()
        process.communicate()


def ask(client):
    """Return the text of an answer."""
    answer = client.post("/v1/chat/completions", json=BODY).raise_for_status().json()
    return answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_server_runs_until_it_is_stopped(project, number, status):
    """The server answers until Ctrl-C or SIGTERM, and prints nothing more."""
    with serving(project) as (process, client, _):
        assert ask(client) == "[mock] Hi"
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (status, "", "")


def test_the_token_is_shown_once(project):
    """The token is shown at the first start, and kept for the next ones."""
    with serving(project) as (_, client, lines):
        token = client.headers["x-api-key"]
        assert token in lines[0]
    with serving(project) as (_, client, lines):
        assert client.headers["x-api-key"] == token
        assert len(lines) == 1
        assert token not in lines[0]


def test_an_open_stream_may_end(project):
    """A stream that is open at SIGTERM is complete."""
    project.engine(
        "slow",
        body=(
            "    async def stream(self, request):\n"
            "        import asyncio\n"
            "        from gatewayx_nb.llm_engines import Chunk\n"
            "        for word in 'abc':\n"
            "            yield Chunk(text=word)\n"
            "            await asyncio.sleep(0.5)\n"
            "        yield Chunk(finish_reason='stop')\n"
        ),
    )
    body = {**BODY, "model": "slow", "stream": True}
    with (
        serving(project) as (process, client, _),
        client.stream("POST", "/v1/chat/completions", json=body) as response,
    ):
        lines = response.iter_lines()
        while '"a"' not in next(lines):
            pass
        process.terminate()
        assert "data: [DONE]" in list(lines)
        assert process.wait(60) == 143


def test_answers_are_recorded(project):
    """`--cassette` records the answers for the next start."""
    for _ in range(2):
        with serving(project, "--cassette", "answers.jsonl") as (_, client, _):
            assert ask(client) == "[mock] Hi"
    lines = (project.root / "answers.jsonl").read_text().splitlines()
    assert sum('"Hi"' in line for line in lines) == 1
    assert all(json.loads(line) for line in lines)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--port", "{used}"], 3, "port {used} is in use. Choose another port with `--port`"),
        (["--port", "70000"], 2, "the port must be a number from 0 to 65,535, got 70000"),
        (["--port", "-1"], 2, "the port must be a number from 0 to 65,535, got -1"),
        (["--port", "web"], 2, "`--port` must be a whole number, got 'web'"),
        (["--host", "192.0.2.1"], 3, "the server cannot use the address '192.0.2.1', port 3001"),
        (["--cassette", ""], 2, "`--cassette` needs a file, got an empty string"),
    ],
)
def test_a_server_that_cannot_start_says_why(run, words, status, message):
    """The error is one line, and the status says whose mistake it is."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = str(other.getsockname()[1])
        result = run("serve", *[word.format(used=used) for word in words])
    assert result.status == status
    assert message.format(used=used) in result.err
    assert result.err.count("\n") == 1


def test_other_machines_need_the_token_for_every_path(project):
    """With `--host`, the server warns, any Host is accepted, and no path is open."""
    with serving(project, "--host", "0.0.0.0") as (_, client, lines):
        assert "other machines can connect, and there is no TLS" in lines[-2]
        port = client.base_url.port
        url = f"http://127.0.0.1:{port}"
        headers = {"host": "gateway.example"}
        for path in ("/health", "/engines/status", "/v1/models"):
            assert client.get(f"{url}{path}", headers=headers).status_code == 200
            assert httpx.get(f"{url}{path}", trust_env=False).status_code == 401
        headers["origin"] = "https://evil.example"
        assert client.get(f"{url}/health", headers=headers).status_code == 403
