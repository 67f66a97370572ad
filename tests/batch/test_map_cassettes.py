"""A map with an open cassette: recorded, replayed, and filled from earlier results."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from gatewayx_nb.errors import CassetteMissError, ContentFilterError
from tests.batch.conftest import CountingEngine

QUIET = {"model": "counting", "progress": False}
ROWS = pd.DataFrame({"text": ["a", "b", "a"]})


@pytest.fixture
def path(project):
    return project.root / "rows.jsonl"


def recorded_texts(path):
    return sorted(json.loads(line).get("text", "") for line in path.read_text().splitlines())


def test_a_recorded_map_replays_without_the_engine_and_without_the_store(
    project, pool, engine, path
):
    with pool.cassette(path):
        recorded = pool.map(ROWS, "{{text}}", **QUIET)
    asked = dict(engine.asked)
    (project.root / ".gatewayx" / "results.sqlite").unlink()

    with project.pool() as other, other.cassette(path, "replay"):
        replayed = other.map(ROWS, "{{text}}", **QUIET)

    assert asked == {"a": 1, "b": 1}
    assert replayed.answer.tolist() == recorded.answer.tolist() == ["A", "B", "A"]
    assert not (project.root / ".gatewayx" / "results.sqlite").exists()


def test_rows_from_an_earlier_run_are_recorded_without_a_call(project, pool, engine, path):
    pool.map(ROWS, "{{text}}", **QUIET)
    with pool.cassette(path):
        pool.map(ROWS, "{{text}}", **QUIET)

    assert engine.asked == {"a": 1, "b": 1}
    with project.pool() as other, other.cassette(path, "replay"):
        assert other.map(ROWS, "{{text}}", **QUIET).answer.tolist() == ["A", "B", "A"]


def test_a_cassette_takes_precedence_over_the_store(pool, engine, path):
    engine.answers["a"] = "recorded"
    with pool.cassette(path):
        pool.ask("a", "counting")
    engine.answers["a"] = "stored"
    pool.map(["a"], "{{input}}", **QUIET)

    with pool.cassette(path):
        assert pool.map(["a"], "{{input}}", **QUIET)[0].text == "recorded"
    assert pool.map(["a"], "{{input}}", **QUIET)[0].text == "stored"


def test_a_row_that_is_not_recorded_is_a_miss(project, pool, path):
    with pool.cassette(path):
        pool.map(["a"], "{{input}}", **QUIET)

    with project.pool() as other, other.cassette(path, "replay"), pytest.raises(CassetteMissError):
        other.map(["a", "new"], "{{input}}", **QUIET)


def test_failed_rows_are_not_recorded(project, pool, engine, path):
    engine.errors["b"] = ContentFilterError("no")
    with pool.cassette(path):
        answers = pool.map(ROWS, "{{text}}", **QUIET)

    assert answers.gx_error[1] == "ContentFilterError: no"
    assert "B" not in recorded_texts(path)


def test_a_cassette_without_effect_changes_nothing(pool, engine, path):
    with pool.cassette(path, "off"):
        pool.map(["a"], "{{input}}", **QUIET)
        pool.map(["a"], "{{input}}", **QUIET)

    assert engine.asked == {"a": 1}


def test_a_single_call_replays_a_recorded_row(project, pool, path):
    """A row's request is that of `ask`, so that both find the same entry."""
    with pool.cassette(path):
        pool.map(["a"], "Say {{input}}", **QUIET)

    with project.pool() as other, other.cassette(path, "replay"):
        assert other.ask("Say a", "counting").text == "SAY A"


def test_a_map_in_replay_needs_no_key_and_no_engine(project, path):
    engine = CountingEngine()
    with project.pool(engines=engine) as pool, pool.cassette(path):
        pool.map(["a"], "{{input}}", temperature=0.5, **QUIET)

    with project.pool() as other, other.cassette(path, "replay"):
        (reply,) = other.map(["a"], "{{input}}", temperature=0.5, **QUIET)
    assert reply.replayed


@pytest.mark.parametrize("mode", ["auto", "replay"])
def test_fresh_bypasses_the_cassette_as_it_does_for_one_call(pool, engine, path, mode):
    with pool.cassette(path):
        pool.map(ROWS, "{{text}}", **QUIET)
    before = path.read_bytes()
    engine.answers = {"a": "new", "b": "new"}

    with pool.cassette(path, mode):
        fresh = pool.map(ROWS, "{{text}}", fresh=True, **QUIET)

    assert fresh.answer.tolist() == ["new"] * 3
    assert path.read_bytes() == before
