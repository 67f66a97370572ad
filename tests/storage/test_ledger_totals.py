"""Totals of the calls in a ledger."""

import contextlib
import random
import sqlite3
import time
from collections import defaultdict
from decimal import Decimal

import pytest

from gatewayx_nb.storage import Ledger, LedgerEntry, UsageTotals, start_of_day
from gatewayx_nb.storage.ledger import MIGRATIONS

NOON = 43_200.0


@pytest.fixture
def time_zone(monkeypatch):
    """Return a function that sets the local time zone."""

    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.delenv("TZ", raising=False)
    time.tzset()


def _ledger(tmp_path, *entries):
    ledger = Ledger(tmp_path / "store.sqlite")
    for entry in entries:
        ledger.add(entry)
    return ledger


def _entry(at=NOON, engine="grok", model="m", outcome="ok", **values):
    return LedgerEntry(at, engine, model, outcome, **values)


def test_without_a_file_there_are_no_totals(tmp_path):
    assert _ledger(tmp_path).totals("day") == []


def test_all_fields_are_summed(tmp_path):
    """Each row of a map counts as a call; an interrupted call counts as neither failed nor free."""
    ledger = _ledger(
        tmp_path,
        _entry(input_tokens=5, output_tokens=2, cached_tokens=4, cost=Decimal("0.1")),
        _entry(input_tokens=7, cost=Decimal("0.2"), rows=40, job="labels"),
        _entry(outcome="RateLimitError", rows=3, job="labels"),
        _entry(input_tokens=1, model="n"),
        _entry(outcome="interrupted", time_to_first=0.1, model="n"),
        _entry(outcome="interrupted", model="n"),
    )

    assert ledger.totals("model") == [
        UsageTotals("model", "grok:m", 44, 3, 12, 4, 2, Decimal("0.3"), 0),
        UsageTotals("model", "grok:n", 3, 0, 1, 0, 0, Decimal(0), 2),
    ]
    assert [(row.key, row.calls) for row in ledger.totals("job")] == [("labels", 43), ("", 4)]
    assert [(row.key, row.calls) for row in ledger.totals("engine")] == [("grok", 47)]


@pytest.mark.parametrize("by", ["day", "engine", "model", "job"])
def test_the_totals_equal_the_sums_of_the_entries(tmp_path, by):
    """The totals equal the sums of the entries added one by one."""
    rng = random.Random(17)
    entries = [
        _entry(
            at=float(rng.randrange(10**9)) * 1.7,
            engine=rng.choice("abc"),
            model=rng.choice(["", "m", "n:o"]),
            outcome=rng.choice(["ok", "ok", "TransportError", "interrupted"]),
            input_tokens=rng.choice([None, rng.randrange(10**6)]),
            output_tokens=rng.choice([None, rng.randrange(10**6)]),
            cost=rng.choice([None, Decimal(rng.randrange(10**6)) / 10**6]),
            time_to_first=rng.choice([None, 0.5]),
            rows=rng.randrange(1, 9),
            job=rng.choice([None, "x", "y"]),
        )
        for _ in range(500)
    ]
    keys = {
        "day": lambda entry: time.strftime("%Y-%m-%d", time.localtime(entry.at)),
        "engine": lambda entry: entry.engine,
        "model": lambda entry: f"{entry.engine}:{entry.model}".rstrip(":"),
        "job": lambda entry: entry.job or "",
    }
    sums = defaultdict(lambda: [0, 0, 0, Decimal(0), 0])
    for entry in entries:
        row = sums[keys[by](entry)]
        row[0] += entry.rows
        row[1] += entry.rows * (entry.outcome not in ("ok", "interrupted"))
        row[2] += entry.input_tokens or 0
        row[3] += entry.cost or 0
        row[4] += entry.rows * entry.is_unpriced

    totals = _ledger(tmp_path, *entries).totals(by)

    assert {
        row.key: [row.calls, row.failed, row.input_tokens, row.cost, row.unpriced] for row in totals
    } == sums
    order = [row.key for row in totals] if by == "day" else [row.cost for row in totals]
    assert order == sorted(order, reverse=True)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has no `tzset`")
