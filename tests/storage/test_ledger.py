"""The ledger: entries, concurrent writers and failures."""

import os
import sqlite3
import subprocess
import sys
import threading
from decimal import Decimal

import pytest

from gatewayx_nb.storage.ledger import MIGRATIONS, Ledger, LedgerEntry

CALL = LedgerEntry(1.5, "grok", "m", "ok", 3, None, Decimal("0.000123"), 1.25, 0.5, 2, "anthropic")


def test_entries_come_back_as_they_were_the_latest_first(tmp_path):
    """Entries are returned latest first; unknown values stay unknown, and costs are exact."""
    ledger = Ledger(tmp_path / "new" / "store.sqlite")
    assert ledger.last(3) == []
    entries = [
        CALL,
        LedgerEntry(2.0, "mock", "", "ProviderError"),
        LedgerEntry(3.0, "a", "b", "interrupted"),
    ]
    for entry in entries:
        ledger.add(entry)

    assert ledger.last(2) == entries[:0:-1]
    assert Ledger(ledger.path).last(9) == entries[::-1]


def test_its_folder_is_the_user_s_and_git_ignores_it(tmp_path):
    """The folder belongs to the user and has its own .gitignore."""
    ledger = Ledger(tmp_path / ".gatewayx" / "store.sqlite")
    ledger.add(CALL)
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
    kernels = [subprocess.Popen([sys.executable, "-c", code, path, f"k{n}"]) for n in range(4)]
    ledger = Ledger(path)
    threads = [threading.Thread(target=lambda: [ledger.add(CALL)] * 1) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [kernel.wait(60) for kernel in kernels] == [0] * 4
    entries = ledger.last(1000)
    assert len(entries) == 4 * 50 + 50
    assert len({(entry.engine, entry.at) for entry in entries}) == 4 * 50 + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_writes_its_own(tmp_path):
    """A forked child has no writer thread, and starts its own."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(CALL)
    ledger.flush()
    child = os.fork()
    if not child:
        ledger.add(LedgerEntry(9.0, "child", "", "ok"))
        ledger.flush()
        os._exit(0)
    os.waitpid(child, 0)

    assert [entry.engine for entry in ledger.last(9)] == ["child", "grok"]


def test_a_damaged_file_is_set_aside_and_not_lost(tmp_path, caplog):
    """A damaged file is renamed beside the new one, not deleted."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"not of SQLite's " * 100)
    ledger = Ledger(path)
    ledger.add(CALL)

    assert ledger.last(9) == [CALL]
    (aside,) = tmp_path.glob("store.damaged-*")
    assert aside.read_bytes().startswith(b"not of SQLite's")
    assert aside.name in caplog.text


def test_a_file_of_a_later_version_is_left_alone(tmp_path, caplog):
    """A file of a later version is reported once and left alone, and calls go on."""
    path = tmp_path / "store.sqlite"
    with sqlite3.connect(path) as file:
        file.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    file.close()
    before = path.read_bytes()
    ledger = Ledger(path)
    for _ in range(3):
        ledger.add(CALL)
        ledger.flush()

    assert path.read_bytes() == before
    assert "later version" in ledger.problem
    assert caplog.text.count("later version") == 1


def test_a_folder_that_cannot_be_written_stops_the_ledger_and_nothing_else(tmp_path, caplog):
    """If the folder cannot be created, only the ledger stops.

    A file at its path stops even root.
    """
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "store.sqlite")
    ledger.add(CALL)
    ledger.add(CALL)
    ledger.flush()

    assert "cannot be written" in ledger.problem
    assert caplog.text.count("cannot be written") == 1


def test_what_cannot_be_read_is_an_error_of_the_system(tmp_path):
    """An unreadable file raises OSError instead of SQLite's error."""
    (tmp_path / "store.sqlite").write_bytes(b"x" * 5000)

    with pytest.raises(OSError, match="not a database"):
        Ledger(tmp_path / "store.sqlite").last(1)


def test_text_that_is_not_unicode_is_stored_all_the_same(tmp_path):
    """A lone surrogate in a model's name is replaced, and later calls are recorded."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(LedgerEntry(1.0, "vendor", "a\ud800", "ok"))
    ledger.add(CALL)

    assert [entry.model for entry in ledger.last(9)] == ["m", "a?"]


def test_a_lock_that_lasts_costs_only_the_calls_of_that_time(tmp_path, monkeypatch):
    """Calls made after another process has released the file are recorded."""
    monkeypatch.setattr("gatewayx_nb.storage.ledger._WRITE_TIMEOUT", 0.1)
    path = tmp_path / "store.sqlite"
    ledger = Ledger(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ledger.add(CALL)
    ledger.flush()
    assert "locked" in ledger.problem
    other.execute("ROLLBACK")
    other.close()
    ledger.add(CALL)

    assert ledger.last(9) == [CALL]
    assert ledger.problem == ""
