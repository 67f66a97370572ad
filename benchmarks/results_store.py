"""Measures storing and reading the rows of a job, beside SQLite with an index on the keys.

    python benchmarks/results_store.py [--quick]

A table with a primary key has such an index, here on random keys. A row is stored when its commit
has been synced to the disk; the rows arrive 1,000 at a time, as from 1,000 concurrent calls.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

from gatewayx_nb.storage import ResultsStore, StoredRow

IS_QUICK = "--quick" in sys.argv
COUNT = 5_000 if IS_QUICK else 1_000_000
IN_FLIGHT = 1_000
DIGEST = bytes(16)


def memory() -> float:
    """Return the resident memory of this process in MB, or 0 on systems without ``/proc``."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
    return 0.0


def report(name: str, started: float, count: int, before: float = 0.0) -> None:
    """Print the total time, the time per row, and the growth of memory."""
    took = time.perf_counter() - started
    grown = f"{memory() - before:8.0f} MB" if before else ""
    print(f"{name:34}{took:9.2f} s{took / count * 1e6:9.1f} µs a row{grown}")


def rows(count: int) -> list[StoredRow]:
    """Return rows of about 400 bytes with random keys."""
    chance = random.Random(1)
    content = json.dumps({"text": "words and words " * 20, "usage": {"input_tokens": 30}}).encode()
    return [StoredRow(chance.getrandbits(64) - 2**63, content, at=1e9) for _ in range(count)]


def store(path: Path, made: list[StoredRow]) -> None:
    """Store rows in a job; at most `IN_FLIGHT` rows wait for their commit at a time."""
    results = ResultsStore(path)
    job = results.open_job(DIGEST)
    free = threading.Semaphore(IN_FLIGHT)
    job.on_durable = lambda stored: free.release(len(stored))
    before, started = memory(), time.perf_counter()
    for row in made:
        free.acquire()
        job.put(row)
    job.flush(600)
    report("store", started, len(made), before)
    results.close()


def store_with_index(path: Path, made: list[StoredRow]) -> None:
    """Store the same rows in a table whose primary key is the job and the key."""
    file = sqlite3.connect(path, isolation_level=None)
    file.execute("PRAGMA journal_mode = WAL")
    file.execute("PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE rows (job, key, content, PRIMARY KEY (job, key)) WITHOUT ROWID")
    started = time.perf_counter()
    for start in range(0, len(made), IN_FLIGHT):
        file.execute("BEGIN")
        chunk = made[start : start + IN_FLIGHT]
        values = [(1, row.key, row.content) for row in chunk]
        file.executemany("INSERT INTO rows VALUES (?, ?, ?)", values)
        file.execute("COMMIT")
    report("store, an index over keys", started, len(made))
    file.close()


def resume(path: Path, made: list[StoredRow]) -> None:
    """Load a job, look up missing and stored rows, and read all rows."""
    results = ResultsStore(path)
    job = results.open_job(DIGEST)
    seen: list[float] = []
    before, started = memory(), time.perf_counter()
    job.load(on_progress=lambda _: seen.append(time.perf_counter() - started))
    report("load", started, len(made), before)
    print(f"{'first progress':34}{seen[0]:9.2f} s")
    started = time.perf_counter()
    for row in made:
        job.get(row.key ^ 1)
    report("get, no such row", started, len(made))
    started = time.perf_counter()
    for row in made[:100_000]:
        job.get(row.key)
    report("get", started, min(len(made), 100_000))
    started = time.perf_counter()
    count = sum(1 for _ in job.rows())
    report("read all", started, count)
    results.close()


def main() -> None:
    """Measure everything in a temporary folder."""
    made = rows(COUNT)
    print(f"{COUNT:,} rows")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store(Path(folder) / "results.sqlite", made)
        store_with_index(Path(folder) / "indexed.sqlite", made)
        resume(Path(folder) / "results.sqlite", made)


if __name__ == "__main__":
    main()
