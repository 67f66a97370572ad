import dataclasses
import hashlib
import http.server
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, ModelNotFoundError, TransportError
from gatewayx_nb.weights import Weights

ROOT = Path(__file__).resolve().parents[1]
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


@pytest.fixture
def shelf(tmp_path):
    """200 kB that do not compress."""
    return make_shelf(tmp_path, b"GGUF" + random.Random(1).randbytes(200_000))


def left(row: Weights) -> list[str]:
    """Name what lies in the cache folder, but for the lock."""
    folder = row.path.parent
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def installed(row: Weights) -> bool:
    """Tell whether the right file lies there, and nothing else."""
    return left(row) == [row.path.name] and digest(row.path.read_bytes()) == row.sha256


# The catalogue


def test_shipped_row_is_complete():
    """The shipped catalogue has SmolLM2, with digests of full length."""
    row = weights.catalogue()["smollm2"]
    assert (row.size, row.wheel_size) == (98_362_432, 92_871_040)
    assert {len(row.sha256), len(row.wheel_sha256)} == {64}
    assert row.file.endswith(".gguf")


def test_unknown_name_offers_the_nearest():
    """An unknown name is refused, with the nearest one and the command that pulls."""
    with pytest.raises(ModelNotFoundError, match=r"'smolm2'.*Did you mean 'smollm2'\?") as caught:
        weights.pull("smolm2")
    assert caught.value.mend == "%gatewayx pull smollm2"


def test_nothing_is_located_before_it_is_pulled():
    """Before a pull there is no file; a file of another size is none either."""
    row = weights.catalogue()["smollm2"]
    assert weights.locate() is None
    row.path.parent.mkdir(parents=True)
    row.path.write_bytes(b"GGUF")
    assert weights.locate() is None


def test_own_file_wins(tmp_path):
    """GATEWAYX_LOCAL_MODEL names the file that is loaded."""
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF...")
    assert weights.locate(env={"GATEWAYX_LOCAL_MODEL": str(own)}) == own
    assert weights.locate(env={"GATEWAYX_LOCAL_MODEL": ""}) is None


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"], ids=["missing", "empty", "zip"])
def test_own_file_that_is_none_names_the_variable(tmp_path, content):
    """What the variable names must be a readable GGUF file."""
    own = tmp_path / "own.gguf"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(ConfigError, match="GATEWAYX_LOCAL_MODEL names"):
        weights.locate(env={"GATEWAYX_LOCAL_MODEL": str(own)})


# A pull that ends well


def test_pip_fetches_and_the_file_is_installed(shelf):
    """Only the wheel is fetched; the file is the right one, and nothing else is left."""
    path = weights.install(shelf.row, env=shelf.env)
    assert path == shelf.row.path
    assert installed(shelf.row)
    assert shelf.row.here


def test_wheel_at_hand_needs_no_pip(shelf, monkeypatch):
    """With a source nothing is fetched; the wheel stays where it is."""
    monkeypatch.setitem(sys.modules, "pip", None)
    weights.install(shelf.row, source=shelf.wheel)
    assert installed(shelf.row)
    assert shelf.wheel.exists()


def test_second_pull_fetches_nothing(shelf):
    """What is there is checked and kept."""
    weights.install(shelf.row, source=shelf.wheel)
    before = shelf.row.path.stat().st_mtime_ns
    assert weights.install(shelf.row, env={"PIP_NO_INDEX": "1"}) == shelf.row.path
    assert shelf.row.path.stat().st_mtime_ns == before


def test_damaged_file_is_replaced(shelf):
    """A file of the right size and another content is fetched again."""
    weights.install(shelf.row, source=shelf.wheel)
    shelf.row.path.write_bytes(bytes(shelf.row.size))
    weights.install(shelf.row, source=shelf.wheel)
    assert installed(shelf.row)


def test_log_gets_a_few_lines(shelf, capsys):
    """Where the line cannot be drawn anew, progress is four lines a phase, on stderr."""
    weights.install(shelf.row, env=shelf.env)
    out, err = capsys.readouterr()
    assert out == ""
    assert 2 <= len(err.splitlines()) <= 8
    assert "tiny: unpack: 100 % of" in err
    assert "\r" not in err


