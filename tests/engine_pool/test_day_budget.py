"""Daily cost limits, which hold across kernels, restarts and projects."""

import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from gatewayx_nb.errors import BudgetError, ConfigError
from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.storage import DailyCosts, daily_costs, local_day
from gatewayx_nb.testing import ScriptedEngine
from tests.conftest import Project

END = Chunk(finish_reason="stop", usage=Usage(input_tokens=2, output_tokens=3))
CALL_COST = Decimal("0.005")  # five tokens at the price of the scripted engine
LIMIT = "[limits]\nmax_cost_per_day = {}\n"


class Unpriced(ScriptedEngine):
    """Engine whose price is unknown."""

    def get_cost_per_token(self):
        """Return None."""
        return


@pytest.fixture
def make_pool(project):
    """Yield a function that returns a pool of one engine, with a limit for the day."""
    pools = []

    def make(engine=None, limit=None, at=project):
        at.settings("" if limit is None else LIMIT.format(limit))
        pools.append(at.pool(engines=[engine or ScriptedEngine(["a", END])]))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


@pytest.fixture
def user_settings(clean_environment, monkeypatch):
    """Return a function that writes the user's settings, for pools with an empty environment."""
    path = clean_environment / ".config" / "gatewayx" / "config" / "gatewayx.toml"

    def write(text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    monkeypatch.delenv("XDG_CONFIG_HOME")
    return write


def _costs_of(root):
    with closing(sqlite3.connect(root / ".gatewayx" / "costs.sqlite")) as file:
        return file.execute("SELECT day, cost FROM days").fetchall()


def _ask(pool, **options):
    return pool.ask("x" * 8, model="scripted", max_tokens=1, **options)


def test_a_call_that_could_exceed_the_daily_limit_is_refused(make_pool, project):
    """The error has the sum, the limit, the time of the reset and the file to change."""
    engine = ScriptedEngine(["a", END])
    pool = make_pool(engine, "0.03")
    _ask(pool)
    _ask(pool)

    with pytest.raises(BudgetError) as caught:
        _ask(pool)

    assert re.search(
        r"today the project's calls, .* have used \$0.01 of \$0.03, .* may cost \$0.024 or more;",
        caught.value.message,
    )
    tomorrow = local_day(time.time() + 86_400)
    assert f"begins at {tomorrow} 00:00, local time" in str(caught.value.hint)
    assert str(caught.value.hint).endswith("config/gatewayx.toml.")
    assert len(engine.requests) == 2
    pool.close()
    assert _costs_of(project.root) == [(local_day(time.time()), "0.010")]


def test_a_restart_does_not_reset_the_sum(make_pool, project):
    """A process that has ended without closing its pool leaves its costs behind."""
    code = (
        "import sys; from pathlib import Path\n"
        "from gatewayx_nb.engine_pool import EnginePool\n"
        "from gatewayx_nb.llm_engines import Chunk, Usage\n"
        "from gatewayx_nb.testing import ScriptedEngine\n"
        "END = Chunk(finish_reason='stop', usage=Usage(2, 3))\n"
        "pool = EnginePool(Path(sys.argv[1]), {}, [ScriptedEngine(['a', END])])\n"
        "for _ in range(2): pool.ask('x' * 8, model='scripted', max_tokens=1)"
    )
    project.settings(LIMIT.format("0.03"))
    root = str(project.root)
    subprocess.run([sys.executable, "-c", code, root], check=True, timeout=60)

    with pytest.raises(BudgetError, match=r"used \$0.01 of \$0.03"):
        _ask(make_pool(limit="0.03"))


def test_costs_of_another_process_count_within_a_second(make_pool, monkeypatch):
    """A pool that has read the sum reads it again when it is older than a second."""
    pool = make_pool(limit="0.1")
    _ask(pool)
    costs = pool._usage.day_budget.limits()[0].costs
    costs.flush()
    path = costs.path
    DailyCosts(path).add_cost(Decimal("0.09"))  # as another process would
    monkeypatch.setattr(costs, "_read_at", costs._read_at - 1)
    _wait_for_sum(path, "0.095")

    with pytest.raises(BudgetError, match=r"used \$0.095 of \$0.1"):
        _ask(pool)


def _wait_for_sum(path, text):
    while True:
        with closing(sqlite3.connect(path)) as file:
            if file.execute("SELECT cost FROM days").fetchall() == [(text,)]:
                return
        time.sleep(0.01)


def test_running_calls_are_reserved(make_pool):
    """The maximum costs of running calls count, even those of another pool in the process."""
    engine = ScriptedEngine(["a", 30, END])
    first = make_pool(engine, "0.045")
    with first.stream("x" * 8, model="scripted", max_tokens=1) as stream:
        next(stream)
        with pytest.raises(BudgetError, match=r"used \$0.025 of \$0.045"):
            _ask(make_pool(limit="0.045"))
        with pytest.raises(BudgetError, match=r"used \$0.025 of \$0.045"):
            _ask(first)
    assert engine.ended.wait(5)
    _ask(make_pool(limit="0.045"))


class Racing(ScriptedEngine):
    """Engine whose price is looked up while another call reserves what is left."""

    def get_cost_per_token(self):
        """Reserve the rest when the call has been found to be within the limit."""
        self.lookups = getattr(self, "lookups", 0) + 1
        if self.lookups == 4:  # after the price of the call, the prompt and an endless answer
            self.reservation = self.costs.reserve(Decimal("0.04"))
            self.reservation.__enter__()
        return super().get_cost_per_token()


def test_calls_to_two_engines_do_not_reserve_the_same_rest(make_pool):
    """What another engine's call has reserved between the check and the reservation counts."""
    engine = Racing(["a", END])
    engine.name = "scripted"
    pool = make_pool(engine, "0.05")
    engine.costs = pool._usage.day_budget.limits()[0].costs

    with pytest.raises(BudgetError, match=r"used \$0.04 of \$0.05, and this one may cost \$0.025"):
        _ask(pool)
    assert engine.requests == []
    engine.reservation.__exit__(None, None, None)
    assert engine.costs.spent == 0
    assert _ask(pool).text == "a"


def test_the_last_costs_are_written_when_the_interpreter_ends(tmp_path):
    """A process that ends while the file is locked waits for it."""
    path = tmp_path / "costs.sqlite"
    code = (
        "import sys; from pathlib import Path; from decimal import Decimal\n"
        "from gatewayx_nb.storage import daily_costs\n"
        "costs = daily_costs(Path(sys.argv[1])); costs.refresh(); print('ready', flush=True)\n"
        "input(); costs.add_cost(Decimal(3)); print('added', flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with closing(sqlite3.connect(path, isolation_level=None)) as file:
            file.execute("BEGIN EXCLUSIVE")
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "added\n"
            time.sleep(0.3)
            file.execute("COMMIT")
        assert process.wait(60) == 0
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT cost FROM days").fetchall() == [("3",)]


def test_another_day_begins_at_zero(make_pool, monkeypatch):
    """At local midnight, the sum begins at 0; the sums of earlier days are kept."""
    pool = make_pool(limit="0.03")
    _ask(pool)
    _ask(pool)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86_400)
    _ask(pool)
    pool.close()

    days = [local_day(now), local_day(now + 86_400)]
    assert _costs_of(pool.config.project.root) == [(days[0], "0.010"), (days[1], "0.005")]


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        ("0.03", "9", r"all your projects' calls, .*\$0.01 of \$0.03"),
        ("9", "0.03", r"the project's calls, .*\$0.01 of \$0.03"),
    ],
)
def test_the_lower_of_two_limits_counts(make_pool, user_settings, mine, theirs, message):
    user_settings(LIMIT.format(mine))
    pool = make_pool(limit=theirs)
    _ask(pool)
    _ask(pool)

    with pytest.raises(BudgetError, match=message):
        _ask(pool)


