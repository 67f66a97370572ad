import json
from dataclasses import dataclass

import pytest

from gatewayx_nb.errors import GatewayError, ProviderError, RateLimitError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
from gatewayx_nb.llm_engines.unsupported_params import (
    RejectedParameterError,
    check_supported,
    explain_rejection,
    model_token_limit,
    without_param,
)
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.secrets import Secret

MESSAGES = (Message("user", "Hi"),)


def _make_request(**fields):
    return Request(messages=MESSAGES, model="m", **fields)


@dataclass(frozen=True)
class Case:
    """Options of a call, the provider's error, and the parameter that is reported."""

    name: str
    options: dict
    message: str = ""
    param: str | None = None
    expected: str | None = None
    status: int = 400
    kind: type[GatewayError] = ProviderError


CASES = [
    Case(
        "OpenAI's field",
        {"temperature": 0.5},
        "Unsupported value",
        "temperature",
        "temperature",
    ),
    Case(
        "nested field",
        {"params": {"effort": "max"}},
        "no",
        "reasoning.effort",
        "effort",
    ),
    Case(
        "OpenAI's message",
        {"max_tokens": 9},
        "Unsupported parameter: 'max_tokens' is not supported; use 'max_completion_tokens'.",
        expected="max_tokens",
    ),
    Case(
        "Anthropic's message",
        {"top_p": 0.0, "temperature": 1},
        "top_p: Extra inputs are not permitted",
        expected="top_p",
    ),
    Case("Gemini's name", {"stop": ("x",)}, "stopSequences is not supported", expected="stop"),
    Case("field of one letter", {"top_p": 2}, "out of range", "p", "top_p"),
    Case("letter in the message", {"top_p": 2}, "invalid p: 2"),
    Case("Mistral's name", {"seed": 0}, "random_seed: no", expected="seed", status=422),
    Case("name in params", {"params": {"top_k": 5}}, "top_k is not supported", expected="top_k"),
    Case("parameter that is not set", {"temperature": 1}, "seed is not supported"),
    Case("part of a word", {"seed": 1}, "seeds of doubt; reseed; model.seed"),
    Case("empty message", {"seed": 1}),
    Case("status 500", {"seed": 1}, "seed", status=500),
    Case("rate limit", {"seed": 1}, "too many: seed", kind=RateLimitError),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_error_names_the_parameter_that_the_caller_set(case):
    """If the provider names a parameter that the caller set, the error names it as well.

    Otherwise the error is unchanged.
    """
    error = case.kind("no.", engine="grok", model="m", status=case.status)
    data = json.dumps({"error": {"message": case.message, "param": case.param}}).encode()
    reported = explain_rejection(error, _make_request(**case.options), data)

    if case.expected is None:
        assert reported is error
    else:
        assert isinstance(reported, RejectedParameterError)
        assert (reported.code, reported.engine, reported.status) == (
            case.expected,
            "grok",
            case.status,
        )
        assert repr(case.expected) in str(reported)
        assert "drop_unsupported" in str(reported.hint)


LIMITS = [
    ("max_tokens must be at most 2048", 2048),
    ("max_tokens: 4000 > 2,048, the limit of big-2503", 2048),
    ("mid-2024-08-06 allows max_tokens from 1 to 1024.", 1024),
    ("max_tokens is too large", None),
    ("max_tokens must be below 1", None),
]


@pytest.mark.parametrize(("message", "limit"), LIMITS)
def test_the_limit_of_a_model_is_read_from_the_providers_text(message, limit):
    """Digits in the model's name or the HTTP status do not count as its limit."""
    request = Request(messages=MESSAGES, model="big-2503", max_tokens=4000)
    data = json.dumps({"error": {"message": message}}).encode()
    error = ProviderErrors("grok", request.model, Secret("")).from_response(400, {}, data)
    rejection = explain_rejection(error, request, data)

    assert isinstance(rejection, RejectedParameterError)
    assert model_token_limit(rejection, 4000) == limit


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"[1, 2]", b'{"error": 3}', b"\xff"])
def test_a_body_without_a_parameter_does_not_change_the_error(data):
    """If the body names no parameter, the error is unchanged."""
    error = ProviderError("no.", status=400)
    assert explain_rejection(error, _make_request(seed=1), data) is error


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"max_tokens": 9}, "max_tokens"),
        ({"stop": ("x",)}, "stop"),
        ({"seed": 0}, "seed"),
        ({"params": {"top_k": 5}}, "top_k"),
    ],
)
def test_without_param_removes_only_the_parameter(fields, name):
    """`without_param` returns an otherwise equal request and does not change the original."""
    request = _make_request(system="Brief.", **fields)
    assert without_param(request, name) == _make_request(system="Brief.")
    assert request == _make_request(system="Brief.", **fields)


def test_a_parameter_is_first_removed_from_params():
    """A parameter that is set twice is first removed from `params`."""
    request = _make_request(seed=1, params={"seed": 2, "top_k": 5})
    assert without_param(request, "seed") == _make_request(seed=1, params={"top_k": 5})


class Lacking(LLMEngine):
    """An engine whose provider lacks two parameters."""

    name = "lacking"
    unsupported_options = frozenset({"seed", "stop"})
    params = frozenset({"top_k"})


class Named(LLMEngine):
    """An engine that names its keywords."""

    name = "named"

    async def generate(self, prompt, *, temperature=1.0, style="plain"):
        return prompt


@pytest.mark.parametrize(
    ("engine", "fields", "message"),
    [
        (Lacking, {"seed": 0}, "'lacking' does not support 'seed'; nothing was sent"),
        (Lacking, {"stop": ("x",), "seed": None}, "does not support 'stop'"),
        (Lacking, {"params": {"topk": 1}}, "has no parameter 'topk'.*Did you mean 'top_k'.*valid"),
        (Named, {"seed": 7}, "'named' does not take 'seed'"),
        (Named, {"params": {"stile": 1}}, "does not take 'stile'.*Did you mean 'style'"),
    ],
)
def test_a_parameter_without_an_effect_is_rejected_by_name(engine, fields, message):
    """A parameter that the engine would ignore raises an error, even if it is 0."""
    with pytest.raises(RejectedParameterError, match=message) as caught:
        check_supported(engine(), _make_request(**fields))
    assert caught.value.code in {**fields, **fields.get("params", {})}


@pytest.mark.parametrize(
    ("engine", "fields"),
    [
        (Lacking, {"temperature": 0, "params": {"top_k": 3}}),
        (Named, {"temperature": 0, "params": {"style": "short"}}),
        (LLMEngine, {"seed": 1, "params": {"anything": 3}}),
    ],
)
def test_a_supported_parameter_is_accepted(engine, fields):
    """Omitted and supported parameters raise no error."""
    check_supported(engine(), _make_request(**fields))
