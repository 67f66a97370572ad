"""Instructor with clients of OpenAI's and Anthropic's SDKs."""

import anthropic
import instructor
import openai
import pytest
from instructor.core import InstructorRetryException

from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import ToolCall
from tests.clients.conftest import CITY, DONE, IMAGE_URL, MESSAGES, MODEL, City

CALL = Chunk(tool_calls=(ToolCall("call_1", "City", CITY),))
MODES = {
    instructor.Mode.TOOLS: CALL,
    instructor.Mode.JSON: CITY,
    instructor.Mode.JSON_SCHEMA: CITY,
    instructor.Mode.MD_JSON: f"```json\n{CITY}\n```",
    instructor.Mode.RESPONSES_TOOLS: CALL,
}
"""What the model answers in each mode."""


@pytest.fixture
def client(gateway):
    """Yield a client in the default mode, which is `TOOLS`."""
    with openai.OpenAI(**gateway.openai) as sdk:
        yield instructor.from_openai(sdk)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode(gateway, mode):
    gateway.play([MODES[mode], DONE])
    with openai.OpenAI(**gateway.openai) as sdk:
        client = instructor.from_openai(sdk, mode=mode)
        answer = client.create(model=MODEL, messages=MESSAGES, response_model=City)
    assert answer.name == "Rome"


def test_the_default_mode_calls_a_tool(gateway, client):
    gateway.play([CALL, DONE])
    assert client.create(model=MODEL, messages=MESSAGES, response_model=City).name == "Rome"
    (request,) = gateway.engine.requests
    assert (request.tools[0].name, request.tool_choice) == ("City", "City")


def test_partial_stream(gateway, client):
    gateway.play([CALL, DONE])
    parts = client.create_partial(model=MODEL, messages=MESSAGES, response_model=City)
    assert list(parts)[-1].name == "Rome"


def test_an_invalid_answer_is_asked_for_again(gateway, client):
    """Instructor sends the tool call back with the error of its validation."""
    wrong = Chunk(tool_calls=(ToolCall("call_1", "City", '{"town": "Rome"}'),))
    gateway.play([wrong, DONE], [CALL, DONE])
    assert client.create(model=MODEL, messages=MESSAGES, response_model=City).name == "Rome"
    assert "name" in gateway.engine.requests[1].messages[-1].tool_results[0].content


def test_image(gateway, client):
    gateway.play([CALL, DONE])
    content = ["What is this?", instructor.Image.from_base64(IMAGE_URL)]
    client.create(model=MODEL, messages=[{"role": "user", "content": content}], response_model=City)
    gateway.check_image()


def test_messages_api(gateway):
    gateway.play([CALL, DONE])
    with anthropic.Anthropic(**gateway.anthropic) as sdk:
        client = instructor.from_anthropic(sdk)
        answer = client.create(model=MODEL, messages=MESSAGES, response_model=City, max_tokens=100)
    assert answer.name == "Rome"


def test_failure(gateway, client, failure):
    attempts = gateway.attempts(failure)
    with pytest.raises(InstructorRetryException, match=failure.message[:-1]):
        client.create(model=MODEL, messages=MESSAGES, response_model=City)
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, client):
    gateway.break_stream()
    with pytest.raises(InstructorRetryException, match="the provider is gone"):
        list(client.create_partial(model=MODEL, messages=MESSAGES, response_model=City))
