"""A Hugging Face hub on loopback, with its files on a second host behind TLS."""

import contextlib
import hashlib
import http.server
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import trustme

COMMIT = "c" * 40
TOKEN = "hf_canary0123456789abcdef"


@dataclass
class SeenRequest:
    """A request that a server has received."""

    server: str
    method: str
    path: str
    token: str
    range: str


@dataclass
class FakeHub:
    """The content and the faults of a hub, and the requests that it has received.

    Attributes:
        repos: The files of each repository, by path.
        private: Repositories that need `TOKEN`.
        gated: Repositories whose files need `TOKEN` and the acceptance of terms.
        digests: Digests that the hub lists instead of the files' own, by path.
        served: Contents that the second host serves instead of the listed ones, by path.
        cuts: Numbers of bytes after which the next downloads end; each is used once.
        stall: Whether a download waits after half of the file until its client disconnects.
        html: Servers that respond with an HTML page: ``"api"``, ``"head"`` or ``"cdn"``.
        status: The status of every hub response; 0 for the usual one.
        redirect: The base URL of files; empty for the second host's.
        ca_file: The certificate authority of the second host.
    """

    ca_file: Path
    url: str = ""
    cdn_url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    gated: set[str] = field(default_factory=set)
    digests: dict[str, str] = field(default_factory=dict)
    served: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    stall: bool = False
    stalled: threading.Event = field(default_factory=threading.Event)
    disconnected: threading.Event = field(default_factory=threading.Event)
    html: set[str] = field(default_factory=set)
    status: int = 0
    redirect: str = ""
    seen: list[SeenRequest] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """The environment in which this is the hub."""
        return {"HF_ENDPOINT": self.url}

    def downloads(self) -> list[str]:
        """Return the ranges of the downloads so far; empty for a whole file."""
        return [seen.range for seen in self.seen if seen.server == "cdn" and seen.method == "GET"]


def gguf(size: int, seed: str = "") -> bytes:
    """Return the content of a file that begins like a GGUF file; it depends only on the seed."""
    block = hashlib.sha256(seed.encode()).digest()
    return (b"GGUF" + block * (size // 32 + 1))[:size]


def sha256(content: bytes) -> str:
    """Return the SHA-256 digest, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = ""

    @property
    def hub(self) -> FakeHub:
        return self.server.hub

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_HEAD(self):
        """Answer a request for a file's headers."""
        self._note()
        self.answer_request()

    do_GET = do_HEAD  # noqa: N815 - the name that the server calls

    def answer_request(self) -> None:
        """Answer the request."""
        raise NotImplementedError

    def _note(self) -> None:
        headers = self.headers
        self.hub.seen.append(
            SeenRequest(
                self.name,
                self.command,
                self.path,
                headers.get("Authorization", "").removeprefix("Bearer "),
                headers.get("Range", ""),
            )
        )

    def send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_html(self) -> None:
        """Send a network's login page."""
        self.send(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in</html>")


class _HubHandler(_Handler):
    """The hub: file lists, and redirects to the files."""

    name = "hub"

    def answer_request(self) -> None:
        url = urlsplit(self.path)
        if self.hub.status:
            self.send(self.hub.status, {})
        elif url.path == "/api/models":
            self._search(parse_qs(url.query))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)", url.path):
            self._list(match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", url.path):
            self._resolve(match[1], unquote(match[3]))
        else:
            self.send(404, {})

    @property
    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _json(self, content: object) -> None:
        self.send(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def _search(self, query: dict[str, list[str]]) -> None:
        start = f"{query.get('author', [''])[0]}/" if "author" in query else ""
        names = (
            name
            for name in self.hub.repos
            if name.startswith(start) and query["search"][0].lower() in name.lower()
        )
        self._json([{"id": name, "modelId": name} for name in names])

    def _may_read(self, repo: str) -> bool:
        if self._token and self._token != TOKEN:
            message = "Invalid credentials in Authorization header"
            self.send(401, {"X-Error-Message": message})
            return False
        if repo not in self.hub.repos or (repo in self.hub.private and self._token != TOKEN):
            # As on the hub, so that the names of private repositories stay private.
            self.send(404 if self._token else 401, {"X-Error-Code": "RepoNotFound"})
            return False
        return True

    def _list(self, repo: str) -> None:
        if "api" in self.hub.html:
            return self.send_html()
        if not self._may_read(repo):
            return None
        siblings = [
            {
                "rfilename": path,
                "size": len(content),
                "blobId": "b" * 40,
                "lfs": {
                    "sha256": self._digest(path, content),
                    "size": len(content),
                    "pointerSize": 9,
                },
            }
            for path, content in self.hub.repos[repo].items()
        ]
        siblings.append({"rfilename": "README.md", "size": 9, "blobId": "b" * 40})
        return self._json({"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings})

    def _digest(self, path: str, content: bytes) -> str:
        return self.hub.digests.get(path) or sha256(content)

    def _resolve(self, repo: str, path: str) -> None:
        if "head" in self.hub.html:
            return self.send_html()
        if not self._may_read(repo):
            return None
        if repo in self.hub.gated and self._token != TOKEN:
            return self.send(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Accept"})
        content = self.hub.repos[repo][path]
        base = self.hub.redirect or self.hub.cdn_url
        return self.send(
            302,
            {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{self._digest(path, content)}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{base}/{repo}/{path}?X-Amz-Signature=secret-signature",
            },
        )


class _CdnHandler(_Handler):
    """The host of the files, which supports ranges."""

    name = "cdn"

    def answer_request(self) -> None:
        hub = self.hub
        if "cdn" in hub.html:
            return self.send_html()
        owner, repo, path = unquote(urlsplit(self.path).path).strip("/").split("/", 2)
        content = hub.served.get(path, hub.repos[f"{owner}/{repo}"][path])
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        rest = content[start:]
        headers = {"Content-Type": "application/octet-stream"}
        if match:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if hub.stall or hub.cuts:
            return self._send_part(206 if match else 200, headers, rest)
        return self.send(206 if match else 200, headers, rest)

    def _send_part(self, status: int, headers: dict[str, str], body: bytes) -> None:
        count = len(body) // 2 if self.hub.stall else self.hub.cuts.pop(0)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:count])
        self.wfile.flush()
        self.close_connection = True
        if self.hub.stall:
            self.hub.stalled.set()
            self.connection.settimeout(60)
            with contextlib.suppress(ConnectionError):  # a killed client may reset the connection
                self.rfile.read(1)
            self.hub.disconnected.set()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing about clients that disconnect."""


@contextmanager
def _serve(
    handler: type[_Handler], hub: FakeHub, context: ssl.SSLContext | None = None
) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), handler)
    server.hub = hub
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def run_hub(folder: Path) -> Iterator[FakeHub]:
    """Run a hub and its second host on loopback."""
    authority = trustme.CA()
    hub = FakeHub(folder / "ca.pem")
    authority.cert_pem.write_to_path(hub.ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with _serve(_HubHandler, hub) as port, _serve(_CdnHandler, hub, context) as cdn_port:
        hub.url, hub.cdn_url = f"http://127.0.0.1:{port}", f"https://localhost:{cdn_port}"
        yield hub
