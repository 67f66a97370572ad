"""What a model can be asked for, told before it is asked."""

import pytest

from gatewayx_nb.errors import EngineNotFoundError, MissingKeyError
from gatewayx_nb.llm_engines import FEATURES, SAMPLING

LACKS = """\
    lacks = frozenset({"seed", "top_p"})
    features = frozenset({"images"})

    def __init__(self, *args, **kwargs):
        raise AssertionError("it is not made")

    async def generate(self, prompt, **kwargs):
        return prompt
"""


def test_a_class_tells_what_its_models_take(project):
    """Without an instance of it: no key is needed there, and nothing is started."""
    project.engine("mine", body=LACKS)
    with project.pool() as pool:
        assert pool.features("mine") == {"images", "temperature", "max_tokens", "stop"}
        assert pool.features("mine:any") == pool.features("mine")
        assert pool.features("mock") > SAMPLING


def test_a_class_may_tell_it_in_a_list(project):
    """As who writes an engine does at first; calls take it too."""
    project.engine("mine", body=LACKS.replace("frozenset({", "[").replace("})", "]"))
    with project.pool() as pool:
        assert pool.features("mine") == {"images", "temperature", "max_tokens", "stop"}


def test_an_engine_that_was_given_tells_too(scripted):
    """Its model is not asked."""
    pool, engine = scripted(["a"])
    assert pool.features("scripted") == engine.features | SAMPLING
    assert engine.requests == []


def test_what_cannot_be_called_has_no_features(project):
    """The error is that of a call."""
    with project.pool() as pool:
        with pytest.raises(EngineNotFoundError):
            pool.features("nowhere")
        with pytest.raises(MissingKeyError):
            pool.features("grok")


def test_a_cassette_may_hold_anything(project, tmp_path):
    """While it alone is played back no engine is looked at."""
    path = tmp_path / "tape.jsonl"
    with project.pool() as pool:
        with pool.cassette(path):
            pool.ask("x", model="mock")
        with pool.cassette(path, "replay"):
            assert pool.features("grok") == FEATURES | SAMPLING
