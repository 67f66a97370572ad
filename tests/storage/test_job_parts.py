"""Parts of jobs that were submitted as batches, and files from the version without parts."""

import contextlib
import sqlite3
import time
import zlib
from dataclasses import replace

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.storage import JobFigures, JobPart, ResultsStore, StoredRow, job_parts
from gatewayx_nb.storage.results_file import MIGRATIONS

DIGEST = b"\x01" * 16
KEYS = (-(2**63), -1, 0, 1, 2**63 - 1)
FIGURES = JobFigures(state="submitted", total=5)


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / ".gatewayx" / "results.sqlite"


@pytest.fixture
def store(path):
    """Yield a store with a job."""
    store = ResultsStore(path)
    store.open_job(DIGEST, name="n").close()
    yield store
    store.close()


def part(**fields):
    return JobPart("d1", KEYS, **fields)


def test_a_part_is_read_as_it_was_stored(store, path):
    added = store.parts(DIGEST).add(part(info={"engine": "e"}), ["a"] * 5, FIGURES)

    other = ResultsStore(path).parts(DIGEST)
    assert other.all() == other.open() == [added]
    assert (added.number, added.state, added.keys) == (1, "submitting", KEYS)
    assert other.prompts(added) == ["a"] * 5
    assert store.jobs()[0].figures == FIGURES


def test_states_and_figures_change_together(store):
    parts = store.parts(DIGEST)
    first = parts.add(part(), ["p"] * 5, FIGURES)
    second = parts.add(part(), [], FIGURES)
    done = JobFigures(state="done", done=5)

    parts.update(replace(first, state="submitted", batch="b1"))
    parts.update(replace(second, state="collected", batch="b2"), done)

    assert [(each.number, each.state, each.batch) for each in parts.all()] == [
        (1, "submitted", "b1"),
        (2, "collected", "b2"),
    ]
    assert [each.number for each in parts.open()] == [1]
    assert parts.known_batches() == {"b1", "b2"}
    assert store.jobs()[0].figures == done
    parts.update(replace(first, state="collected", batch="b1"))
    assert parts.prompts(first) == []  # nothing needs them any more


def test_numbers_are_not_reused_while_later_parts_exist(store):
    parts = store.parts(DIGEST)
    first, _ = parts.add(part(), [], FIGURES), parts.add(part(), [], FIGURES)
    parts.remove([first])

    assert parts.add(part(), [], FIGURES).number == 3


def test_parts_belong_to_their_job(store):
    store.open_job(b"\x02" * 16).close()
    store.parts(DIGEST).add(part(), [], FIGURES)

    assert store.parts(b"\x02" * 16).all() == []


def test_a_missing_job_has_no_parts_and_accepts_none(store):
    parts = store.parts(b"\x09" * 16)

    assert parts.all() == []
    with pytest.raises(ConfigError, match="the job has been removed"):
        parts.add(part(), [], FIGURES)


def test_a_file_that_does_not_exist_has_no_parts(path):
    assert ResultsStore(path).parts(DIGEST).all() == []
    assert not path.exists()


def test_a_file_from_the_version_without_parts_is_read_and_upgraded(path):
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for statement in MIGRATIONS[0]:
            file.execute(statement)
        values = (DIGEST, "n", "{}", 1.0, 1.0, 1, 0, "", "{}")
        file.execute("INSERT INTO jobs VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        file.execute("INSERT INTO rows VALUES (1, 1, 7, 2.0)")
        file.execute("INSERT INTO answers VALUES (1, 'ok', 0, x'61')")
        file.execute("PRAGMA user_version = 1")
    store = ResultsStore(path)

    assert store.parts(DIGEST).all() == []
    assert store.parts(DIGEST).known_batches() == set()
    assert [job.name for job in store.jobs()] == ["n"]
    job = store.open_job(DIGEST, name="n")
    assert job.load() == 1
    assert job.get(7) == StoredRow(7, b"a", at=2.0)
    job.close()
    assert store.parts(DIGEST).add(part(), [], FIGURES).number == 1
    store.close()


@pytest.mark.parametrize(
    "change",
    ["state = 'later'", "keys = x'00'", "keys = 3", "digest = 1", "number = 'x'", "state = NULL"],
)
def test_a_damaged_part_is_left_out(store, path, change):
    store.parts(DIGEST).add(part(), [], FIGURES)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute(f"UPDATE parts SET {change}")

    assert store.parts(DIGEST).all() == []


@pytest.mark.parametrize("prompts", [b"x", b"", 3, zlib.compress(b"[" + b'"' * 2_000_000)])
def test_damaged_prompts_are_left_out(store, path, prompts, monkeypatch):
    """A few kilobytes may unpack to gigabytes; they are not fully unpacked."""
    monkeypatch.setattr(job_parts, "_MAX_UNPACKED_BYTES", 1_000_000)
    added = store.parts(DIGEST).add(part(), ["a"] * 5, FIGURES)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE parts SET prompts = ?", (prompts,))

    assert store.parts(DIGEST).prompts(added) == []


@pytest.mark.parametrize(
    ("state", "days", "kept"),
    [
        ("submitted", 0, True),
        ("submitting", 29, True),
        ("submitted", 31, False),
        ("collected", 0, False),
    ],
)
def test_a_job_is_kept_while_a_provider_has_its_answers(store, state, days, kept):
    added = store.parts(DIGEST).add(part(submitted_at=time.time() - days * 86_400), [], FIGURES)
    store.parts(DIGEST).update(replace(added, state=state))

    assert store.forget([job.id for job in store.jobs()]) == (not kept)
    assert len(store.parts(DIGEST).all()) == kept
    assert len(store.jobs()) == kept
