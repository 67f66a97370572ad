"""Results and processes: kills, locks, several writers, followers, forks."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from gatewayx_nb.storage import ResultsStore, StoredRow

IS_SOAK = os.environ.get("SOAK") == "1"
SEEDS, OPENS = (range(20), 200) if IS_SOAK else (range(1), 12)
KILLS = 10

DIGEST = b"\x01" * 16

PREAMBLE = """
import os, random, sys, threading, time
from pathlib import Path
from gatewayx_nb.storage import JobFigures, ResultsStore, StoredRow

store = ResultsStore(Path(sys.argv[1]))
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
"""

# It stores rows as fast as it can, and says which of them are durable.
WRITER = """
job = store.open_job(b"\\x01" * 16)
assert job.try_drive()
job.on_durable = lambda rows: say("\\n".join(f"{row.key} {row.content.decode()}" for row in rows))
say("ready", job.load())
for number in range(10**9):
    job.put(StoredRow(random.getrandbits(64) - 2**63, b"%d" % number))
    while job.unsaved > 50:
        time.sleep(0.0005)
"""


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / ".gatewayx" / "results.sqlite"


@pytest.fixture
def start(path):
    """Return a function that starts a process which shares the file; the processes are ended."""
    started = []

    def run(code, *arguments):
        command = [sys.executable, "-c", PREAMBLE + code, str(path), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def read(path):
    """Return all rows of the job, by key."""
    store = ResultsStore(path)
    job = store.read_job(store.jobs()[0])
    rows = {row.key: row.content for row in job.rows()}
    store.close()
    return rows


def check_integrity(path):
    """Check the file with SQLite's integrity check, and that each row has its answer."""
    file = sqlite3.connect(path)
    assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert file.execute("SELECT count(*) FROM rows").fetchone() == (
        file.execute("SELECT count(*) FROM rows JOIN answers USING (id)").fetchone()
    )
    file.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_no_durable_row_is_lost_by_a_kill(path, start, seed):
    """After each SIGKILL, every announced row is there, and the next process drives the job."""
    chance, announced = random.Random(seed), {}
    for _ in range(KILLS):
        process = start(WRITER)
        assert process.stdout.readline().split()[0] == "ready"
        time.sleep(chance.random() * 0.1)
        process.kill()
        for line in process.communicate()[0].splitlines(keepends=True):
            if line.endswith("\n"):
                key, content = line.split()
                announced[int(key)] = content.encode()
        stored = read(path)
        assert announced.items() <= stored.items()
        check_integrity(path)
    assert announced


def test_a_killed_driver_releases_the_job(path, start):
    """A job has one driver; another process names it, follows it, and succeeds it."""
    process = start(WRITER)
    process.stdout.readline()
    store = ResultsStore(path)
    job = store.open_job(DIGEST)

    assert not job.try_drive()
    assert job.driver().startswith(f"process {process.pid} on ")
    assert store.jobs()[0].is_running
    process.kill()
    process.communicate()
    assert not store.jobs()[0].is_running
    assert job.try_drive()
    assert job.driver().startswith(f"process {os.getpid()} on ")
    store.close()


def test_only_one_object_in_a_process_drives_a_job(path):
    """Two objects in one process compete for a job like two processes."""
    stores = [ResultsStore(path), ResultsStore(path)]
    first, second = (store.open_job(DIGEST) for store in stores)

    assert first.try_drive()
    assert first.try_drive()
    assert not second.try_drive()
    first.close()
    assert second.try_drive()
    for store in stores:
        store.close()


def test_a_follower_sees_new_rows(path, start):
    """Each call to `load` adds what the driver has stored since, even a new row for an old key."""
    store = ResultsStore(path)
    driver, follower = store.open_job(DIGEST), ResultsStore(path).open_job(DIGEST)
    counts = []
    for key, content in ((1, b"a"), (2, b"b"), (1, b"c")):
        driver.put(StoredRow(key, content))
        assert driver.flush()
        counts.append((follower.load(), follower.get(key).content))

    assert counts == [(1, b"a"), (2, b"b"), (2, b"c")]
    store.close()