def test_terminal_gets_a_bar(shelf, monkeypatch, capsys):
    """In a terminal one line is drawn over and over, up to the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    weights.install(shelf.row, env=shelf.env)
    err = capsys.readouterr().err
    assert "\r" in err
    assert "tiny: unpack: 100%" in err


def test_quiet_pull_says_nothing(shelf, capfd):
    """Without progress nothing is written at all."""
    weights.install(shelf.row, env=shelf.env, progress=False)
    assert capfd.readouterr() == ("", "")


def test_pip_gets_no_model_keys(shelf, monkeypatch, tmp_path):
    """No child of ours is given a key."""
    seen = tmp_path / "seen.json"
    spy = tmp_path / "spy"
    (spy / "pip").mkdir(parents=True)
    (spy / "pip" / "__init__.py").touch()
    (spy / "pip" / "__main__.py").write_text(
        f"import json, os; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    env = {"PYTHONPATH": str(spy), "GATEWAYX_GROK_API_KEY": "canary", "KEPT": "yes"}
    with pytest.raises(ConfigError):
        weights.install(shelf.row, env=env, progress=False)
    child = json.loads(seen.read_text())
    assert "canary" not in child.values()
    assert child["KEPT"] == "yes"


# A pull that fails leaves nothing, and says in one line what to do


@contextmanager
def refused(row: Weights, error: type[Exception], match: str) -> Iterator[None]:
    """Expect an error of one line that says what to do, and an empty cache folder."""
    with pytest.raises(error, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    assert left(row) == []


def test_other_wheel_is_refused(shelf):
    """A wheel of another digest is not opened."""
    other = shelf.with_row(wheel_sha256="0" * 64)
    with refused(other.row, ConfigError, rf"has SHA-256 {shelf.row.wheel_sha256}, not 0{{64}}"):
        weights.install(other.row, env=other.env)


def test_other_file_in_the_right_wheel_is_refused(shelf):
    """The file's own digest counts too."""
    other = shelf.with_row(sha256="0" * 64)
    with refused(other.row, ConfigError, "'tiny_weights/tiny.gguf' in it has SHA-256"):
        weights.install(other.row, source=other.wheel)


def test_other_size_is_refused_before_unpacking(shelf):
    """A file of another size than the row's is not unpacked."""
    other = shelf.with_row(size=17)
    with refused(other.row, ConfigError, "has 200004 bytes, not 17"):
        weights.install(other.row, source=other.wheel)


def test_wheel_without_the_file_is_refused(tmp_path):
    """A wheel that lacks the file is refused by name."""
    shelf = make_shelf(tmp_path, b"GGUF", inside="other/name.gguf")
    with refused(shelf.row, ConfigError, "no item named 'tiny_weights/tiny.gguf'"):
        weights.install(shelf.row, source=shelf.wheel)


@pytest.mark.parametrize("kept", [0, 10, 1000, 100_000])
def test_truncated_wheel_is_refused(shelf, kept):
    """A wheel cut anywhere is refused, even where its digest is the expected one."""
    shelf.wheel.write_bytes(shelf.wheel.read_bytes()[:kept])
    cut = shelf.with_row(wheel_sha256=digest(shelf.wheel.read_bytes()))
    with refused(cut.row, ConfigError, "is unusable: "):
        weights.install(cut.row, source=cut.wheel)


@pytest.mark.parametrize("content", [bytes(200_000), random.Random(2).randbytes(200_000)])
def test_damaged_stream_in_the_wheel_is_refused(tmp_path, content):
    """Flipped bytes amid the data, compressed or stored, are a ConfigError."""
    shelf = make_shelf(tmp_path, b"GGUF" + content)
    damaged = bytearray(shelf.wheel.read_bytes())
    damaged[52:60] = b"\xff" * 8
    shelf.wheel.write_bytes(damaged)
    bad = shelf.with_row(wheel_sha256=digest(damaged))
    with refused(bad.row, ConfigError, "is unusable: "):
        weights.install(bad.row, source=bad.wheel)


def test_missing_source_is_refused(shelf, tmp_path):
    """A source that is no file is refused before anything is made."""
    with pytest.raises(ConfigError, match=r"No file '.*nowhere\.whl'"):
        weights.install(shelf.row, source=tmp_path / "nowhere.whl")
    assert not shelf.row.path.parent.exists()


def test_unknown_distribution_is_a_config_error(shelf):
    """An index without the wheel is the user's to configure."""
    other = shelf.with_row(distribution="no-such-weights")
    with refused(other.row, ConfigError, "found no wheel no-such-weights==1.0 .* No matching"):
        weights.install(other.row, env=other.env)


# Indexes that fail


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


