"""A client of the server's Responses API, and what its tests have in common."""

import base64
import json
from dataclasses import dataclass

import httpx
import openai
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from gatewayx_nb.llm_engines import Chunk, Usage
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.testing import ScriptedEngine
from tests.test_images import PNG

PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


CALL = ToolCall("call_1", "weather", '{"city": "Rome"}')


CALL_ITEM = {
    "type": "function_call",
    "call_id": CALL.id,
    "name": CALL.name,
    "arguments": CALL.arguments,
}


OUTPUT_ITEM = {"type": "function_call_output", "call_id": CALL.id, "output": "sunny"}


QUESTION = {"role": "user", "content": "Why?"}


WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Return the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": False,
}


USAGE = Usage(
    input_tokens=7, output_tokens=5, cached_tokens=3, cache_write_tokens=1, reasoning_tokens=2
)


END = Chunk(finish_reason="stop", usage=USAGE)


CITY_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


EVENT = TypeAdapter(ResponseStreamEvent)


class City(BaseModel):
    """The value of a structured answer."""

    name: str


class VisionEngine(ScriptedEngine):
    """A scripted engine that accepts images."""

    features = ScriptedEngine.features | {"images"}


@dataclass
class Served:
    """A server with one engine, a client of OpenAI's SDK and a plain client."""

    engine: ScriptedEngine
    openai: openai.OpenAI
    http: httpx.Client

    def play(self, *scripts):
        """Set the scripts of the next calls, and forget the requests of earlier ones."""
        self.engine.scripts = list(scripts)
        self.engine.requests.clear()

    def create(self, **body):
        """Send a request and return the response as the SDK parses it."""
        return self.openai.responses.create(**{"model": "vision", "input": "Hi"} | body)

    def post(self, **body):
        """Send a request and return the HTTP response."""
        return self.http.post("/responses", json={"model": "vision", "input": "Hi"} | body)

    def events(self, **body):
        """Return the events of a stream, each checked against its type in the SDK."""
        return list(read_events(self.post(stream=True, **body).raise_for_status().text))


def read_events(text):
    """Yield the events of a stream."""
    for number, block in enumerate(text.strip().split("\n\n")):
        kind, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert kind == f"event: {event['type']}"
        assert event["sequence_number"] == number
        if event["type"] != "response.failed":  # the SDK knows only the codes of OpenAI
            EVENT.validate_python(event)
        yield event


def types_of(events):
    """Return the types of events, without the prefix that all have."""
    return [event["type"].removeprefix("response.") for event in events]