def test_a_users_limit_counts_the_calls_of_all_projects(make_pool, user_settings, tmp_path):
    """A limit in the user's settings covers all projects; a project's covers only its own calls."""
    other = Project(tmp_path / "other")
    user_settings(LIMIT.format("0.03"))
    _ask(make_pool())
    _ask(make_pool(at=other))
    assert not (other.root / ".gatewayx" / "costs.sqlite").exists()
    with pytest.raises(BudgetError, match=r"all your projects' calls.*\$0.01 of \$0.03"):
        _ask(make_pool())
    assert (Path(os.environ["XDG_DATA_HOME"]) / "gatewayx" / "costs.sqlite").exists()

    user_settings("")
    _ask(make_pool(limit="0.03"))
    _ask(make_pool(at=other, limit="0.03"))
    _ask(make_pool(limit="0.03"))


def test_unpriced_calls_need_permission(make_pool):
    """Under the limit, a call without a known price is refused unless it is allowed."""
    pool = make_pool(Unpriced(["a", END]), "5")
    with pytest.raises(BudgetError, match=r"price of unpriced:.* is unknown"):
        pool.ask("x", model="unpriced")
    assert pool.ask("x", model="unpriced", allow_unpriced=True).text == "a"


def test_replayed_calls_cost_nothing(make_pool, project, tmp_path):
    """A replayed call is neither refused nor counted."""
    pool = make_pool(limit="0.03")
    with pool.cassette(tmp_path / "calls.jsonl", "record"):
        _ask(pool)
    with pool.cassette(tmp_path / "calls.jsonl", "replay"):
        for _ in range(9):
            assert _ask(pool).replayed
    pool.close()
    assert _costs_of(project.root) == [(local_day(time.time()), "0.005")]


def test_a_map_stops_at_the_limit(make_pool):
    """Rows beyond the limit are not sent; a second run on the next day asks only for them."""
    engine = ScriptedEngine(["a", END])
    pool = make_pool(engine, "0.04")
    rows = [f"{number:08}" for number in range(9)]

    replies = pool.map(
        rows, "{{input}}", "scripted", progress=False, max_tokens=1, max_cost=5, output="replies"
    )

    errors = {type(row).__name__ for row in replies if not hasattr(row, "text")}
    assert errors == {"BudgetError"}
    assert len(engine.requests) * CALL_COST <= Decimal("0.04")
    assert 1 <= len(engine.requests) < 9
    error = next(row for row in replies if isinstance(row, BudgetError))
    assert "today the project's calls" in error.message


