import sqlite3
from decimal import Decimal

import pytest

from gatewayx_nb.commands.status import status
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, ProviderError, UsageError
from gatewayx_nb.llm_engines import Chunk, LLMEngine, Usage
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop", usage=Usage(input_tokens=2, output_tokens=3))


class Unpriced(ScriptedEngine):
    """Engine whose price is unknown."""

    def get_cost_per_token(self):
        return None


def _find_row(pool, name):
    return next(row for row in pool.status() if row.name == name)


def test_the_status_has_calls_cost_and_the_last_error():
    """The status has the number of calls, their cost and the last error.

    Failed calls count as calls, and a successful call clears the error.
    """
    engine = ScriptedEngine(["a", END], ["b", ValueError("oh")], ["c", END])
    with EnginePool(env={}, engines=[engine]) as pool:
        assert (_find_row(pool, "scripted").calls, _find_row(pool, "scripted").spend) == (0, 0)
        pool.ask("x", model="scripted")
        with pytest.raises(ProviderError):
            list(pool.stream("x", model="scripted"))
        row = _find_row(pool, "scripted")
        assert (row.calls, row.spend) == (2, Decimal("0.005"))
        assert "ValueError: oh" in row.last_error
        pool.ask("x", model="scripted")

        row = _find_row(pool, "scripted")
        assert (row.calls, row.spend, row.last_error) == (3, Decimal("0.010"), "")


def test_an_unknown_price_is_not_shown_as_zero():
    """A call with an unknown price is counted and reported as unpriced, not as $0."""
    with EnginePool(env={}, engines=[Unpriced(["a", END])]) as pool:
        pool.ask("x", model="unpriced")
        row = _find_row(pool, "unpriced")
        arguments = type("Arguments", (), {"name": None})
        text = repr(
            status(
                type("Session", (), {"pool": pool, "prog": "%gatewayx", "limitations": ""}),
                arguments,
            )
        )

    assert (row.calls, row.spend, row.unpriced) == (1, 0, 1)
    assert "1 unpriced" in text
    assert "$0" not in text


def test_the_usage_of_a_closed_stream_is_counted():
    """If a stream is closed early, its call ends and the usage until then is counted."""
    with EnginePool(env={}, engines=[ScriptedEngine(["a", END, 30])]) as pool:
        with pool.stream("x", model="scripted") as stream:
            next(stream)
            while stream.partial.usage is None:
                next(stream, None)
        engine = pool._registry._instances["scripted"]
        assert engine.ended.wait(2)
        pool.ask("x", model="mock")
        row = _find_row(pool, "scripted")

    assert (row.calls, row.spend, row.last_error) == (1, Decimal("0.005"), "")


def test_closing_the_pool_writes_the_ledger(project):
    """Closing the pool writes pending entries to the ledger, so a short script loses none."""
    with project.pool() as pool:
        pool.ask("x", model="mock")
        ledger_path = pool.ledger

    with sqlite3.connect(ledger_path) as database:
        assert database.execute("SELECT engine, outcome FROM calls").fetchall() == [("mock", "ok")]
    database.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "week"}, "by must be 'day', 'engine', 'model' or 'job', got 'week'"),
        ({"by": "dya"}, "Did you mean 'day'"),
        ({"by": ["day"]}, r"got \['day'\]"),
        ({"by": ""}, "got ''"),
        ({"days": 0}, "days must be an int from 1 to 36,500, got 0"),
        ({"days": True}, "got True"),
        ({"days": 1.5}, "got 1.5"),
        ({"days": 10**9}, "got 1000000000"),
    ],
)
def test_invalid_arguments_of_usage_raise(project, arguments, message):
    with project.pool() as pool, pytest.raises(UsageError, match=message):
        pool.usage(**arguments)


def test_a_map_is_in_the_totals_of_its_job(project):
    """A map's rows count as calls of its job, even in another pool of the project."""
    with project.pool(engines=[ScriptedEngine(["a", END])]) as pool:
        pool.map(["x", "y"], "{{input}}", "scripted", name="labels", progress=False)
        pool.ask("z", model="scripted")
    with project.pool() as later:
        assert list(later.usage()) == []
        rows = {row.key: (row.calls, row.cost) for row in later.usage("job")}

    assert rows == {"labels": (2, Decimal("0.01")), "": (1, Decimal("0.005"))}


def test_an_unreadable_ledger_is_named(project):
    with project.pool() as pool:
        pool.ledger.parent.mkdir(exist_ok=True)
        pool.ledger.write_bytes(b"not of SQLite's " * 99)
        with pytest.raises(ConfigError, match=r"the ledger '.*' cannot be read"):
            pool.usage("day")


@pytest.mark.parametrize("name", [None, 5, type("Odd", (str,), {"__lt__": None})("odd")], ids=repr)
def test_a_changed_model_name_does_not_break_the_tables(name):
    """An engine may set its `model_name` to another type during a call."""

    class Renamed(ScriptedEngine):
        async def stream(self, request):
            self.model_name = name
            yield Chunk(text="x", finish_reason="stop")

    with EnginePool(env={}, engines=[Renamed([])]) as pool:
        for _ in range(2):
            pool.ask("x", model="renamed")

        models = [
            *(row.model for row in (*pool.usage(), *pool.history())),
            _find_row(pool, "renamed").model,
            *(listed.model for listed in pool.models() if listed.engine == "renamed"),
        ]
    assert {type(model) for model in models} == {str}


def test_a_huge_model_name_is_truncated(project):
    """Each row of a table is as wide as its longest cell, and the ledger refuses huge texts."""
    engine = LongNameEngine()
    with project.pool(engines=[engine]) as pool:
        reply = pool.ask("hi", model="long")
        (row,) = pool.usage()

    assert len(reply.model) == len(row.model) == len(reply.request_id) == 256
    assert row.model.endswith("…")
    assert len(repr(reply)) < 1_000


class LongNameEngine(LLMEngine):
    """An engine whose provider reports a model name and an ID of a megabyte."""

    name = "long"
    requires_key = False

    async def stream(self, request):
        yield Chunk(text="hi", model="m" * 2**20, request_id="r" * 2**20, finish_reason="stop")