@pytest.mark.parametrize("retries", [0, 1])
def test_offline_is_a_transport_error_without_the_password(shelf, retries):
    """An index that cannot be reached; credentials in its address are not shown."""
    env = index_env(f"http://me:hunter2@127.0.0.1:{closed_port()}/simple", retries)
    match = r"cannot be reached for 'tiny': \[Errno \d+\] Connection refused\. Check"
    with refused(shelf.row, TransportError, match):
        weights.install(shelf.row, env=env)


@dataclass(frozen=True)
class Answered:
    """What an index says to every request, and the error that is."""

    status: int
    error: type[Exception]
    match: str


@pytest.mark.parametrize(
    "answered",
    [
        Answered(401, TransportError, "401 Client Error: Unauthorized"),
        Answered(403, TransportError, "403 Client Error: Forbidden"),
        Answered(404, ConfigError, "No matching distribution found"),
        Answered(503, TransportError, "too many 503 error responses"),
    ],
    ids=lambda answered: str(answered.status),
)
def test_index_that_refuses_is_no_index_that_lacks_it(shelf, answered):
    """A refusal is the network's fault; only 404 means that there is no such wheel."""
    with index(Refusing) as server:
        server.status = answered.status
        with refused(shelf.row, answered.error, answered.match):
            weights.install(shelf.row, env=index_env(f"http://127.0.0.1:{server.server_port}/x"))


def test_index_without_tls_is_a_transport_error(shelf):
    """A TLS fault is said in its own words, not as a missing wheel."""
    with (
        index(Refusing) as server,
        refused(shelf.row, TransportError, r"cannot be .*\(_ssl\.c:\d+\)"),
    ):
        weights.install(shelf.row, env=index_env(f"https://127.0.0.1:{server.server_port}/x"))


def test_credentials_in_pips_words_are_masked(shelf, tmp_path):
    """Whatever pip says, an address is shown without its credentials."""
    fake = tmp_path / "fake"
    (fake / "pip").mkdir(parents=True)
    (fake / "pip" / "__init__.py").touch()
    (fake / "pip" / "__main__.py").write_text(
        "import sys; sys.exit('WARNING: x\\nERROR: no https://me:hun@ter2@host/simple here')"
    )
    with pytest.raises(ConfigError, match=r"no https://\*\*\*@host/simple here") as caught:
        weights.install(shelf.row, env={"PYTHONPATH": str(fake)})
    assert "ter2" not in str(caught.value)
    assert "WARNING" not in str(caught.value)


def test_without_pip_the_command_that_brings_it_is_named(shelf, monkeypatch):
    """An environment without pip: how to get it, or how to do without."""
    monkeypatch.setitem(sys.modules, "pip", None)
    with refused(shelf.row, ConfigError, "needs pip"):
        weights.install(shelf.row, env=shelf.env)


@pytest.mark.parametrize("has_uv", [True, False])
def test_mend_for_a_missing_pip_fits_the_machine(shelf, monkeypatch, tmp_path, has_uv):
    """`uv pip install` where there is uv, else ensurepip."""
    if has_uv:
        (tmp_path / "uv").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ConfigError) as caught:
        weights.install(shelf.row)
    expected = "uv pip install --python" if has_uv else "-m ensurepip"
    assert expected in caught.value.mend
    assert "%gatewayx pull tiny --from" in caught.value.mend


def test_too_little_room_is_said_before_fetching(shelf):
    """A disk that cannot hold it: said at once, pip is not started."""
    huge = shelf.with_row(size=1 << 60)
    with refused(huge.row, ConfigError, r"No room for 'tiny' in '.*models'"):
        weights.install(huge.row, env={"PIP_NO_INDEX": "1"})


def test_disk_that_fills_up_amid_is_a_config_error(shelf):
    """A write that fails for want of room leaves nothing."""
    ended = child(shelf, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))")
    assert "ConfigError: No room for 'tiny'" in ended.communicate()[1]
    assert left(shelf.row) == []


@pytest.mark.parametrize("place", ["file", "/proc/no"], ids=["a file in its way", "read-only"])
def test_cache_that_cannot_be_written_is_a_config_error(shelf, monkeypatch, tmp_path, place):
    """A cache folder that cannot be made is named."""
    if place == "file":
        place = str(tmp_path / "file")
        Path(place).touch()
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    with pytest.raises(ConfigError, match=f"Cannot put 'tiny' into '{place}/gatewayx/models'"):
        weights.install(shelf.row, env=shelf.env)


# Processes that are interrupted, killed, or come together

