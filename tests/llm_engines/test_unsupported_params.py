import json
from dataclasses import dataclass

import pytest

from gatewayx_nb.errors import GatewayError, ProviderError, RateLimitError
from gatewayx_nb.llm_engines.unsupported_params import (
    RejectedParameterError,
    explain_rejection,
    reject_unsupported,
    without_param,
)
from gatewayx_nb.messages import Message, Request

HI = (Message("user", "Hi"),)


def _asked(**fields):
    return Request(messages=HI, model="m", **fields)


@dataclass(frozen=True)
class Case:
    """The options that were set, the provider's message, and the parameter it rejects."""

    name: str
    set: dict
    message: str = ""
    param: str | None = None
    expected: str | None = None
    status: int = 400
    kind: type[GatewayError] = ProviderError


CASES = [
    Case(
        "openai names it in a field",
        {"temperature": 0.5},
        "Unsupported value",
        "temperature",
        "temperature",
    ),
    Case(
        "a field within another",
        {"params": {"effort": "max"}},
        "no",
        "reasoning.effort",
        "effort",
    ),
    Case(
        "openai's word for it",
        {"max_tokens": 9},
        "Unsupported parameter: 'max_tokens' is not supported; use 'max_completion_tokens'.",
        expected="max_tokens",
    ),
    Case(
        "anthropic",
        {"top_p": 0.0, "temperature": 1},
        "top_p: Extra inputs are not permitted",
        expected="top_p",
    ),
    Case(
        "gemini's word for it", {"stop": ("x",)}, "stopSequences is not supported", expected="stop"
    ),
    Case("a field of one letter", {"top_p": 2}, "out of range", "p", "top_p"),
    Case("a letter in the message", {"top_p": 2}, "invalid p: 2"),
    Case("mistral's word for it", {"seed": 0}, "random_seed: no", expected="seed", status=422),
    Case("the caller's own", {"params": {"top_k": 5}}, "top_k is not supported", expected="top_k"),
    Case("not set", {"temperature": 1}, "seed is not supported"),
    Case("only a part of a word", {"seed": 1}, "seeds of doubt; reseed; model.seed"),
    Case("nothing said", {"seed": 1}),
    Case("another status", {"seed": 1}, "seed", status=500),
    Case("another error", {"seed": 1}, "too many: seed", kind=RateLimitError),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_parameter_is_named_as_the_caller_set_it(case):
    """If the provider names a parameter that the caller set, the error names it.

    Otherwise the error is unchanged.
    """
    error = case.kind("no.", engine="grok", model="m", status=case.status)
    data = json.dumps({"error": {"message": case.message, "param": case.param}}).encode()
    reported = explain_rejection(error, _asked(**case.set), data)

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


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b"[1, 2]", b'{"error": 3}', b"\xff"])
def test_a_body_that_names_nothing_leaves_the_error(data):
    """A body that names no parameter leaves the error unchanged."""
    error = ProviderError("no.", status=400)
    assert explain_rejection(error, _asked(seed=1), data) is error


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
def test_a_request_without_it_is_the_same_but_for_it(fields, name):
    """A request without one parameter is otherwise equal, and the original is unchanged."""
    request = _asked(system="Brief.", **fields)
    assert without_param(request, name) == _asked(system="Brief.")
    assert request == _asked(system="Brief.", **fields)


def test_of_the_caller_s_own_only_that_one_is_left_out():
    """A parameter that is set twice is first removed from the caller's `params`."""
    request = _asked(seed=1, params={"seed": 2, "top_k": 5})
    assert without_param(request, "seed") == _asked(seed=1, params={"top_k": 5})


@pytest.mark.parametrize("fields", [{"seed": 0}, {"seed": 7}, {"stop": ("x",), "seed": None}])
def test_what_a_provider_lacks_is_refused(fields):
    """A parameter that the provider lacks raises an error if it is set, even to 0."""
    with pytest.raises(RejectedParameterError, match="nothing was sent") as caught:
        reject_unsupported(_asked(**fields), frozenset({"seed", "stop"}), "anthropic")
    assert caught.value.code in fields


def test_what_is_not_set_is_not_refused():
    """Omitted and supported parameters raise no error."""
    reject_unsupported(_asked(temperature=0), frozenset({"seed", "stop"}), "anthropic")
