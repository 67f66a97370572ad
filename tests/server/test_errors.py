"""Errors name the field of the request, and contain nothing that only the user may read."""

import pytest

from gatewayx_nb.errors import ContextLengthError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.testing import ScriptedEngine
from tests.canary import KEY, leaks
from tests.server.conftest import post, serving

QUESTION = [{"role": "user", "content": "Hi"}]

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"

INVALID = [
    (CHAT, "temperature", {"temperature": -1}),
    (CHAT, "top_p", {"top_p": 2}),
    (CHAT, "max_tokens", {"max_tokens": 0}),
    (CHAT, "max_completion_tokens", {"max_completion_tokens": 0}),
    (CHAT, "stop", {"stop": 7}),
    (CHAT, "reasoning_effort", {"reasoning_effort": "huge"}),
    (CHAT, "model", {"model": "unknown"}),
    (RESPONSES, "temperature", {"temperature": -1}),
    (RESPONSES, "top_p", {"top_p": 2}),
    (RESPONSES, "model", {"model": "unknown"}),
]


@pytest.mark.parametrize(("path", "param", "fields"), INVALID)
def test_an_error_names_the_field(path, param, fields):
    """`param` is the name in the request, and not that of the option of a call."""
    messages = {"messages": QUESTION} if path == CHAT else {"input": "Hi"}
    with serving(ScriptedEngine(["Hi"])) as server:
        response = post(server, path, {"model": "scripted", **messages, **fields})
    error = response.json()["error"]
    assert error["param"] == param
    assert response.status_code in (400, 404)
    if param != "model":
        assert error["message"].startswith(f"{param} must be ")


def test_a_prompt_that_is_too_long_is_an_error_of_the_messages():
    with serving(ScriptedEngine([ContextLengthError("too long.")])) as server:
        response = post(server, CHAT, {"model": "scripted", "messages": QUESTION})
    assert response.json()["error"]["param"] == "messages"


class Careless(LLMEngine):
    """An engine whose exception repeats the prompt."""

    name, model_name, requires_key = "careless", "m", False

    async def generate(self, prompt, **_):
        """Raise an exception."""
        raise ZeroDivisionError(prompt)


@pytest.mark.parametrize("streamed", [False, True])
def test_the_text_of_an_exception_is_not_sent(streamed):
    """The text may contain anything, such as the prompt of another client."""
    body = {
        "model": "careless",
        "messages": [{"role": "user", "content": "a private matter"}],
        "stream": streamed,
    }
    with serving(Careless()) as server:
        response = post(server, CHAT, body)
    assert response.status_code == 502
    assert "engine 'careless' raised ZeroDivisionError; " in response.json()["error"]["message"]
    assert "private" not in response.text


SCHEMAS = [{"const": KEY}, {"type": "string", "pattern": f"({KEY}"}, {"required": [KEY]}]


@pytest.mark.parametrize("schema", SCHEMAS, ids=["answer", "schema", "field"])
def test_an_error_that_quotes_a_request_contains_no_key(schema):
    """A schema may repeat a key that a client has seen elsewhere."""
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"model": "scripted", "messages": QUESTION, "response_format": shape}
    with serving(ScriptedEngine(["{}"], ["{}"]), GATEWAYX_GROK_API_KEY=KEY) as server:
        response = post(server, CHAT, body)
        unknown = post(server, CHAT, body | {"model": KEY})
    assert response.status_code in (400, 502)
    assert unknown.status_code in (400, 404)
    assert not leaks(response.text + unknown.text)
