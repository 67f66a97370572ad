"""LangChain's `ChatOpenAI` and `OpenAIEmbeddings`."""

import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import ToolCall
from tests.clients.conftest import CITY, DONE, IMAGE_URL, MODEL, City
from tests.clients.conftest import weather as run_weather


@pytest.fixture(params=[False, True], ids=["chat", "responses"])
def chat(gateway, request):
    """Return a chat model, for each of the APIs that it can use."""
    return ChatOpenAI(model=MODEL, use_responses_api=request.param, **gateway.openai)


@tool
def weather(city: str) -> str:
    """Return the weather of a city."""
    return run_weather(city)


def test_answer(chat):
    answer = chat.invoke("Hi")
    assert answer.text == "Hello."
    assert answer.usage_metadata["total_tokens"] == 15


def test_stream(chat):
    assert "".join(chunk.text for chunk in chat.stream("Hi")) == "Hello."


def test_tools(gateway, chat):
    gateway.play_tool_call()
    model = chat.bind_tools([weather])
    messages = [HumanMessage("Hi")]
    answer = model.invoke(messages)
    messages += [answer, *(weather.invoke(call) for call in answer.tool_calls)]
    assert model.invoke(messages).text == "It is sunny."
    gateway.check_tool_loop()


def test_image(gateway, chat):
    text = {"type": "text", "text": "What is this?"}
    image = {"type": "image_url", "image_url": {"url": IMAGE_URL}}
    chat.invoke([HumanMessage([text, image])])
    gateway.check_image()


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output(gateway, chat, method):
    call = Chunk(tool_calls=(ToolCall("call_1", "City", CITY),))
    gateway.play([call if method == "function_calling" else CITY, DONE])
    structured = chat.with_structured_output(City, method=method)
    assert structured.invoke("Name a city as JSON.") == City(name="Rome")


@pytest.mark.parametrize("streamed", [False, True])
def test_failure(gateway, chat, failure, streamed):
    attempts = gateway.attempts(failure)
    with pytest.raises(openai.APIStatusError, match=failure.message[:-1]):
        list(chat.stream("Hi")) if streamed else chat.invoke("Hi")
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, chat):
    gateway.break_stream()
    with pytest.raises((openai.APIError, ValueError), match="the provider is gone"):
        list(chat.stream("Hi"))


def test_embeddings(gateway):
    embeddings = OpenAIEmbeddings(model=MODEL, check_embedding_ctx_length=False, **gateway.openai)
    assert embeddings.embed_documents(["a", "abc"]) == [[1.0, 0.5], [3.0, 0.5]]
    assert embeddings.embed_query("ab") == [2.0, 0.5]
