"""Pydantic AI's agents with Chat Completions and Responses."""

import openai
import pytest
from pydantic_ai import Agent, BinaryContent, NativeOutput, PromptedOutput
from pydantic_ai.exceptions import ModelAPIError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import ToolCall
from tests.clients.conftest import CITY, DONE, MODEL, PNG, City, weather


@pytest.fixture(params=[OpenAIChatModel, OpenAIResponsesModel])
def model(gateway, request):
    """Return the model of an agent, for each of the APIs."""
    return request.param(MODEL, provider=OpenAIProvider(**gateway.openai))


def test_answer(model):
    result = Agent(model).run_sync("Hi")
    assert result.output == "Hello."
    assert result.usage.output_tokens == 5


def test_stream(model):
    assert list(Agent(model).run_stream_sync("Hi").stream_text())[-1] == "Hello."


def test_tools(gateway, model):
    gateway.play_tool_call()
    agent = Agent(model, tools=[weather])
    assert agent.run_sync("Hi").output == "It is sunny."
    gateway.check_tool_loop()


def test_image(gateway, model):
    Agent(model).run_sync(["What is this?", BinaryContent(PNG, media_type="image/png")])
    gateway.check_image()


KINDS = {"tool": City, "native": NativeOutput(City), "prompted": PromptedOutput(City)}


@pytest.mark.parametrize("kind", KINDS)
def test_output_type(gateway, model, kind):
    call = Chunk(tool_calls=(ToolCall("call_1", "final_result", CITY),))
    gateway.play([call if kind == "tool" else CITY, DONE])
    agent = Agent(model, output_type=KINDS[kind])
    assert agent.run_sync("Name a city.").output == City(name="Rome")


def test_failure(gateway, model, failure):
    attempts = gateway.attempts(failure)
    with pytest.raises(ModelAPIError, match=failure.message[:-1]):
        Agent(model).run_sync("Hi")
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, model):
    gateway.break_stream()
    with pytest.raises((ModelAPIError, openai.APIError), match="the provider is gone"):
        list(Agent(model).run_stream_sync("Hi").stream_text())
