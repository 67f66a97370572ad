"""LiteLLM with the APIs of OpenAI and Anthropic."""

import json

import pytest

from tests.clients.conftest import CITY, DONE, IMAGE_URL, MESSAGES, MODEL, WEATHER, City, weather


@pytest.fixture
def litellm(monkeypatch):
    """Return the library, which would otherwise download a list of prices."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm

    return litellm


@pytest.fixture(params=["openai", "anthropic"])
def options(gateway, request):
    """Return the model and the address, for each of the APIs."""
    address = getattr(gateway, request.param)
    return {
        "model": f"{request.param}/{MODEL}",
        "api_base": address["base_url"],
        "api_key": str(address["api_key"]),
    }


def test_answer(litellm, options):
    answer = litellm.completion(messages=MESSAGES, **options)
    assert answer.choices[0].message.content == "Hello."
    assert answer.usage.completion_tokens == 5


def test_stream(litellm, options):
    stream = litellm.completion(messages=MESSAGES, stream=True, **options)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello."


def test_tools(gateway, litellm, options):
    gateway.play_tool_call()
    options["tools"] = [{"type": "function", "function": WEATHER}]
    message = litellm.completion(messages=MESSAGES, **options).choices[0].message
    (call,) = message.tool_calls
    content = weather(**json.loads(call.function.arguments))
    result = {"role": "tool", "tool_call_id": call.id, "content": content}
    final = litellm.completion(messages=[*MESSAGES, message, result], **options)
    assert final.choices[0].message.content == "It is sunny."
    gateway.check_tool_loop()


def test_image(gateway, litellm, options):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": IMAGE_URL}},
    ]
    litellm.completion(messages=[{"role": "user", "content": parts}], **options)
    gateway.check_image()


def test_schema(gateway, litellm, options):
    gateway.play([CITY, DONE])
    answer = litellm.completion(messages=MESSAGES, response_format=City, **options)
    assert json.loads(answer.choices[0].message.content) == {"name": "Rome"}


def test_failure(gateway, litellm, failure, options):
    attempts = gateway.attempts(failure)
    kinds = (litellm.RateLimitError, litellm.BadGatewayError)
    with pytest.raises(kinds, match=failure.message[:-1]):
        litellm.completion(messages=MESSAGES, **options)
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, litellm, options):
    gateway.break_stream()
    with pytest.raises(litellm.exceptions.MidStreamFallbackError, match="the provider is gone"):
        list(litellm.completion(messages=MESSAGES, stream=True, **options))


def test_response(gateway, litellm):
    answer = litellm.responses(
        model=f"openai/{MODEL}",
        input="Hi",
        api_base=gateway.openai["base_url"],
        api_key=gateway.token,
    )
    assert answer.output[0].content[0].text == "Hello."


def test_embeddings(gateway, litellm):
    answer = litellm.embedding(
        model=f"openai/{MODEL}",
        input=["a", "abc"],
        api_base=gateway.openai["base_url"],
        api_key=gateway.token,
    )
    assert [row["embedding"] for row in answer.data] == [[1.0, 0.5], [3.0, 0.5]]
