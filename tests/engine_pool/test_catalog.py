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


class ListingEngine(ScriptedEngine):
    """Engine that lists the models of `answer`, or raises it if it is an exception."""

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
    engines = [ListingEngine("good", ["a", "b"]), ListingEngine("bad", ProviderError("broken."))]
    with EnginePool(env={}, engines=engines) as pool:
        yield pool


def select_references(models):
    """Return the references of both engines' models in `pool`."""
    return [str(model) for model in models if model.engine in ("good", "bad")]


def test_an_engine_that_fails_is_omitted_from_a_live_list(pool):
    """A live list of all models omits engines that fail."""
    assert select_references(pool.models(live=True)) == ["good:a", "good:b"]


def test_the_error_of_a_named_engine_is_raised(pool):
    """A live list of one engine raises that engine's error, or the one for an unknown name."""
    assert select_references(pool.models("good", live=True)) == ["good:a", "good:b"]
    with pytest.raises(ProviderError, match="broken"):
        pool.models("bad", live=True)
    with pytest.raises(EngineNotFoundError, match="Did you mean 'good'"):
        pool.models("goood")


def test_a_list_that_is_not_live_calls_no_engine(pool):
    """Without `live`, the list contains the default model of each engine."""
    assert sorted(select_references(pool.models())) == ["bad:script", "good:script"]
    assert select_references(pool.models("bad")) == ["bad:script"]


def test_calls_check_for_changed_files_at_most_once_a_second(pool, monkeypatch):
    """A call checks for changed files if the last check was a second ago; `status` always does."""
    checks = []
    monkeypatch.setattr(pool._registry, "refresh", lambda: checks.append("check"))
    for _ in range(3):
        pool.ask("x", model="good")
    first_count = len(checks)
    pool._live_catalog._refreshed_at -= 1.0
    pool.ask("x", model="good")

    assert (first_count, len(checks)) == (0, 1)
    pool.status()
    assert len(checks) == 2


@pytest.fixture
def replay_catalog(make_scripted_pool, tmp_path):
    """Yield the catalog of a cassette that contains three models from two engines."""
    path = tmp_path / "a.jsonl"
    recording, _ = make_scripted_pool(["a", END])
    with recording.cassette(path):
        for model in ("scripted:big", "mock", "scripted:small"):
            recording.ask("x", model=model)
    with EnginePool(env={}) as pool, pool.cassette(path, "replay") as cassette:
        yield ReplayCatalog(cassette, pool._registry)


def test_a_cassette_has_a_row_for_each_engine(replay_catalog):
    """In replay mode the status has the recorded engines and models, not those of this machine."""
    rows = replay_catalog.status(probe=True)

    assert [(row.name, row.model, row.state, row.loaded) for row in rows] == [
        ("mock", "mock", "replay", True),
        ("scripted", "big, small", "replay", True),
    ]
    assert list(map(str, replay_catalog.models("scripted", live=True))) == [
        "scripted:big",
        "scripted:small",
    ]
    assert len(replay_catalog.models(None, live=False)) == 3
    assert replay_catalog.problems == []


def test_recorded_engines_are_healthy_in_replay_mode(replay_catalog):
    """In replay mode a recorded engine is healthy and any other is not; no engine is started."""
    mock, scripted = EngineHealth("mock", ok=True), EngineHealth("scripted", ok=True)
    missing = EngineHealth("grok", ok=False, error="not in the cassette")

    assert asyncio.run(replay_catalog.health(())) == [mock, scripted]
    assert asyncio.run(replay_catalog.health(["grok", "mock"])) == [missing, mock]


def test_a_recorded_engine_supports_every_feature(replay_catalog):
    """A recorded engine has every feature; a recorded default model needs a call without one."""
    assert replay_catalog.features("scripted") == FEATURES | SAMPLING
    with pytest.raises(ConfigError, match="no default model"):
        replay_catalog.default_model()
    replay_catalog.check_reference("scripted:any")
    with pytest.raises(MissingKeyError):
        replay_catalog.check_reference("grok")