@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Asia/Kathmandu", "Pacific/Chatham"])
def test_days_follow_local_time(tmp_path, time_zone, zone):
    """A day begins at local midnight, even where that is not on the hour in UTC."""
    time_zone(zone)
    midnight = time.mktime((2026, 3, 9, 0, 0, 0, 0, 0, -1))
    ledger = _ledger(tmp_path, _entry(midnight - 0.5), _entry(midnight), _entry(midnight + 86_399))

    assert [(row.key, row.calls) for row in ledger.totals("day")] == [
        ("2026-03-09", 2),
        ("2026-03-08", 1),
    ]
    assert [row.calls for row in ledger.totals("engine", midnight)] == [2]


def test_a_day_begins_at_midnight():
    """Yesterday began before today, even on the first day of a month."""
    today = start_of_day()
    assert time.localtime(today)[3:6] == (0, 0, 0)
    assert time.localtime(today)[:3] == time.localtime()[:3]
    days = [time.localtime(start_of_day(count))[:3] for count in range(70)]
    assert len(set(days)) == len(days)
    assert start_of_day(-1) > time.time() >= today


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS) + 1))
def test_a_file_from_an_earlier_version_is_read(tmp_path, version):
    """A column that an earlier version did not have counts as empty; nothing is written."""
    path = tmp_path / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in sum(MIGRATIONS[:version], ()):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute(
            "INSERT INTO calls (at, engine, model, outcome) VALUES (9, 'a', 'b', 'ok')"
        )
    before = path.read_bytes()

    for by, key in (("model", "a:b"), ("job", ""), ("engine", "a")):
        assert [(row.key, row.calls) for row in Ledger(path).totals(by)] == [(key, 1)]
    assert path.read_bytes() == before


_VALUES = [
    *(b"\xff\0", "\ud800x".encode(errors="surrogatepass"), "", "NaN", "1abc", -1, -0.5, None),
    *(2**63 - 1, 1e308, float("inf"), -float("inf"), -(2**63)),
]


@pytest.mark.parametrize("value", _VALUES, ids=repr)
@pytest.mark.parametrize("by", ["day", "engine", "model", "job"])
def test_a_file_may_contain_any_values(tmp_path, by, value):
    """Whatever a cloned project's ledger contains, the totals are valid numbers and strings."""
    ledger = _ledger(tmp_path, _entry())
    ledger.flush()
    names = "at engine model outcome input_tokens output_tokens cost cached_tokens rows job"
    with contextlib.closing(sqlite3.connect(ledger.path)) as connection, connection:
        for name in names.split():
            for _ in range(2):
                connection.execute(f"INSERT INTO calls ({name}) VALUES (?)", (value,))
            connection.execute("UPDATE calls SET at = 5 WHERE at IS NULL AND ? % 2", (len(name),))

    for row in ledger.totals(by):
        assert isinstance(row.key, str)
        row.key.encode()
        numbers = (row.calls, row.failed, row.input_tokens, row.output_tokens, row.unpriced)
        assert all(type(number) is int and number >= 0 for number in numbers)
        assert row.cost.is_finite()
        assert row.cost >= 0


def test_another_programs_file_is_not_read(tmp_path):
    """The schema is checked before the sums are computed, because a view may run forever."""
    path = tmp_path / "store.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE VIEW calls AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
            " SELECT i AS at, i AS engine FROM n"
        )
    with pytest.raises(OSError, match="another program wrote it"):
        Ledger(path).totals("day")
    path.unlink()
    path.symlink_to("elsewhere")
    path.with_name("elsewhere").write_bytes(b"")
    with pytest.raises(OSError, match="is a symlink"):
        Ledger(path).totals("day")
