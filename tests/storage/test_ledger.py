"""The ledger: entries, concurrent writers and failures."""

import os
import sqlite3
import subprocess
import sys
import threading
from decimal import Decimal

import pytest

from gatewayx_nb.storage.ledger import MIGRATIONS, Ledger, LedgerEntry

ENTRY = LedgerEntry(1.5, "grok", "m", "ok", 3, None, Decimal("0.000123"), 1.25, 0.5, 2, "anthropic")


def test_entries_are_returned_latest_first(tmp_path):
    """Entries are returned latest first and unchanged, including unknown values and exact costs."""
    ledger = Ledger(tmp_path / "new" / "store.sqlite")
    assert ledger.last(3) == []
    entries = [
        ENTRY,
        LedgerEntry(2.0, "mock", "", "ProviderError"),
        LedgerEntry(3.0, "a", "b", "interrupted"),
    ]
    for entry in entries:
        ledger.add(entry)

    assert ledger.last(2) == entries[:0:-1]
    assert Ledger(ledger.path).last(9) == entries[::-1]


def test_the_folder_is_private_and_ignored_by_git(tmp_path):
    """The ledger's folder has mode 0700 and a .gitignore that ignores all files."""
    ledger = Ledger(tmp_path / ".gatewayx" / "store.sqlite")
    ledger.add(ENTRY)
    ledger.flush()

    assert (ledger.path.parent / ".gitignore").read_text() == "*\n"
    assert ledger.path.parent.stat().st_mode & 0o777 == 0o700


def test_threads_and_processes_write_to_one_file(tmp_path):
    """Threads and processes write each entry once, without lock errors."""
    path = tmp_path / "store.sqlite"
    code = (
        "import sys; from pathlib import Path; from gatewayx_nb.storage import *\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "[ledger.add(LedgerEntry(float(n), sys.argv[2], '', 'ok')) for n in range(50)]\n"
        "ledger.flush(60); assert not ledger.problem, ledger.problem"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, path, f"k{n}"]) for n in range(4)]
    ledger = Ledger(path)
    threads = [threading.Thread(target=lambda: ledger.add(ENTRY)) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [process.wait(60) for process in processes] == [0] * 4
    entries = ledger.last(1000)
    assert len(entries) == 4 * 50 + 50
    assert len({(entry.engine, entry.at) for entry in entries}) == 4 * 50 + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_writes_its_own_entries(tmp_path):
    """A forked child, which has no writer thread, starts one and writes its entries."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(ENTRY)
    ledger.flush()
    child = os.fork()
    if not child:
        ledger.add(LedgerEntry(9.0, "child", "", "ok"))
        ledger.flush()
        os._exit(0)
    os.waitpid(child, 0)

    assert [entry.engine for entry in ledger.last(9)] == ["child", "grok"]


def test_a_damaged_file_is_renamed_and_kept(tmp_path, caplog):
    """A damaged file is renamed, and a new file is written in its folder."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not of SQLite's " * 100)
    ledger = Ledger(path)
    ledger.add(ENTRY)

    assert ledger.last(9) == [ENTRY]
    (damaged_file,) = tmp_path.glob("store.damaged-*")
    assert damaged_file.read_bytes().startswith(b"not of SQLite's")
    assert damaged_file.name in caplog.text


def test_a_file_of_a_later_version_is_not_changed(tmp_path, caplog):
    """A file of a later version is reported once and is not changed."""
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as file:
        file.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    file.close()
    content_before = path.read_bytes()
    ledger = Ledger(path)
    for _ in range(3):
        ledger.add(ENTRY)
        ledger.flush()

    assert path.read_bytes() == content_before
    assert "later version" in ledger.problem
    assert caplog.text.count("later version") == 1


def test_a_folder_that_cannot_be_created_is_reported(tmp_path, caplog):
    """If the ledger's folder cannot be created, this is reported once, and nothing raises."""
    (tmp_path / "file").write_text("")  # an obstacle even for root
    ledger = Ledger(tmp_path / "file" / "store.sqlite")
    ledger.add(ENTRY)
    ledger.add(ENTRY)
    ledger.flush()

    assert "cannot be written" in ledger.problem
    assert caplog.text.count("cannot be written") == 1


def test_reading_a_damaged_file_raises_oserror(tmp_path):
    """Reading a damaged file raises OSError instead of SQLite's error."""
    (tmp_path / "store.sqlite").write_bytes(b"x" * 5000)

    with pytest.raises(OSError, match="not a database"):
        Ledger(tmp_path / "store.sqlite").last(1)


def test_a_lone_surrogate_is_replaced(tmp_path):
    """A lone surrogate in a model's name is replaced, and later calls are recorded."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(LedgerEntry(1.0, "vendor", "a\ud800", "ok"))
    ledger.add(ENTRY)

    assert [entry.model for entry in ledger.last(9)] == ["m", "a?"]


def test_entries_are_lost_only_while_the_file_is_locked(tmp_path, monkeypatch):
    """An entry is lost if another process locks the file; later entries are recorded."""
    monkeypatch.setattr("gatewayx_nb.storage.ledger._WRITE_TIMEOUT", 0.1)
    path = tmp_path / "store.sqlite"
    ledger = Ledger(path)
    locking_connection = sqlite3.connect(path, isolation_level=None)
    locking_connection.execute("BEGIN EXCLUSIVE")
    ledger.add(ENTRY)
    ledger.flush()
    assert "locked" in ledger.problem
    locking_connection.execute("ROLLBACK")
    locking_connection.close()
    ledger.add(ENTRY)

    assert ledger.last(9) == [ENTRY]
    assert ledger.problem == ""
