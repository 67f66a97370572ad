"""The ledger: entries, concurrent writers and failures."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from decimal import Decimal

import pytest

from gatewayx_nb.calls import Table
from gatewayx_nb.engine_pool.usage import HISTORY_COLUMNS
from gatewayx_nb.storage import database
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


_TABLE = "CREATE TABLE calls (at, engine, model, outcome, input_tokens, output_tokens, cost"
_REST = ", latency, time_to_first, attempts, fallback_from, cached_tokens"
_ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT i AS at, i AS engine FROM n ORDER BY i DESC"
)
FOREIGN_FILES = {
    "later version": f"PRAGMA user_version = {len(MIGRATIONS) + 1}",
    "negative version": "PRAGMA user_version = -1",
    "no table": "PRAGMA user_version = 2",
    "another table": "CREATE TABLE t (a); PRAGMA user_version = 2",
    "too few columns": "CREATE TABLE calls (at); PRAGMA user_version = 2",
    "endless view": f"CREATE VIEW calls AS {_ENDLESS}; PRAGMA user_version = 2",
    "trigger": (
        f"{_TABLE}{_REST}); CREATE TRIGGER t BEFORE INSERT ON calls BEGIN DELETE FROM calls; END;"
        "PRAGMA user_version = 2"
    ),
    "constraint": f"{_TABLE}{_REST}, CHECK (0)); PRAGMA user_version = 2",
    "constraint with much memory": (
        f"{_TABLE}{_REST}, CHECK (length(hex(zeroblob(499999990))))); PRAGMA user_version = 2"
    ),
    "generated column": f"{_TABLE}{_REST} AS (1)); PRAGMA user_version = 2",
    "default": f"{_TABLE}{_REST} DEFAULT (abs(-1))); PRAGMA user_version = 2",
    "index": f"{_TABLE}{_REST}); CREATE INDEX i ON calls (abs(at)); PRAGMA user_version = 2",
    "primary key": f"{_TABLE}{_REST}, PRIMARY KEY (engine)); PRAGMA user_version = 2",
    "foreign key": f"{_TABLE}{_REST} REFERENCES x (y)); PRAGMA user_version = 2",
    "one more table": f"{_TABLE}{_REST}); CREATE TABLE t (a); PRAGMA user_version = 2",
    "table of another version": f"{_TABLE}{_REST}); PRAGMA user_version = 1",
    "table of no version": f"{_TABLE}{_REST})",
    "long statement": f"{_TABLE}{_REST} /* {'x' * 200_000} */); PRAGMA user_version = 2",
    "text that is not UTF-8": (
        f"{_TABLE}{_REST}); PRAGMA user_version = 2; PRAGMA writable_schema = ON;"
        "UPDATE sqlite_master SET name = CAST(x'ff' AS TEXT)"
    ),
}


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_a_foreign_file_is_set_aside(tmp_path, caplog, name):
    """A file from a later version or another program is renamed with a warning, not changed."""
    path = tmp_path / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.executescript(FOREIGN_FILES[name])
    content_before = path.read_bytes()
    (tmp_path / "store.sqlite-journal").write_bytes(b"old journal")
    ledger = Ledger(path)
    for _ in range(3):
        ledger.add(ENTRY)
        ledger.flush()

    assert ledger.last(9) == [ENTRY] * 3
    (renamed,) = (each for each in tmp_path.glob("store.damaged-*") if "-journal" not in each.name)
    assert renamed.read_bytes() == content_before
    assert caplog.text.count("was renamed to") == 1
    assert ledger.problem == ""


@pytest.mark.parametrize("name", FOREIGN_FILES)
def test_a_foreign_file_is_not_read(tmp_path, name):
    """Reading another program's file raises OSError and leaves the file in place."""
    path = tmp_path / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.executescript(FOREIGN_FILES[name])

    with pytest.raises(OSError, match=r"another program|later version|malformed|file format"):
        Ledger(path).last(9)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("make", [os.mkdir, getattr(os, "mkfifo", None)])
@pytest.mark.parametrize("suffix", ["", "-journal", "-wal", "-shm"])
@pytest.mark.parametrize("has_ledger", [True, False])
def test_a_special_file_is_not_opened(tmp_path, caplog, make, suffix, has_ledger):
    """A pipe, whose reading never ends, or a folder in place of a journal is set aside."""
    path = tmp_path / "store.sqlite"
    if has_ledger and suffix:
        Ledger(path).add(ENTRY)
        Ledger(path).flush()
    special = path.with_name(path.name + suffix)
    make(special)
    if os.path.exists(path):
        with pytest.raises(OSError, match=f"{special.name} is not a regular file"):
            Ledger(path).last(9)
    ledger = Ledger(path)
    ledger.add(ENTRY)
    ledger.flush()

    assert ledger.last(9) == [ENTRY]
    assert ledger.problem == ""
    assert len(list(tmp_path.glob(f"store.damaged-*{suffix}"))) == 1
    assert f"{special.name} is not a regular file" in caplog.text


