"""Inputs that would lose an answer, give a wrong one, pay twice, or wait forever."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from gatewayx_nb.batch.identity import row_key
from gatewayx_nb.batch.row_prompt import RowRequest
from gatewayx_nb.errors import BudgetError, ContentFilterError, UsageError
from gatewayx_nb.replies import Chunk, Reply
from tests.batch.conftest import CountingEngine, PricedEngine

QUIET = {"model": "counting", "progress": False}
HALF = "x\ud800"
"""A text that ends within an emoji, as one that was cut does."""


class HalfModelEngine(CountingEngine):
    """Names a model that UTF-8 cannot encode."""

    async def stream(self, request):
        text = await self.generate(request.prompt)
        yield Chunk(text=text, finish_reason="stop", model="m" + HALF)


def test_half_a_surrogate_pair_in_a_row_is_asked_and_stored(pool, engine):
    replies = pool.map([HALF, "y"], "{{input}}", concurrency=1, **QUIET)
    again = pool.map([HALF, "y"], "{{input}}", **QUIET)

    assert [isinstance(reply, Reply) for reply in replies] == [True, True]
    assert [reply.text for reply in again][1] == "Y"
    assert set(engine.asked.values()) == {1}


def test_half_a_surrogate_pair_in_an_answer_is_stored(project):
    engine = HalfModelEngine()
    with project.pool(engines=engine) as pool:
        pool.map(["a", "b"], "{{input}}", concurrency=1, **QUIET)
        pool.map(["a", "b"], "{{input}}", **QUIET)

    assert engine.asked == {"a": 1, "b": 1}


def test_half_a_surrogate_pair_in_an_error_is_stored(pool, engine):
    engine.errors["b"] = ContentFilterError("no", code="c" + HALF)

    replies = pool.map(["a", "b"], "{{input}}", **QUIET)

    assert isinstance(replies[1], ContentFilterError)


@pytest.mark.parametrize("options", [{"system": HALF}, {"params": {"x": HALF}}])
def test_half_a_surrogate_pair_in_the_options_is_no_raw_error(pool, options):
    assert len(pool.map(["a"], "{{input}}", **QUIET, **options)) == 1


def test_a_row_that_cannot_be_stored_is_not_awaited_forever(pool, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("gatewayx_nb.batch.map_run.encode_outcome", fail)
    with pytest.raises(Exception, match="cannot be stored: RuntimeError"):
        pool.map(["a", "b"], "{{input}}", **QUIET)


def test_texts_that_only_look_alike_have_different_keys():
    encoded = "l" + '["a",{"temperature":0.5},""]'
    requests = [RowRequest("x?"), RowRequest(HALF), RowRequest("a", {"temperature": 0.5})]
    requests += [RowRequest(encoded), RowRequest(encoded[1:]), RowRequest("\0" + encoded[1:])]

    assert len({row_key(request) for request in requests}) == len(requests)


def test_a_row_with_its_own_model_knows_what_the_reference_names(project):
    def ask(text):
        return {"prompt": text, "model": "fast"}

    engine = CountingEngine()
    project.settings('[aliases]\nfast = "counting:m1"\n')
    with project.pool(engines=engine) as pool:
        pool.map(["a"], ask, **QUIET)
        pool.map(["a"], ask, **QUIET)
        assert engine.asked == {"a": 1}
    project.settings('[aliases]\nfast = "counting:m2"\n')
    with project.pool(engines=engine) as pool:
        pool.map(["a"], ask, **QUIET)
    assert engine.asked == {"a": 2}


def test_a_map_does_not_wait_for_itself(pool):
    running = pool.imap(["a", "b"], "{{input}}", **QUIET)
    next(running)

    with pytest.raises(UsageError, match="would wait for itself"):
        pool.map(["a", "b"], "{{input}}", **QUIET)
    running.close()
    assert pool.map(["a", "b"], "{{input}}", **QUIET)[1].text == "B"


def test_maps_that_were_created_early_share_the_cost_limit(project):
    engine = PricedEngine()
    with project.pool(engines=engine) as pool:
        texts = [[f"{part}{number:02}" for number in range(5)] for part in range(5)]
        arguments = {"max_tokens": 10, "max_cost": 0.2, **QUIET}
        created = [pool.imap(part, "{{input}}", **arguments) for part in texts]
        outcomes = []
        for iterator in created:
            try:
                outcomes += [outcome for _, outcome in iterator]
            except BudgetError:  # all rows of this one were stopped
                continue
        (status,) = pool.map_jobs()

    cost = sum(outcome.cost for outcome in outcomes if isinstance(outcome, Reply))
    assert cost == status.cost
    assert float(cost) <= 0.2


def test_the_cost_of_a_row_is_stored_together_with_it(project):
    """Otherwise, a killed run would not count towards the limit of the next one."""
    engine = PricedEngine()
    with project.pool(engines=engine) as pool:
        running = pool.imap([f"{n:02}" for n in range(30)], "{{input}}", concurrency=1, **QUIET)
        for _ in range(10):
            next(running)
        path = project.root / ".gatewayx" / "results.sqlite"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
            opened.execute("BEGIN")  # both queries see one state, although the map goes on
            (rows,) = opened.execute("SELECT count(*) FROM rows").fetchone()
            (figures,) = opened.execute("SELECT figures FROM jobs").fetchone()
        running.close()

    assert rows >= 10
    assert f'"cost": "{rows * 0.008:.3f}"' in figures


def test_keys_are_not_stored(project, engine):
    key = "sk-1234567890abcdefghij"
    project.set_keys(f"GATEWAYX_GROK_API_KEY={key}\n")
    captured = {"key": key}
    with project.pool(engines=engine) as pool:
        pool.map(
            [f"my key is {key}"],
            lambda text: text + str(len(captured)),
            system=f"Use {key}.",
            name=f"job {key}",
            **QUIET,
        )
        assert key not in repr(pool.map_jobs())
        assert key not in pool.job("job").prompt
    for path in (project.root / ".gatewayx").iterdir():
        if path.is_file():
            assert key.encode() not in path.read_bytes()
