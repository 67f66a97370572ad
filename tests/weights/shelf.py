"""Wheels of made-up weights, rows that describe them, and loopback indexes that fail."""

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
class Shelf:
    """A wheel of made-up weights, the row that describes it, and pip's variables to find it."""

    row: Weights
    wheel: Path

    @property
    def env(self) -> dict[str, str]:
        """No network: pip finds wheels in a folder."""
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheel.parent),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def with_row(self, **changes: object) -> "Shelf":
        """Give the same wheel under a row that differs."""
        return dataclasses.replace(self, row=dataclasses.replace(self.row, **changes))


def digest(content: bytes) -> str:
    """Give a SHA-256 as rows spell it."""
    return hashlib.sha256(content).hexdigest()


def write_wheel(path: Path, files: dict[str, bytes]) -> None:
    """Write a wheel that pip takes for the distribution ``tiny-weights`` 1.0."""
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


def make_shelf(folder: Path, content: bytes, inside: str = FILE) -> Shelf:
    """Put a wheel that holds these weights into a folder."""
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
    return Shelf(row, wheel)


def left(row: Weights) -> list[str]:
    """Name what lies in the cache folder, but for the lock."""
    folder = row.path.parent
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def installed(row: Weights) -> bool:
    """Tell whether the right file lies there, and nothing else."""
    return left(row) == [row.path.name] and digest(row.path.read_bytes()) == row.sha256


@contextmanager
def refused(row: Weights, error: type[Exception], match: str) -> Iterator[None]:
    """Expect an error of one line that says what to do, and an empty cache folder."""
    with pytest.raises(error, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert str(caught.value.hint)
    assert left(row) == []


class Quiet(http.server.BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, length: int, kind: str = "text/html") -> None:
        """Send a head and this much of its body."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Refusing(Quiet):
    """An index that answers everything with one status."""

    def do_GET(self):
        """Give the status."""
        self.answer(self.server.status, b"", 0)


class Stalling(Quiet):
    """An index that gives half of a wheel and then nothing."""

    def do_GET(self):
        """Give the page of links, or half of the wheel."""
        shelf, asked, gone = self.server.shelf, self.server.asked, self.server.gone
        name, content = shelf.wheel.name, shelf.wheel.read_bytes()
        if not self.path.endswith(".whl"):
            page = f'<a href="/{name}">{name}</a>'.encode()
            self.answer(200, page, len(page))
            return
        self.answer(200, content[: len(content) // 2], len(content), "application/octet-stream")
        asked.set()
        self.connection.settimeout(20)
        if self.rfile.read(1) == b"":
            gone.set()


@contextmanager
def index(handler: type[Quiet]) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serve on loopback for a while."""
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
    """Give a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def index_env(url: str, retries: int = 0) -> dict[str, str]:
    """Point pip at one index."""
    return {
        "PIP_INDEX_URL": url,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": str(retries),
        "NO_PROXY": "*",
    }
