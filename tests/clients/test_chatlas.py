"""Chatlas's chats with Chat Completions, Responses and Messages."""

import anthropic
import openai
import pytest
from chatlas import ChatAnthropic, ChatOpenAI, ChatOpenAICompletions, content_image_url

from tests.clients.conftest import CITY, DONE, IMAGE_URL, MODEL, City, weather


@pytest.fixture(params=["chat", "responses", "messages"])
def api(request):
    return request.param


@pytest.fixture
def chat(gateway, api):
    """Return a chat, for each of the APIs."""
    if api == "messages":
        kwargs = {"base_url": gateway.url}
        return ChatAnthropic(model=MODEL, api_key=str(gateway.token), kwargs=kwargs)
    kind = ChatOpenAICompletions if api == "chat" else ChatOpenAI
    return kind(model=MODEL, **gateway.openai)


def test_answer(chat):
    assert str(chat.chat("Hi", echo="none")) == "Hello."
    assert str(chat.chat("Hi", echo="none", stream=False)) == "Hello."


def test_stream(chat):
    assert "".join(chat.stream("Hi", echo="none")) == "Hello."


def test_tools(gateway, chat):
    gateway.play_tool_call()
    chat.register_tool(weather)
    assert "It is sunny." in str(chat.chat("Hi", echo="none"))
    gateway.check_tool_loop()


def test_image(gateway, chat):
    chat.chat("What is this?", content_image_url(IMAGE_URL), echo="none")
    gateway.check_image()


def test_structured(gateway, chat):
    gateway.play([CITY, DONE])
    assert chat.chat_structured("Name a city.", data_model=City) == City(name="Rome")


@pytest.mark.parametrize("streamed", [False, True])
def test_failure(gateway, chat, failure, streamed):
    attempts = gateway.attempts(failure)
    with pytest.raises(
        (openai.APIStatusError, anthropic.APIStatusError), match=failure.message[:-1]
    ):
        chat.chat("Hi", echo="none", stream=streamed)
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, chat, api):
    gateway.break_stream()
    with pytest.raises(Exception, match="the provider is gone"):
        chat.chat("Hi", echo="none")
