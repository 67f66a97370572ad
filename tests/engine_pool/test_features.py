"""Features of a model, which are reported without a call."""

import pytest

from gatewayx_nb.errors import EngineNotFoundError, MissingKeyError
from gatewayx_nb.llm_engines import FEATURES, SAMPLING

ENGINE_BODY = """\
    unsupported_options = frozenset({"seed", "top_p"})
    features = frozenset({"images"})

    def __init__(self, *args, **kwargs):
        raise AssertionError("no instance may be created")

    async def generate(self, prompt, **kwargs):
        return prompt
"""


def test_features_are_declared_by_the_class(project):
    """Features are read from the engine class, without an instance of it."""
    project.engine("mine", body=ENGINE_BODY)
    with project.pool() as pool:
        assert pool.features("mine") == {"images"} | SAMPLING - {"seed", "top_p"}
        assert pool.features("mine:any") == pool.features("mine")
        assert pool.features("mock") > SAMPLING


def test_a_class_may_declare_features_as_a_list(project):
    """An engine class may declare its features in a list instead of a set."""
    project.engine("mine", body=ENGINE_BODY.replace("frozenset({", "[").replace("})", "]"))
    with project.pool() as pool:
        assert pool.features("mine") == {"images"} | SAMPLING - {"seed", "top_p"}


def test_the_features_of_an_engine_instance_are_reported(make_scripted_pool):
    """The features of an engine passed to the pool are read without a request."""
    pool, engine = make_scripted_pool(["a"])
    assert pool.features("scripted") == engine.features | SAMPLING
    assert engine.requests == []


def test_an_engine_that_cannot_be_called_raises_its_error(project):
    """Asking for an uncallable engine's features raises the same error as a call."""
    with project.pool() as pool:
        with pytest.raises(EngineNotFoundError):
            pool.features("nowhere")
        with pytest.raises(MissingKeyError):
            pool.features("grok")


def test_every_feature_is_supported_during_replay(project, tmp_path):
    """In replay mode features are not checked, and no engine is loaded."""
    path = tmp_path / "tape.jsonl"
    with project.pool() as pool:
        with pool.cassette(path):
            pool.ask("x", model="mock")
        with pool.cassette(path, "replay"):
            assert pool.features("grok") == FEATURES | SAMPLING