def test_processes_write_different_jobs_at_once(path, start):
    """Two processes with two jobs each store all their rows in one file."""
    code = """
jobs = [store.open_job(bytes([int(sys.argv[2]), number]) * 8) for number in range(2)]
failures = []
for job in jobs:
    assert job.try_drive()
    job.on_failure = failures.append
for key in range(3000):
    jobs[key % 2].put(StoredRow(key, b"%d" % key))
    if key % 50 == 0:
        jobs[0].flush()
assert store.close(60)
say(failures)
"""
    processes = [start(code, number) for number in (1, 2)]
    assert [process.communicate()[0] for process in processes] == ["[]\n", "[]\n"]
    store = ResultsStore(path)
    jobs = [store.read_job(record) for record in store.jobs()]

    assert [job.load() for job in jobs] == [1500] * 4
    store.close()
    check_integrity(path)


def test_many_processes_open_a_new_file_at_once(path, start):
    """No process that creates the file meets a locked database."""
    code = """
while not os.path.exists(sys.argv[2]):
    time.sleep(0.001)
store.open_job(bytes([int(sys.argv[3])]) * 16).try_drive()
say("opened")
"""
    go = path.parent.with_name("go")
    processes = [start(code, go, number) for number in range(OPENS)]
    go.touch()

    assert [process.communicate()[0] for process in processes] == ["opened\n"] * OPENS
    assert len(ResultsStore(path).jobs()) == OPENS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_parents_job_alone(path, start):
    """A child stores only its own rows; it neither repeats the parent's nor releases its job."""
    code = """
import warnings
warnings.simplefilter("ignore")
job = store.open_job(b"\\x01" * 16)
assert job.try_drive()
job.put(StoredRow(1, b"parent"))
assert job.flush()
assert job.connection is not None
with store._lock:  # a commit may be running
    for key in range(2, 5):
        job.put(StoredRow(key, b"parent"))
    child = os.fork()
if child == 0:
    assert job.connection is None
    assert not job.try_drive()
    assert job.load() >= 1
    own = store.open_job(b"\\x02" * 16)
    assert own.try_drive()
    own.put(StoredRow(9, b"child"))
    assert own.flush()
    job.close()
    own.close()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert not ResultsStore(store.path).open_job(b"\\x01" * 16).try_drive()
job.put(StoredRow(5, b"parent"))
assert job.flush()
store.close()
say("done")
"""
    process = start(code)
    assert process.communicate()[0] == "done\n"
    file = sqlite3.connect(path)
    keys = file.execute("SELECT job, key FROM rows ORDER BY job, key").fetchall()

    assert keys == [(1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 9)]
    file.close()


def test_a_stopped_process_waits_for_its_rows(path, start):
    """Rows added before the interpreter ends are stored."""
    code = """
job = store.open_job(b"\\x01" * 16)
for key in range(100):
    job.put(StoredRow(key, b"x"))
"""
    assert start(code).wait() == 0

    assert len(read(path)) == 100


def test_a_full_disk_delays_rows(path, start):
    """No row is lost: the failures are reported, and the rows are stored once there is room."""
    code = """
import resource
job = store.open_job(b"\\x01" * 16)
assert job.try_drive()
durable, failures, failed = [], [], threading.Event()
job.on_durable = durable.extend
job.on_failure = lambda error: (failures.append(error), failed.set())
job.put(StoredRow(0, b"x" * 1000))
assert job.flush()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
for key in range(1, 501):
    job.put(StoredRow(key, b"x" * 1000))
assert failed.wait(60)
assert not job.flush(0.1)
assert job.unsaved == 501 - len(durable) > 0
assert "cannot be written" in store.describe().problem
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert job.flush(60)
assert store.describe().problem == ""
assert [row.key for row in durable] == list(range(501))
store.close()
say("done")
"""
    process = start(code)
    assert process.communicate()[0] == "done\n"
    assert len(read(path)) == 501
    check_integrity(path)


def test_a_full_disk_is_reported_before_a_job_begins(path, start):
    """Opening a job raises an error, and works once there is room."""
    code = """
import resource
from gatewayx_nb.errors import ConfigError
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
try:
    store.open_job(b"\\x01" * 16)
except ConfigError as error:
    say(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
say(store.open_job(b"\\x01" * 16).try_drive())
"""
    process = start(code)
    first, second = process.communicate()[0].splitlines()

    assert "cannot be written: " in first
    assert "Free some space" in first
    assert second == "True"


def test_an_interrupt_is_not_delayed(path, start):
    """SIGTERM ends a process that writes, as it would without a store."""
    process = start(WRITER)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == -signal.SIGTERM
