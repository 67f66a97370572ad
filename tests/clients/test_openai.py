"""OpenAI's SDK with Chat Completions, Responses and embeddings."""

import json

import openai
import pytest

from tests.clients.conftest import CITY, DONE, IMAGE_URL, MESSAGES, MODEL, WEATHER, City, weather


@pytest.fixture
def client(gateway):
    """Yield a client with its usual retries."""
    with openai.OpenAI(**gateway.openai) as client:
        yield client


def test_chat_completion(client):
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.choices[0].message.content == "Hello."
    assert answer.usage.total_tokens == 15


def test_chat_stream(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = stream
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello."
    assert last.usage.total_tokens == 15


def test_chat_stream_helper(client):
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == "Hello."


def test_chat_tools(gateway, client):
    gateway.play_tool_call()
    options = {"model": MODEL, "tools": [{"type": "function", "function": WEATHER}]}
    message = client.chat.completions.create(messages=MESSAGES, **options).choices[0].message
    (call,) = message.tool_calls
    content = weather(**json.loads(call.function.arguments))
    result = {"role": "tool", "tool_call_id": call.id, "content": content}
    # The SDK accepts its own answers as messages.
    final = client.chat.completions.create(messages=[*MESSAGES, message, result], **options)
    assert final.choices[0].message.content == "It is sunny."
    gateway.check_tool_loop()


def test_chat_image(gateway, client):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": IMAGE_URL}},
    ]
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}])
    gateway.check_image()


def test_chat_parse(gateway, client):
    gateway.play([CITY, DONE])
    answer = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Rome")


def test_chat_parsed_stream(gateway, client):
    gateway.play([CITY, DONE])
    with client.chat.completions.stream(
        model=MODEL, messages=MESSAGES, response_format=City
    ) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.parsed == City(name="Rome")


@pytest.mark.parametrize("streamed", [False, True])
def test_chat_failure(gateway, client, failure, streamed):
    """The SDK raises the error of the status, and adds no retries to those of the pool."""
    attempts = gateway.attempts(failure)
    kinds = {429: openai.RateLimitError, 502: openai.InternalServerError}
    with pytest.raises(tuple(kinds.values()), match=failure.message[:-1]) as caught:
        client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=streamed)
    assert type(caught.value) is kinds[caught.value.status_code]
    assert len(gateway.engine.requests) == attempts == 2


def test_chat_broken_stream(gateway, client):
    gateway.break_stream()
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    texts = []
    with pytest.raises(openai.APIError, match="the provider is gone"):
        texts += [chunk.choices[0].delta.content for chunk in stream]
    assert len(gateway.engine.requests) == 1


def test_response(client):
    answer = client.responses.create(model=MODEL, input="Hi")
    assert (answer.output_text, answer.status) == ("Hello.", "completed")
    assert answer.usage.total_tokens == 15


def test_response_stream(client):
    events = client.responses.create(model=MODEL, input="Hi", stream=True)
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == "Hello."


def test_response_stream_helper(client):
    with client.responses.stream(model=MODEL, input="Hi") as stream:
        assert stream.get_final_response().output_text == "Hello."


def test_response_tools(gateway, client):
    gateway.play_tool_call()
    items = [{"role": "user", "content": "Hi"}]
    options = {"model": MODEL, "tools": [{"type": "function", **WEATHER}]}
    answer = client.responses.create(input=items, **options)
    (call,) = answer.output
    output = weather(**json.loads(call.arguments))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": output}
    # The SDK accepts the items of its own answers as input.
    final = client.responses.create(input=[*items, *answer.output, result], **options)
    assert final.output_text == "It is sunny."
    gateway.check_tool_loop()


def test_response_image(gateway, client):
    parts = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": IMAGE_URL},
    ]
    client.responses.create(model=MODEL, input=[{"role": "user", "content": parts}])
    gateway.check_image()


def test_response_parse(gateway, client):
    gateway.play([CITY, DONE])
    answer = client.responses.parse(model=MODEL, input="Hi", text_format=City)
    assert answer.output_parsed == City(name="Rome")


@pytest.mark.parametrize("streamed", [False, True])
def test_response_failure(gateway, client, failure, streamed):
    attempts = gateway.attempts(failure)
    with pytest.raises(openai.APIStatusError, match=failure.message[:-1]) as caught:
        client.responses.create(model=MODEL, input="Hi", stream=streamed)
    assert caught.value.status_code in (429, 502)
    assert len(gateway.engine.requests) == attempts


def test_broken_response_stream(gateway, client):
    """The failure is an event, and then an error."""
    gateway.break_stream()
    stream = client.responses.create(model=MODEL, input="Hi", stream=True)
    events = []
    with pytest.raises(openai.APIError, match="the provider is gone"):
        events += stream
    assert events[-1].type == "response.failed"


def test_broken_response_stream_helper(gateway, client):
    gateway.break_stream()
    with (
        client.responses.stream(model=MODEL, input="Hi") as stream,
        pytest.raises(openai.APIError, match="the provider is gone"),
    ):
        stream.get_final_response()


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_embeddings(client, encoding):
    """The SDK asks for base64 by default."""
    answer = client.embeddings.create(model=MODEL, input=["a", "abc"], **encoding)
    assert [row.embedding for row in answer.data] == [[1.0, 0.5], [3.0, 0.5]]


def test_models(client):
    assert {"mock", "scripted", "scripted:script"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("scripted:script").owned_by == "scripted"