def test_a_file_in_a_later_sqlite_format_is_set_aside(tmp_path):
    """A file that this version of SQLite does not know is renamed."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(ENTRY)
    ledger.flush()
    content = bytearray(ledger.path.read_bytes())
    content[47] = 99  # the number of the schema's format
    ledger.path.write_bytes(content)
    ledger.add(ENTRY)

    assert ledger.last(9) == [ENTRY]
    assert list(tmp_path.glob("store.damaged-*"))


def test_text_in_another_encoding_is_read(tmp_path):
    """A value that is not UTF-8 does not prevent the others from being read."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(ENTRY)
    ledger.flush()
    with contextlib.closing(sqlite3.connect(ledger.path)) as file, file:
        file.execute("UPDATE calls SET model = CAST(x'6dff' AS TEXT)")

    assert [entry.model for entry in ledger.last(9)] == ["m\ufffd"]


def test_sql_in_a_file_is_limited(tmp_path):
    """No gigabyte-long value can be created, and no second file can be attached."""
    with database.connection(tmp_path / "store.sqlite", 1) as opened:
        for sql in ("SELECT zeroblob(999999999)", "ATTACH ':memory:' AS other"):
            with pytest.raises(sqlite3.Error, match=r"too big|too many attached"):
                opened.execute(sql)
        assert opened.execute("PRAGMA trusted_schema").fetchone() == (0,)


ODD = {
    "at": [float("nan"), float("inf"), "now", -5.0, None, 1e300],
    "engine": ["\ud800", 5, None, "\0"],
    "model": ["\ud83d", b"m", object()],
    "outcome": [None, "\udfff"],
    "input_tokens": [10**30, -1, "many", 1.5, float("nan"), 10**5000],
    "output_tokens": [10**30, object()],
    "cost": [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal(-1), "abc", 10**400],
    "latency": [float("nan"), "slow", None, -float("inf")],
    "time_to_first": [float("nan"), "x", 1e300],
    "attempts": [10**30, None, "2"],
    "fallback_from": ["\ud800", 5],
    "cached_tokens": [10**30],
}
ODD_VALUES = [
    pytest.param(field, value, id=f"{field}-{number}")
    for field, values in ODD.items()
    for number, value in enumerate(values)
]


@pytest.mark.parametrize(("field", "value"), ODD_VALUES)
def test_an_odd_value_is_cleaned_and_recorded(tmp_path, field, value):
    """A call with an odd value in a field is recorded and displayed, and other fields are kept."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(replace(ENTRY, **{field: value}))
    ledger.add(ENTRY)

    entries = ledger.last(9)
    assert [replace(entry, **{field: getattr(ENTRY, field)}) for entry in entries] == [ENTRY] * 2
    assert repr(Table(entries, HISTORY_COLUMNS)).encode()
    assert [entry.to_dict() for entry in entries]
    assert ledger.problem == ""


@pytest.mark.parametrize(("field", "value"), ODD_VALUES)
def test_an_odd_value_in_a_file_is_read(tmp_path, field, value):
    """A file in which another program has written odd values is also displayed."""
    ledger = Ledger(tmp_path / "store.sqlite")
    ledger.add(ENTRY)
    ledger.flush()
    with (
        contextlib.closing(sqlite3.connect(ledger.path)) as file,
        contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError, ValueError),
        file,
    ):
        file.execute(f"UPDATE calls SET {field} = ?", (value,))

    assert repr(Table(ledger.last(9), HISTORY_COLUMNS)).encode()
    assert [entry.to_dict() for entry in ledger.last(9)]


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

    assert [entry.model for entry in ledger.last(9)] == ["m", "a\ufffd"]


@pytest.mark.parametrize("shown", [False, True], ids=["unseen", "shown"])
def test_no_entry_is_lost_while_the_file_is_locked(tmp_path, monkeypatch, shown):
    """Entries are kept as long as another process locks the file; reading it does not wait long."""
    monkeypatch.setattr("gatewayx_nb.storage.ledger._WRITE_TIMEOUT", 0.1)
    path = tmp_path / "store.sqlite"
    ledger = Ledger(path)
    locking_connection = sqlite3.connect(path, isolation_level=None)
    locking_connection.execute("BEGIN EXCLUSIVE")
    ledger.add(ENTRY)
    ledger.flush()
    assert "locked" in ledger.problem
    assert "1 entry is not written yet" in ledger.problem
    if shown:
        with pytest.raises(OSError, match="locked"):
            ledger.last(9)
    locking_connection.execute("ROLLBACK")
    locking_connection.close()
    ledger.add(ENTRY)

    assert ledger.last(9) == [ENTRY, ENTRY]
    assert ledger.problem == ""
