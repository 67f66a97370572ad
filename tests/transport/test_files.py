"""Files that are sent, and lines that are received."""

import asyncio
import re

import pytest

from gatewayx_nb.errors import ProviderError, TransportError
from gatewayx_nb.testing import CloseConnection, Send, Server, Split, head, reply
from gatewayx_nb.transport import HTTPClient


def run(server, work, **options):
    """Run a coroutine function with a client for the server."""

    async def main():
        client = HTTPClient(f"{server.url}/v1", engine="e", key="k" * 20, **options)
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(asyncio.wait_for(main(), 60))


async def read(client, max_line=1000, max_bytes=10**9):
    async with client.download("x") as response:
        return [line async for line in response.lines(max_line, max_bytes)]


def serve(body):
    return Server([Send(reply(body))])


def test_a_file_is_sent_as_the_body(tmp_path):
    file = tmp_path / "rows.json"
    file.write_bytes(b"[" + b"1," * 500_000 + b"1]")

    async def post(client):
        async with client.post_file("batches", file) as response:
            return response.status

    with serve(b"{}") as server:
        assert run(server, post) == 200
        (request,) = server.requests
    assert request.body == file.read_bytes()
    assert request.target == "/v1/batches"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer " + "k" * 20
    assert "transfer-encoding" not in request.headers


def test_a_file_is_sent_in_a_form(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"x" * 300_000)

    async def post(client):
        async with client.post_file("files", file, {"purpose": "batch"}) as response:
            return response.status

    with serve(b"{}") as server:
        assert run(server, post) == 200
        (request,) = server.requests
    boundary = re.fullmatch(r"multipart/form-data; boundary=(\S+)", request.headers["content-type"])
    first, second = request.body.split(b"--" + boundary[1].encode())[1:3]
    assert first.endswith(b'name="purpose"\r\n\r\nbatch\r\n')
    assert b'name="file"; filename="rows.jsonl"' in second
    assert b"application/octet-stream" in second
    assert second.endswith(b"\r\n\r\n" + b"x" * 300_000 + b"\r\n")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nbc\n\nd", [b"a", b"bc", b"", b"d"]),
        (b"\n\n", [b"", b""]),
        (b"123456\n1234567\n12\n", [b"123456", None, b"12"]),
        (b"1234567", [None]),
        (b"1" * 50 + b"\n" + b"2" * 50, [None, None]),
        (b"1" * 50 + b"\nab\n" + b"2" * 50 + b"\ncd", [None, b"ab", None, b"cd"]),
    ],
)
def test_lines_of_a_body_that_arrives_in_pieces(body, lines, size):
    response = reply(body)
    start = len(response) - len(body)
    with Server([Send(response[:start]), Split(body, size)]) as server:
        assert run(server, lambda client: read(client, max_line=6)) == lines


def test_lines_that_are_read_slowly_arrive():
    async def read_slowly(client):
        count = 0
        async with client.download("x") as response:
            async for line in response.lines(10**6, 10**9):
                count += len(line)
                await asyncio.sleep(0.02)
        return count

    with serve(b"\n".join([b"x" * 500_000] * 8)) as server:
        assert run(server, read_slowly) == 4_000_000


def test_a_body_with_too_many_bytes_raises_after_its_first_lines():
    lines = []

    async def collect(client):
        async with client.download("x") as response:
            async for line in response.lines(1000, 2_000_000):
                lines.append(line)  # noqa: PERF401 - those before the error count

    body = b"x" * 99 + b"\n" + b"y" * 10_000_000
    with serve(body) as server, pytest.raises(ProviderError, match="exceeds 2,000,000 bytes"):
        run(server, collect)
    assert lines[0] == b"x" * 99


def test_a_broken_body_raises():
    script = [Send(head(content_length="100")), Send(b"a\nb"), CloseConnection()]
    with Server(script) as server, pytest.raises(TransportError):
        run(server, read)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://api.test/v1/a/b", "a/b"),
        ("https://API.test:443/v1/a?x=1", "a?x=1"),
        ("https://api.test./v1/a", "a"),
        ("http://api.test/v1/a", None),
        ("https://api.test:444/v1/a", None),
        ("https://api.test/other", None),
        ("https://api.test/v1/../a", None),
        ("https://evil.test/v1/a", None),
        ("https://api.test.evil.test/v1/a", None),
        ("https://api.test@evil.test/v1/a", None),
        ("https://k:v@api.test/v1/a", None),
        ("https://evil.test\\@api.test/v1/a", None),
        ("//api.test/v1/a", None),
        ("/v1/a", None),
        ("https://[", None),
        ("https://api.test:x/v1/a", None),
        ("", None),
    ],
)
def test_only_urls_on_the_clients_host_have_a_path(url, path):
    client = HTTPClient("https://api.test/v1", engine="e", key="k")

    assert client.own_path(url) == path
