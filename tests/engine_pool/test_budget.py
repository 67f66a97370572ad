"""Cost limits per call and per session, and the ledger."""

import asyncio
from decimal import Decimal

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import BudgetError, ConfigError, ProviderError, UsageError
from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop", usage=Usage(input_tokens=2, output_tokens=3))
EACH = Decimal("0.005")  # five tokens at the price of the scripted engine


class Unpriced(ScriptedEngine):
    """Engine whose price is unknown."""

    def get_cost_per_token(self):
        """Return None."""
        return


@pytest.fixture
def pool_of(project):
    """Yield a function that builds a pool in a project with a session budget."""
    pools = []

    def build(engine, most=None):
        project.settings(f"[limits]\nmax_cost = {most}" if most else "")
        pools.append(project.pool(engines=[engine]))
        return pools[-1]

    yield build
    for pool in pools:
        pool.close()


def test_a_call_above_its_cost_limit_is_not_sent(pool_of):
    """A call whose estimated cost exceeds `max_cost` is not sent.

    The estimate is four characters per token for the prompt, and `max_tokens`, or 1,024, for the
    answer.
    """
    engine = ScriptedEngine(["a", END])
    pool = pool_of(engine)

    with pytest.raises(BudgetError, match=r"may cost \$1\.026, more than \$1;.*max_tokens"):
        pool.ask("x" * 8, model="scripted", max_cost=1)
    assert engine.requests == []
    assert pool.ask("x" * 8, model="scripted", max_tokens=10, max_cost=0.012).cost == EACH


def test_the_session_stops_when_its_budget_is_spent(pool_of):
    """Once the session's budget is spent, every kind of call raises an error with both amounts."""
    engine = ScriptedEngine(["a", END])
    pool = pool_of(engine, most="0.015")
    ask = {"model": "scripted", "max_tokens": 5}
    for _ in range(2):
        pool.ask("hi", **ask)

    message = r"has cost \$0\.01 of \$0\.015, and the call may cost \$0\.006;.*\[limits\] max_cost"
    with pytest.raises(BudgetError, match=message):
        pool.ask("hi", **ask)
    with pytest.raises(BudgetError):
        list(pool.stream("hi", **ask))
    with pytest.raises(BudgetError):
        asyncio.run(pool.aask("hi", **ask))
    assert len(engine.requests) == 2


def test_concurrent_calls_do_not_overspend_together(pool_of):
    """The estimated cost of running calls counts towards the budget."""
    engine = ScriptedEngine([0.2, "a", END])
    pool = pool_of(engine, most="0.02")

    async def burst():
        calls = [pool.aask("hi", model="scripted", max_tokens=5) for _ in range(10)]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = asyncio.run(burst())

    assert sum(isinstance(outcome, BudgetError) for outcome in outcomes) == 7
    assert pool.usage()[0].cost == 3 * EACH


def test_an_unknown_price_stops_a_call_under_a_budget(pool_of):
    """Under a budget an unknown price raises an error, unless allowed."""
    engine = Unpriced(["a", END])
    pool = pool_of(engine, most="1")

    with pytest.raises(BudgetError, match=r"unpriced:script is unknown.*`allow_unpriced=True`"):
        pool.ask("hi", model="unpriced")
    assert pool.ask("hi", model="unpriced", allow_unpriced=True).cost is None
    assert pool_of(engine).ask("hi", model="unpriced").text == "a"


@pytest.mark.parametrize("value", ["1", -1, float("nan"), True, Decimal("nan")])
def test_an_invalid_max_cost_raises_an_error(pool_of, value):
    """An invalid value raises an error before anything is sent."""
    with pytest.raises(UsageError, match="max_cost"):
        pool_of(ScriptedEngine(["a", END])).ask("hi", model="scripted", max_cost=value)


def test_usage_sums_by_engine_and_model(pool_of):
    """`usage` sums by engine and model, counts failed calls and lists unknown prices separately."""
    engine = ScriptedEngine(["a", END], [ProviderError("no")], ["a", END])
    pool = pool_of(engine)
    pool.ask("hi", model="scripted")
    with pytest.raises(ProviderError):
        pool.ask("hi", model="scripted")
    pool.ask("hi", model="scripted:other")
    pool.ask("hi", model="mock")

    sums = {(one.engine, one.model): one for one in pool.usage()}
    first = sums["scripted", "script"]
    assert (first.calls, first.failed, first.cost, first.unpriced) == (2, 1, EACH, 0)
    assert (first.input_tokens, first.output_tokens) == (2, 3)
    assert sums["scripted", "other"].calls == sums["mock", "mock"].calls == 1


def test_the_ledger_has_the_calls_of_all_pools_of_a_project(pool_of, project):
    """The ledger records the calls of all pools of a project, without prompts, replies or keys."""
    engine = ScriptedEngine(["an-answer", END], [ProviderError("the-fault")])
    first, second = pool_of(engine), pool_of(ScriptedEngine(["b", END]))
    first.ask("a-prompt", model="scripted", system="a-system")
    with pytest.raises(ProviderError):
        first.ask("a-prompt", model="scripted")
    first.history()
    second.ask("hi", model="mock")

    assert [(entry.engine, entry.outcome) for entry in second.history()] == [
        ("mock", "ok"), ("scripted", "ProviderError"), ("scripted", "ok"),
    ]  # fmt: skip
    assert len(second.history(1)) == 1
    written = (project.root / ".gatewayx" / "store.sqlite").read_bytes()
    for word in (b"a-prompt", b"an-answer", b"a-system", b"the-fault"):
        assert word not in written
    assert (project.root / ".gatewayx" / ".gitignore").read_text() == "*\n"


def test_an_interrupted_call_is_in_the_ledger(pool_of):
    """An interrupted call is in the ledger with its usage so far."""
    engine = ScriptedEngine(["a", END, 30.0])
    pool = pool_of(engine)
    with pool.stream("hi", model="scripted") as stream:
        next(stream)
    assert engine.ended.wait(5)
    pool.ask("hi", model="mock")

    assert [entry.outcome for entry in pool.history()] == ["ok", "interrupted"]


def test_an_unreadable_ledger_does_not_block_calls(pool_of, project, caplog):
    """An unreadable ledger does not block calls.

    It is reported as a problem of the pool, with the command that fixes it.
    """
    (project.root / ".gatewayx").write_text("a file in the folder's place")
    pool = pool_of(ScriptedEngine(["a", END]))

    assert pool.ask("hi", model="scripted").text == "a"
    assert pool.history() == []
    assert "cannot be written" in caplog.text
    assert any("cannot be written" in problem for problem in pool.problems)


def test_a_damaged_ledger_names_the_command(pool_of, project):
    """`history` raises an error for a damaged ledger, with the command that moves it away.

    A call would move it away by itself.
    """
    (project.root / ".gatewayx").mkdir()
    (project.root / ".gatewayx" / "store.sqlite").write_bytes(b"x" * 5000)

    with pytest.raises(ConfigError, match=r"store\.sqlite\.off"):
        pool_of(ScriptedEngine(["a", END])).history()


def test_without_a_project_the_ledger_is_in_the_user_folder(tmp_path):
    """Without a project the ledger is in the user data folder."""
    with EnginePool(env={"XDG_DATA_HOME": str(tmp_path)}) as pool:
        pool.ask("hi", model="mock")
        assert len(pool.history()) == 1

    assert (tmp_path / "gatewayx" / "store.sqlite").is_file()
