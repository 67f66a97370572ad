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
class Oracle:
    """The SDK types for an answer and for a stream event."""

    dialect: DialectSample
    whole: object
    event: object


ORACLES = [
    Oracle(CHAT, ChatCompletion, ChatCompletionChunk),
    Oracle(RESPONSES, Response, ResponseStreamEvent),
    Oracle(ANTHROPIC, AnthropicMessage, RawMessageStreamEvent),
    Oracle(GEMINI, GenerateContentResponse, GenerateContentResponse),
    Oracle(COHERE, V2ChatResponse, V2ChatStreamResponse),
]


def _events(dialect):
    decoder = Decoder()
    events = [event for block in dialect.events for event in decoder.feed(block)]
    return [json.loads(event.data) for event in events if event.data != "[DONE]"]


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.dialect.name)
def test_the_vendors_types_accept_the_samples(oracle):
    """The SDK's types accept the whole answer and every stream event."""
    TypeAdapter(oracle.whole).validate_json(oracle.dialect.whole)
    for event in _events(oracle.dialect):
        TypeAdapter(oracle.event).validate_python(event)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_the_events_add_up_to_the_text(dialect):
    """Each chunk of text has its own event before the end marker, terminated by a blank line."""
    before = b"".join(dialect.events[: dialect.end])

    assert before.count(b'"Hel"') == before.count(b'"lo."') == 1
    assert dialects.TEXT.encode() in dialect.whole
    assert all(event.endswith(b"\n\n") for event in (*dialect.events, *dialect.idle))


def test_an_engine_has_the_dialect_of_its_nearest_base():
    """The dialect of an engine is that of its nearest base class, or none."""

    class Responses(LLMEngine):
        pass

    Responses.__name__ = "OpenAIResponsesEngine"

    assert dialect_of(type("Mine", (AnthropicMessagesEngine,), {})) is ANTHROPIC
    assert dialect_of(type("Mine", (Responses,), {})) is RESPONSES
    assert dialect_of(LLMEngine) is None
    assert not issubclass(GatewayError, LLMEngine)
