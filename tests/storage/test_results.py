"""The results of jobs: rows, keys, resuming, and what a second process sees."""

import contextlib
import sqlite3
import stat
import time

import pytest

from gatewayx_nb.storage import JobFigures, ResultsStore, StoredRow
from gatewayx_nb.storage.results_file import write_transaction

DIGEST = b"\x01" * 16
EXTREMES = (-(2**63), -1, 0, 1, 2**63 - 1)


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / ".gatewayx" / "results.sqlite"


@pytest.fixture
def store(path):
    """Yield a store."""
    store = ResultsStore(path)
    yield store
    store.close()


def fill(store, *rows, digest=DIGEST, name="n"):
    """Store rows, or keys, in a job, and close it."""
    job = store.open_job(digest, name=name)
    assert job.try_drive()
    for row in rows:
        job.put(row if isinstance(row, StoredRow) else StoredRow(row, b"%d" % row))
    assert job.close()


def test_nothing_is_opened_until_it_is_used(store, path):
    """A store and its queries create no file and no folder."""
    assert store.jobs() == []
    assert store.find("n") is None
    assert store.forget([1]) == 0
    assert store.describe().size == 0
    assert store.close()

    assert not path.parent.exists()


def test_rows_are_found_again(store, path):
    """Positive, negative and extreme keys, and every field of a row, are read as stored."""
    rows = [
        StoredRow(key, bytes([number]) * 300, "ok" if number else "RateLimitError", not number, 2.5)
        for number, key in enumerate(EXTREMES)
    ]
    fill(store, *rows)
    job = ResultsStore(path).open_job(DIGEST, name="n")

    assert job.load() == len(rows)
    assert [job.get(key) for key in EXTREMES] == rows
    assert job.get_many((7, *EXTREMES)) == {row.key: row for row in rows}
    assert list(job.rows()) == rows


def test_the_file_is_private_and_uses_a_log(store, path):
    """The file and its companions have the mode 0600; each commit is synced to the disk."""
    fill(store, 1)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.glob("results*")}

    assert modes.pop("results.locks") == 0o700
    assert set(modes.values()) == {0o600}
    assert "results.sqlite-wal" in modes
    assert store.describe().journal.mode == "wal"
    assert store._file.connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_row_is_announced_once_it_is_durable(store, path):
    """The callback gets the rows in order, and another connection sees them."""
    job, seen = store.open_job(DIGEST), []

    def check(rows):
        with contextlib.closing(sqlite3.connect(path)) as other:
            (count,) = other.execute("SELECT count(*) FROM answers").fetchone()
        is_durable = count == len(seen) + len(rows)
        seen.extend((row.key, is_durable) for row in rows)

    job.on_durable = check
    for key in range(500):
        job.put(StoredRow(key, b"x"))
    assert job.flush()

    assert seen == [(key, True) for key in range(500)]
    assert job.get(77).content == b"x"


def test_the_last_row_of_a_key_counts_whatever_its_time(store, path):
    """The clock may have been turned back: the order of the rows decides."""
    fill(store, StoredRow(1, b"old", at=2e9), 2, StoredRow(1, b"new", at=1e9))
    job = ResultsStore(path).open_job(DIGEST)

    assert job.load() == 2
    assert job.get(1).content == b"new"
    assert [row.content for row in job.rows()] == [b"2", b"new"]


def test_rows_that_are_too_old_are_not_loaded(store, path):
    """A key whose last row is older than the limit is missing, even if an earlier one is not."""
    now = time.time()
    fill(
        store,
        *(StoredRow(1, b"a", at=now), StoredRow(1, b"b", at=now - 900)),
        *(StoredRow(2, b"c", at=now - 900), StoredRow(2, b"d", at=now - 60)),
    )
    job = ResultsStore(path).open_job(DIGEST)

    assert job.load(max_age=600) == 1
    assert (job.get(1), job.get(2).content) == (None, b"d")
    assert job.load(max_age=10_000) == 1  # an index does not grow back; another object reads all
    assert ResultsStore(path).open_job(DIGEST).load(max_age=10_000) == 2


