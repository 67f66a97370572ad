"""The vendors' SDKs parse the test server's dialects."""

import json
from dataclasses import dataclass

import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from cohere.v2.types import V2ChatResponse, V2ChatStreamResponse
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.llm_engines import AnthropicMessagesEngine, LLMEngine
from gatewayx_nb.testing import (
    ANTHROPIC,
    CHAT,
    COHERE,
    DIALECTS,
    GEMINI,
    RESPONSES,
    DialectSample,
    dialect_of,
    dialects,
)
from gatewayx_nb.transport.sse import Decoder


@dataclass(frozen=True)
class SdkTypes:
    """A dialect, and its vendor's types for an answer and a stream event."""

    dialect: DialectSample
    answer: object
    event: object


SDK_TYPES = [
    SdkTypes(CHAT, ChatCompletion, ChatCompletionChunk),
    SdkTypes(RESPONSES, Response, ResponseStreamEvent),
    SdkTypes(ANTHROPIC, AnthropicMessage, RawMessageStreamEvent),
    SdkTypes(GEMINI, GenerateContentResponse, GenerateContentResponse),
    SdkTypes(COHERE, V2ChatResponse, V2ChatStreamResponse),
]


def _events(*blocks):
    decoder = Decoder()
    events = [event for block in blocks for event in decoder.feed(block)]
    return [json.loads(event.data) for event in events if event.data != "[DONE]"]


@pytest.mark.parametrize("sdk_types", SDK_TYPES, ids=lambda sdk_types: sdk_types.dialect.name)
def test_the_vendors_types_accept_the_samples(sdk_types):
    """The vendor's types accept a dialect's answer and each of its stream events."""
    dialect = sdk_types.dialect
    for body in (dialect.whole, dialect.call):
        TypeAdapter(sdk_types.answer).validate_json(body)
    for event in _events(*dialect.events, *dialect.call_events):
        TypeAdapter(sdk_types.event).validate_python(event)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_each_chunk_of_text_has_its_own_event(dialect):
    """Each chunk of text is in one event before the end; each event ends in a blank line."""
    events_before_end = b"".join(dialect.events[: dialect.end])

    assert events_before_end.count(b'"Hel"') == events_before_end.count(b'"lo."') == 1
    assert dialects.TEXT.encode() in dialect.whole
    assert all(event.endswith(b"\n\n") for event in (*dialect.events, *dialect.ignorable))


def test_an_engine_has_the_dialect_of_its_nearest_base():
    """The dialect of an engine is that of its nearest base class that has one, or `None`."""

    class ResponsesEngine(LLMEngine):
        pass

    ResponsesEngine.__name__ = "OpenAIResponsesEngine"

    assert dialect_of(type("Mine", (AnthropicMessagesEngine,), {})) is ANTHROPIC
    assert dialect_of(type("Mine", (ResponsesEngine,), {})) is RESPONSES
    assert dialect_of(LLMEngine) is None
    assert not issubclass(GatewayError, LLMEngine)
