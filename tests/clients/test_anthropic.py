"""Anthropic's SDK with the Messages API."""

import base64

import anthropic
import pytest

from tests.clients.conftest import (
    CITY,
    DONE,
    MESSAGES,
    MODEL,
    PNG,
    WEATHER,
    City,
    weather,
)

OPTIONS = {"model": MODEL, "max_tokens": 100}


@pytest.fixture
def client(gateway):
    """Yield a client with its usual retries."""
    with anthropic.Anthropic(**gateway.anthropic) as client:
        yield client


def test_message(client):
    answer = client.messages.create(messages=MESSAGES, **OPTIONS)
    assert (answer.content[0].text, answer.stop_reason) == ("Hello.", "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (6, 5)


def test_stream(client):
    with client.messages.stream(messages=MESSAGES, **OPTIONS) as stream:
        assert "".join(stream.text_stream) == "Hello."
        assert stream.get_final_message().stop_reason == "end_turn"


def test_tools(gateway, client):
    gateway.play_tool_call()
    tool = {
        "name": WEATHER["name"],
        "description": WEATHER["description"],
        "input_schema": WEATHER["parameters"],
    }
    answer = client.messages.create(messages=MESSAGES, tools=[tool], **OPTIONS)
    (call,) = answer.content
    content = weather(**call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": content}
    turns = [
        *MESSAGES,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": [result]},
    ]
    final = client.messages.create(messages=turns, tools=[tool], **OPTIONS)
    assert final.content[0].text == "It is sunny."
    gateway.check_tool_loop()


def test_tool_runner(gateway, client):
    """The SDK's own loop calls the function and sends its result."""
    gateway.play_tool_call()
    tool = anthropic.beta_tool(weather)
    runner = client.beta.messages.tool_runner(messages=MESSAGES, tools=[tool], **OPTIONS)
    assert runner.until_done().content[0].text == "It is sunny."
    gateway.check_tool_loop()


def test_image(gateway, client):
    data = base64.b64encode(PNG).decode()
    image = {"type": "base64", "media_type": "image/png", "data": data}
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image", "source": image}]
    client.messages.create(messages=[{"role": "user", "content": parts}], **OPTIONS)
    gateway.check_image()


def test_parse(gateway, client):
    gateway.play([CITY, DONE])
    answer = client.messages.parse(messages=MESSAGES, output_format=City, **OPTIONS)
    assert answer.parsed_output == City(name="Rome")


@pytest.mark.parametrize("streamed", [False, True])
def test_failure(gateway, client, failure, streamed):
    attempts = gateway.attempts(failure)
    with pytest.raises(anthropic.APIStatusError, match=failure.message[:-1]) as caught:
        client.messages.create(messages=MESSAGES, stream=streamed, **OPTIONS)
    assert caught.value.status_code in (429, 502)
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, client):
    gateway.break_stream()
    with (
        client.messages.stream(messages=MESSAGES, **OPTIONS) as stream,
        pytest.raises(anthropic.APIStatusError, match="the provider is gone"),
    ):
        stream.until_done()
    assert len(gateway.engine.requests) == 1


def test_token_count(client):
    count = client.messages.count_tokens(model=MODEL, messages=MESSAGES)
    assert count.input_tokens > 0


def test_models(client):
    assert {"mock", "scripted"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("scripted:script").id == "scripted:script"
