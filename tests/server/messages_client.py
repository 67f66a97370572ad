"""A client of the server's Messages API, and what its tests have in common."""

import base64
import json
from dataclasses import dataclass

import anthropic
import httpx

from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk, Usage
from gatewayx_nb.server.messages_api import MessagesAPI
from gatewayx_nb.server.request_fields import RequestFields
from gatewayx_nb.testing import ScriptedEngine

PNG = b"\x89PNG\r\n\x1a\n0000"


BASE64 = base64.b64encode(PNG).decode()


REMOTE = {"type": "url", "url": "https://example.com/a.png"}


HI = [{"role": "user", "content": "Hi"}]


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


WEATHER = {"name": "weather", "description": "The weather.", "input_schema": SCHEMA}


CALL = Chunk(tool_calls=(ToolCall("toolu_1", "weather", '{"city": "Rome"}'),))


STOP = Chunk(
    finish_reason="stop",
    usage=Usage(input_tokens=10, output_tokens=3, cached_tokens=4, cache_write_tokens=1),
)


class VisionEngine(ScriptedEngine):
    """A scripted engine that supports images."""

    features = ScriptedEngine.features | {"images"}


@dataclass(frozen=True)
class Connection:
    """Clients of a server: Anthropic's SDK, and a plain one that sends the token."""

    sdk: anthropic.Anthropic
    http: httpx.Client

    def create(self, model="scripted", **fields):
        """Return the answer to a request."""
        return self.sdk.messages.create(
            **{"model": model, "max_tokens": 50, "messages": HI} | fields
        )

    def raw_stream(self, **fields):
        """Return the response to a request for a stream."""
        body = {"model": "scripted", "max_tokens": 50, "messages": HI, "stream": True} | fields
        return self.http.post("/v1/messages", json=body)


def read(**fields):
    """Return the options of a call, read from a body with other fields."""
    body = {"model": "mock", "max_tokens": 50, "messages": HI} | fields
    return MessagesAPI().read(RequestFields(body)).options


def events_of(response):
    """Return the data of a stream's events, whose type is in both lines of each."""
    events = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def result_of(call_id):
    """Return the block with the result of a tool call."""
    return {"type": "tool_result", "tool_use_id": call_id}