def test_figures_are_stored(store, path):
    """A job keeps its figures, its definition and its driver; the last used one comes first."""
    job = store.open_job(DIGEST, name="tickets", definition={"model": "m", "prompt": "\ud800"})
    store.open_job(b"\x02" * 16, name="other")
    figures = JobFigures("stopped", 9, 3, 1, 4, problem="stopped")
    assert job.try_drive()
    job.set_figures(figures)
    assert job.flush()
    first, second = ResultsStore(path).jobs()

    assert (first.name, second.name) == ("tickets", "other")
    assert first.figures == figures
    assert first.definition["model"] == "m"
    assert first.driver == job.driver() != ""
    assert (first.is_running, second.is_running) == (True, False)
    assert store.find("tickets").id == store.find("0101").id == first.id
    assert store.find("") is store.find("x") is None
    job.close()
    assert not store.find("tickets").is_running


def test_any_path_can_be_used(tmp_path):
    """Characters with a special meaning in URIs are part of the path."""
    path = tmp_path / "a b#c?d=%41&é" / "results.sqlite"
    fill(store := ResultsStore(path), 1)

    assert path.is_file()
    assert [job.name for job in store.jobs()] == ["n"]
    store.close()


def test_a_closed_store_can_be_used_again(store):
    """Closing ends the thread and closes the file; the next row opens them again."""
    job = store.open_job(DIGEST)
    for key in (1, 2):
        job.put(StoredRow(key, b"x"))
        assert store.close()
        assert store._file is store.writer._thread is None

    assert job.load() == 2
    assert job.unsaved == 0
    store.close()


def test_closing_a_store_closes_every_connection(store):
    """This includes those of jobs that are only read, and of jobs used again after `close`."""
    fill(store, 1, 2)
    reader = store.read_job(store.jobs()[0])
    closed_job = store.open_job(DIGEST)
    closed_job.close()
    for job in (reader, closed_job):
        assert job.load() == 2
        assert job.connection is not None

    store.close()

    assert reader.connection is closed_job.connection is None
    assert reader.load() == 2
    store.close()


def test_a_job_that_is_only_read_writes_nothing(store, path):
    """Reading a listed job changes neither its order nor its times."""
    fill(store, 1, digest=b"\x02" * 16)
    fill(store, 2)
    before = store.jobs()
    job = ResultsStore(path).read_job(before[1])

    assert [row.key for row in job.rows()] == [1]
    assert job.close()
    assert store.jobs() == before
    store.open_job(before[1].digest)
    assert [each.id for each in store.jobs()] == [before[1].id, before[0].id]


def test_a_file_without_tables_has_no_jobs(tmp_path):
    """Another process may just have created the file."""
    path = tmp_path / "results.sqlite"
    path.touch(mode=0o600)

    assert ResultsStore(path).jobs() == []


class InterruptedConnection(sqlite3.Connection):
    """A connection whose user presses Ctrl-C when a transaction has just begun."""

    def execute(self, sql, *parameters):
        cursor = super().execute(sql, *parameters)
        if sql.startswith("BEGIN"):
            raise KeyboardInterrupt
        return cursor


def test_an_interrupt_ends_a_transaction_that_has_just_begun(tmp_path):
    """Otherwise, no further transaction could be started in the same process."""
    path = tmp_path / "a.sqlite"
    with contextlib.closing(
        sqlite3.connect(path, isolation_level=None, factory=InterruptedConnection)
    ) as connection:
        with pytest.raises(KeyboardInterrupt), write_transaction(connection):
            pass

        assert not connection.in_transaction


def test_a_transaction_that_an_interrupt_has_left_open_is_rolled_back(tmp_path):
    """The next transaction starts, and stores only its own rows."""
    with contextlib.closing(sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE numbers (number)")
        opened.execute("BEGIN IMMEDIATE")
        opened.execute("INSERT INTO numbers VALUES (1)")
        with write_transaction(opened):
            opened.execute("INSERT INTO numbers VALUES (2)")

        assert opened.execute("SELECT number FROM numbers").fetchall() == [(2,)]