def test_the_preview_of_a_call_names_the_limit(make_pool):
    with pytest.raises(BudgetError, match="today the project's calls"):
        make_pool(limit="0.01").preview("x" * 8, model="scripted", max_tokens=1)


def _write_garbage(path):
    path.write_bytes(b"not of SQLite's " * 99)


def _make_folder(path):
    path.mkdir()


def _make_link(path):
    path.symlink_to("elsewhere")


def _write(*statements):
    def write(path):
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("CREATE TABLE days (day, cost)")
            for statement in statements:
                file.execute(statement)
            file.execute("PRAGMA user_version = 1")

    return write


_TODAY = "strftime('%Y-%m-%d', 'now', 'localtime')"


UNUSABLE_FILES = {
    "other bytes": _write_garbage,
    "folder": _make_folder,
    "link": _make_link,
    "trigger": _write("CREATE TRIGGER t AFTER INSERT ON days BEGIN DELETE FROM days; END"),
    "two sums": _write(*[f"INSERT INTO days VALUES ({_TODAY}, '0')"] * 2),
    **{
        value: _write(f"INSERT INTO days VALUES ({_TODAY}, {value})")
        for value in ("-5", "'-5'", "'NaN'", "'x'", "x'00'", "NULL", "'1e99'", "'-Infinity'")
    },
}


@pytest.mark.parametrize("make_file", UNUSABLE_FILES.values(), ids=UNUSABLE_FILES)
def test_without_a_usable_sum_no_call_is_sent(make_pool, project, make_file):
    """If the day's costs cannot be read or written, the call is refused, not allowed."""
    engine = ScriptedEngine(["a", END])
    folder = project.root / ".gatewayx"
    folder.mkdir()
    make_file(folder / "costs.sqlite")

    for _ in range(2):
        with pytest.raises(ConfigError, match=r"max_cost_per_day needs .*costs.sqlite' cannot be"):
            _ask(make_pool(engine, "5"))
    assert engine.requests == []
    assert _ask(make_pool(engine)).text == "a"  # without a limit, the file is not used


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_sum_that_cannot_be_written_stops_the_next_call(make_pool, project, monkeypatch):
    """A cost that is not written yet counts, and the next call is refused until it is."""
    engine = ScriptedEngine(["a", END])
    pool = make_pool(engine, "5")
    _ask(pool)
    costs = pool._usage.day_budget.limits()[0].costs
    costs.flush()
    path = costs.path
    path.rename(path.with_name("kept"))
    path.mkdir()
    costs.add_cost(Decimal(1))
    costs.flush()
    assert costs.spent == Decimal("1.005")

    with pytest.raises(ConfigError, match=r"max_cost_per_day needs .*cannot be written"):
        _ask(pool)
    path.rmdir()
    path.with_name("kept").rename(path)
    _ask(pool)
    pool.close()
    assert _costs_of(project.root) == [(local_day(time.time()), "1.010")]
    assert len(engine.requests) == 2


def test_processes_add_to_one_sum(tmp_path):
    """Concurrent processes and threads lose no cost."""
    path = tmp_path / "costs.sqlite"
    code = (
        "import sys; from pathlib import Path; from decimal import Decimal\n"
        "from gatewayx_nb.storage import daily_costs\n"
        "costs = daily_costs(Path(sys.argv[1])); costs.refresh()\n"
        "for _ in range(50): costs.add_cost(Decimal('0.001')); costs.flush()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0] * 3
    costs = daily_costs(path)
    costs.refresh()
    assert costs.spent == Decimal("0.150")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_on_its_own(tmp_path):
    """A forked child inherits neither reservations nor costs that the parent is writing."""
    costs = daily_costs(tmp_path / "costs.sqlite")
    costs.refresh()
    with costs.reserve(Decimal(1)):
        child = os.fork()
        if not child:
            ok = costs.spent == 0
            costs.add_cost(Decimal(2))
            costs.flush()
            os._exit(0 if ok and costs.spent == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    costs.add_cost(Decimal(3))
    costs.flush()
    assert costs.spent == 5


def test_the_sum_of_a_new_day_is_read_before_it_counts(tmp_path, monkeypatch):
    """If midnight passes after a refresh, the sum is unknown rather than 0."""
    costs = DailyCosts(tmp_path / "costs.sqlite")
    costs.refresh()
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    other = DailyCosts(costs.path)
    other.refresh()
    other.add_cost(Decimal(7))
    other.flush()

    assert costs.spent == 7


def test_without_a_limit_no_file_is_written(make_pool, project):
    pool = make_pool()
    _ask(pool)
    pool.close()
    assert not (project.root / ".gatewayx" / "costs.sqlite").exists()
