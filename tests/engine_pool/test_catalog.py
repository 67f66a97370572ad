"""The engines, models and states that a pool reports, live and from a cassette."""

import asyncio

import pytest

from gatewayx_nb.engine_pool import EngineHealth, EnginePool
from gatewayx_nb.engine_pool.catalog import ReplayCatalog
from gatewayx_nb.errors import (
    ConfigError,
    EngineNotFoundError,
    MissingKeyError,
    ProviderError,
)
from gatewayx_nb.llm_engines import FEATURES, SAMPLING, Chunk
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop")


class Listing(ScriptedEngine):
    """Engine whose list of models is `answer`; an error is raised."""

    def __init__(self, name, answer):
        super().__init__(["a", END])
        self.name, self.answer = name, answer

    async def models(self):
        """Return the models or raise the error."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return [ModelInfo(self.name, model) for model in self.answer]


@pytest.fixture
def pool():
    """Yield a pool with an engine that lists two models and one that cannot list any."""
    engines = [Listing("good", ["a", "b"]), Listing("bad", ProviderError("broken."))]
    with EnginePool(env={}, engines=engines) as pool:
        yield pool


def names(models):
    """Return models as references, without those of shipped engines."""
    return [str(model) for model in models if model.engine in ("good", "bad")]


def test_one_engine_that_fails_does_not_hide_the_models_of_others(pool):
    """A live list of all models has those of the engines that answer."""
    assert names(pool.models(live=True)) == ["good:a", "good:b"]


def test_the_error_of_a_named_engine_is_raised(pool):
    """A live list of one engine raises its error, and an unknown name raises one at once."""
    assert names(pool.models("good", live=True)) == ["good:a", "good:b"]
    with pytest.raises(ProviderError, match="broken"):
        pool.models("bad", live=True)
    with pytest.raises(EngineNotFoundError, match="Did you mean 'good'"):
        pool.models("goood")


def test_a_list_that_is_not_live_queries_no_provider(pool):
    """Without `live` each engine has its default model, even if it cannot list any."""
    assert sorted(names(pool.models())) == ["bad:script", "good:script"]
    assert names(pool.models("bad")) == ["bad:script"]


def test_files_are_checked_at_most_once_a_second_by_calls(pool, monkeypatch):
    """A call checks for changed files if the last check is a second old; `status` always does."""
    checks = []
    monkeypatch.setattr(pool._registry, "refresh", lambda: checks.append("check"))
    for _ in range(3):
        pool.ask("x", model="good")
    before = len(checks)
    pool._live._refreshed -= 1.0
    pool.ask("x", model="good")

    assert (before, len(checks)) == (0, 1)
    pool.status()
    assert len(checks) == 2


@pytest.fixture
def recorded(scripted, tmp_path):
    """Yield the catalog of a cassette with three models of two engines."""
    path = tmp_path / "a.jsonl"
    recording, _ = scripted(["a", END])
    with recording.cassette(path):
        for model in ("scripted:big", "mock", "scripted:small"):
            recording.ask("x", model=model)
    with EnginePool(env={}) as pool, pool.cassette(path, "replay") as cassette:
        yield ReplayCatalog(cassette, pool._registry)


def test_a_cassette_has_a_row_for_each_engine(recorded):
    """Replay reports the recorded engines with their models, whatever this machine has."""
    rows = recorded.status(probe=True)

    assert [(row.name, row.model, row.state, row.loaded) for row in rows] == [
        ("mock", "mock", "replay", True),
        ("scripted", "big, small", "replay", True),
    ]
    assert list(map(str, recorded.models("scripted", live=True))) == [
        "scripted:big",
        "scripted:small",
    ]
    assert len(recorded.models(None, live=False)) == 3
    assert recorded.problems == []


def test_health_in_replay_is_whether_an_engine_is_recorded(recorded):
    """Health starts no engine: a recorded engine is healthy, any other is not."""
    mock, scripted = EngineHealth("mock", ok=True), EngineHealth("scripted", ok=True)
    missing = EngineHealth("grok", ok=False, error="not on the cassette")

    assert asyncio.run(recorded.health(())) == [mock, scripted]
    assert asyncio.run(recorded.health(["grok", "mock"])) == [missing, mock]


def test_a_cassette_supports_every_feature_and_names_a_model(recorded):
    """A recorded call may have used any feature; a default needs a call that named no model."""
    assert recorded.features("scripted") == FEATURES | SAMPLING
    with pytest.raises(ConfigError, match="no default model"):
        recorded.default_model()
    recorded.check_reference("scripted:any")
    with pytest.raises(MissingKeyError):
        recorded.check_reference("grok")
