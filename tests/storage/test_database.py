"""Database connections: migrations, and files from other versions."""

import contextlib
import sqlite3
import struct

import pytest

from gatewayx_nb.storage import database
from gatewayx_nb.storage.ledger import MIGRATIONS, Ledger, LedgerEntry

FIRST_MIGRATION = (("CREATE TABLE calls (at)", "INSERT INTO calls VALUES (1)"),)
TWO_MIGRATIONS = (*FIRST_MIGRATION, ("ALTER TABLE calls ADD COLUMN cost",))


def _rows(path):
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT * FROM calls").fetchall()


def _version(path):
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("PRAGMA user_version").fetchone()[0]


def test_each_migration_runs_once(tmp_path):
    """A file from an earlier version gets only the migrations it lacks, and keeps its rows."""
    path = tmp_path / "store.sqlite"
    for migrations in (FIRST_MIGRATION, FIRST_MIGRATION, TWO_MIGRATIONS, TWO_MIGRATIONS):
        with database.transaction(path, migrations, 1):
            pass

    assert _version(path) == 2
    assert _rows(path) == [(1, None)]


def test_a_connection_is_closed_if_ctrl_c_interrupts_its_opening(tmp_path):
    """Otherwise, Python 3.13 warns when the connection is freed."""
    opened = database.connect(tmp_path / "store.sqlite", 1)
    with pytest.raises(KeyboardInterrupt), database.closed_on_error(opened):
        raise KeyboardInterrupt
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened.execute("SELECT 1")


def test_a_failed_migration_is_rolled_back(tmp_path):
    """If a migration fails, the file keeps its version and its rows."""
    path = tmp_path / "store.sqlite"
    with database.transaction(path, FIRST_MIGRATION, 1):
        pass
    broken_migrations = (*FIRST_MIGRATION, ("DELETE FROM calls", "no SQL"))
    with pytest.raises(sqlite3.OperationalError), database.transaction(path, broken_migrations, 1):
        pass

    assert _version(path) == 1
    assert _rows(path) == [(1,)]


def test_a_file_from_a_later_version_is_not_changed(tmp_path):
    """Opening a file with unknown migrations raises an error before anything is written."""
    path = tmp_path / "store.sqlite"
    with database.transaction(path, TWO_MIGRATIONS, 1):
        pass
    content_before = path.read_bytes()
    with (
        pytest.raises(database.UnusableFileError, match="later version"),
        database.transaction(path, FIRST_MIGRATION, 1),
    ):
        pass

    assert path.read_bytes() == content_before


def test_a_ledger_of_release_0_1_keeps_working(tmp_path):
    """A file that release 0.1 created, containing one row, accepts new entries."""
    path = tmp_path / "store.sqlite"
    columns = "at, engine, model, outcome, input_tokens, output_tokens, cost, latency"
    with contextlib.closing(sqlite3.connect(path)) as file, file:
        file.execute(f"CREATE TABLE calls ({columns}, time_to_first, attempts, fallback_from)")
        file.execute("PRAGMA user_version = 1")
        row = (1.0, "grok", "m", "ok", 3, None, "0.5", 1.25, None, 1, None)
        file.execute(f"INSERT INTO calls VALUES ({', '.join('?' * len(row))})", row)
    ledger = Ledger(path)
    assert [entry.engine for entry in ledger.last(9)] == ["grok"]  # before the first entry is added
    ledger.add(LedgerEntry(2.0, "mock", "", "ok", cached_tokens=7))

    assert [entry.engine for entry in ledger.last(9)] == ["mock", "grok"]
    assert str(ledger.last(9)[1].cost) == "0.5"
    assert [entry.cached_tokens for entry in ledger.last(9)] == [7, None]
    assert _version(path) == len(MIGRATIONS)


def test_a_locked_file_is_not_set_aside(tmp_path):
    """A locked or full file can be used later, but a file that is not a database cannot."""
    for text in ("database is locked", "database or disk is full", "interrupted"):
        assert not database.is_unusable(sqlite3.OperationalError(text))
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"x" * 5000)
    with (
        database.connection(path, 1) as file,
        pytest.raises(sqlite3.DatabaseError) as error,
    ):
        file.execute("SELECT 1 FROM calls")
    assert database.is_unusable(error.value)


def test_a_journal_that_names_another_file_deletes_nothing(tmp_path):
    """SQLite deletes the file that a hot journal names, so such a journal is not used."""
    victim, path = tmp_path / "victim", tmp_path / ".gatewayx" / "store.sqlite"
    victim.write_text("mine")
    ledger = Ledger(path)
    ledger.add(LedgerEntry(1.0, "mock", "", "ok"))
    ledger.flush()
    size, magic = (
        struct.unpack(">H", path.read_bytes()[16:18])[0],
        bytes.fromhex("d9d505f920a163d7"),
    )
    pages, name = path.stat().st_size // size, str(victim).encode()
    head = (magic + struct.pack(">IIIII", 0, 1, pages, 512, size)).ljust(512, b"\0")
    tail = struct.pack(">I", 0x40000000 // size + 1) + name
    tail += struct.pack(">II", len(name), sum(name)) + magic
    path.with_name("store.sqlite-journal").write_bytes(head + tail)

    again = Ledger(path)
    again.add(LedgerEntry(2.0, "mock", "", "ok"))
    again.flush()

    assert victim.read_text() == "mine"
    assert [entry.at for entry in again.last(9)] == [2.0]
    assert list(path.parent.glob("store.damaged-*-journal"))