CHILD = """if True:
    import json, pathlib, resource, sys
    from gatewayx_nb import weights
    row, source = json.loads(sys.argv[1])
    {first}
    try:
        weights.install(weights.Weights(**row), source=source and pathlib.Path(source))
    except Exception as error:
        sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


def child(
    shelf: Shelf, first: str = "", env: dict[str, str] | None = None, *, pip: bool = False
) -> subprocess.Popen[str]:
    """Start a pull in a process and a session of its own."""
    source = None if pip or env else str(shelf.wheel)
    return subprocess.Popen(
        [
            *(sys.executable, "-c", CHILD.format(first=first)),
            json.dumps([dataclasses.asdict(shelf.row), source]),
        ],
        env={**os.environ, **(env or shelf.env), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(reached: Callable[[], object], seconds: float = 20) -> None:
    """Poll until something has come about."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.002)


def staged(row: Weights, pattern: str) -> list[Path]:
    """Give the files that match in any staging folder."""
    return list(row.path.parent.glob(f".staging-*/{pattern}"))


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process alone, as the system does; then what it left running, so that tests end."""
    process.kill()
    process.communicate()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class Moment:
    """When to kill: at the sight of this file with at least so many bytes."""

    pattern: str
    size: int = 0
    pip: bool = False


MEGABYTE = 1_000_000
MOMENTS = [
    Moment("", pip=True),
    Moment("tmp", pip=True),
    Moment("pip.err", pip=True),
    Moment("wheels", pip=True),
    *(
        Moment("tiny-*.gguf", size)
        for size in (0, 1, *range(8 * MEGABYTE, 64 * MEGABYTE, 8 * MEGABYTE))
    ),
]


@pytest.fixture(scope="module")
def slow_shelf(tmp_path_factory):
    """64 MB that compress to little: unpacking takes long enough to be caught at it."""
    return make_shelf(tmp_path_factory.mktemp("slow"), b"GGUF" + bytes(64 * MEGABYTE))


def test_kill_at_any_moment_leaves_the_next_pull_well(slow_shelf):
    """SIGKILL at many moments: never a half file under the final name; the next pull cleans up."""
    row, caught = slow_shelf.row, 0
    for moment in MOMENTS:
        process = child(slow_shelf, pip=moment.pip)
        until(
            lambda moment=moment: (
                any(f.stat().st_size >= moment.size for f in staged(row, moment.pattern))
                or row.here
            )
        )
        kill(process)
        caught += not row.path.exists()
        assert not row.path.exists() or digest(row.path.read_bytes()) == row.sha256
        row.path.unlink(missing_ok=True)
    assert caught >= 10, "too many were done before they were killed for this to show anything"
    assert left(row)
    weights.install(row, env=slow_shelf.env, progress=False)
    assert installed(row)


def test_two_processes_at_once_both_end_well(slow_shelf):
    """Both give the file; the second finds what the first fetched."""
    both = [child(slow_shelf, pip=True) for _ in range(2)]
    ends = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert installed(slow_shelf.row)


@pytest.fixture
def stalling(shelf):
    """A loopback index that stalls in the middle of the wheel."""
    with index(Stalling) as server:
        server.shelf, server.asked, server.gone = shelf, threading.Event(), threading.Event()
        yield server


def test_interrupt_ends_pip_and_leaves_nothing(shelf, stalling):
    """Ctrl-C amid a download: pip's connection is gone, and so is the folder."""
    process = child(shelf, env=index_env(f"http://127.0.0.1:{stalling.server_port}/simple"))
    assert stalling.asked.wait(20)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - started < 3
    assert stalling.gone.wait(5)
    assert "KeyboardInterrupt" in err
    assert left(shelf.row) == []


def test_a_live_pull_is_waited_for_and_a_dead_one_swept(shelf, stalling):
    """A second pull leaves the folder of the first alone while it lives, and then goes on."""
    first = child(shelf, env=index_env(f"http://127.0.0.1:{stalling.server_port}/simple"))
    assert stalling.asked.wait(20)
    (folder,) = staged(shelf.row, "")
    second = child(shelf)
    assert "another process is pulling" in second.stderr.readline()
    assert folder.exists()
    kill(first)
    assert second.wait(20) == 0
    second.communicate()
    assert installed(shelf.row)


# The real weights


@pytest.mark.weights
def test_real_weights_are_pulled(monkeypatch):
    """The real wheel comes from the index of this machine, and both digests hold."""
    path = weights.pull("smollm2", progress=False)
    assert re.fullmatch(r"smollm2-[0-9a-f]{12}\.gguf", path.name)
    assert weights.locate() == path
