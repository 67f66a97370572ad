"""`params` for all engines, and for a single engine by its name."""

import pytest

from gatewayx_nb.llm_engines import RejectedParameterError
from gatewayx_nb.testing import ScriptedEngine

KEYS = "GATEWAYX_OPENAI_API_KEY=openai-0123456789abcdef\nGATEWAYX_ACME_API_KEY=acme-0123456789\n"
URL = "GATEWAYX_ACME_BASE_URL=http://127.0.0.1:9/v1\n"
PARAMS = {
    "user": "me",
    "openai": {"service_tier": "flex", "user": "we"},
    "acme": {"min_p": 0.1, "drop_unsupported": True},
    "metadata": {"run": "1"},
}


@pytest.fixture
def pool(project):
    """Yield a pool with two engines that have keys."""
    project.set_keys(KEYS + URL)
    with project.pool() as pool:
        yield pool


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("openai:m", {"user": "we", "service_tier": "flex", "metadata": {"run": "1"}}),
        ("acme:m", {"user": "me", "min_p": 0.1, "metadata": {"run": "1"}}),
    ],
)
def test_an_engine_gets_its_own_parameters_and_the_common_ones(pool, model, sent):
    """A dict under an engine's name is only for that engine, and overrides common values."""
    body = pool.preview("Hi", model, params=PARAMS).body

    names = ("user", "service_tier", "min_p", "metadata", "openai", "acme", "drop_unsupported")
    assert {name: body[name] for name in names if name in body} == sent
    assert PARAMS["user"] == "me"  # the caller's dict is not changed


def test_a_value_that_is_not_a_dict_is_an_ordinary_parameter(pool):
    """A provider may have a parameter with the name of another engine."""
    assert pool.preview("Hi", "openai:m", params={"acme": 1}).body["acme"] == 1


def test_a_misspelled_parameter_of_one_engine_is_refused(pool):
    """Parameters under an engine's name are checked like common ones."""
    with pytest.raises(RejectedParameterError, match="'mock' has no parameter 'latncy'"):
        pool.ask("Hi", "mock", params={"mock": {"latncy": 1}})


def test_each_engine_of_a_comparison_or_fallback_gets_its_own_parameters(project):
    """The same `params` applies to every column of a comparison and every engine of a fallback."""
    engine = ScriptedEngine(*[["a"]] * 2)
    with project.pool(engines=[engine]) as pool:
        params = {"mock": {"latency": 0}, "scripted": {"min_p": 0.1}}
        comparison = pool.compare("Hi", ["mock", "scripted"], params=params)
        failing = {**params, "mock": {"fail": 500}}
        reply = pool.ask("Hi", "mock", fallback="scripted", params=failing)

    assert comparison["mock"].text == "[mock] Hi"
    assert comparison["scripted"].text == reply.text == "a"
    assert [request.params for request in engine.requests] == [{"min_p": 0.1}] * 2


def test_a_recorded_call_is_found_by_the_parameters_of_all_engines(pool, tmp_path):
    """A cassette replays a call with `params` for several engines."""
    path = tmp_path / "cassette.jsonl"
    params = {"mock": {"latency": 0}, "openai": {"service_tier": "flex"}}
    with pool.cassette(path, "record"):
        pool.ask("Hi", "mock", params=params)

    with pool.cassette(path, "replay"):
        assert pool.ask("Hi", "mock", params=params).replayed
