"""A server whose engine plays scripts, for the clients of other libraries."""

import base64

import pydantic
import pytest

from gatewayx_nb import serve
from gatewayx_nb.errors import GatewayError, ProviderError, RateLimitError
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Usage
from gatewayx_nb.testing import ScriptedEngine

MODEL = "scripted"
MESSAGES = [{"role": "user", "content": "Hi"}]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
IMAGE_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
DONE = Chunk(finish_reason="stop", usage=Usage(10, 5, 4, None, 2))
CITY = '{"name": "Rome"}'


class City(pydantic.BaseModel):
    """A city."""

    name: str


class ClientEngine(ScriptedEngine):
    """An engine that plays scripts, accepts images, and embeds texts as their lengths."""

    features = frozenset({"system", "history", "images", "schema", "tools", "embed"})
    name = MODEL
    embedding_model = "lengths"

    async def embed(self, texts, model):
        return [[float(len(text)), 0.5] for text in texts]


class Gateway:
    """A server with the engine whose answers it passes on.

    Attributes:
        url: The root URL of the server.
        openai: The options of clients for OpenAI's APIs.
        anthropic: The options of clients for Anthropic's API.
        engine: The engine.
    """

    def __init__(self, pool, server, engine):
        self._pool, self.engine = pool, engine
        self.url, self.openai, self.anthropic = server.url, server.openai, server.anthropic
        self.token = str(server.token)

    def play(self, *scripts):
        """Set the scripts of the next calls."""
        self.engine.scripts = [list(script) for script in scripts]

    def play_tool_call(self):
        """Let the first call ask for the weather, and the second one answer."""
        call = ToolCall("call_1", "weather", '{"city": "Rome"}')
        ask = [Chunk(tool_calls=(call,)), Chunk(finish_reason="tool_calls")]
        self.play(ask, ["It is sunny.", DONE])

    def attempts(self, failure):
        """Let all calls fail; return the number of attempts that the pool itself makes."""
        self.play([failure])
        with pytest.raises(GatewayError):
            self._pool.ask("Hi", model=MODEL)
        attempts = len(self.engine.requests)
        self.engine.requests.clear()
        return attempts

    def break_stream(self):
        """Let all calls fail after a piece of text."""
        self.play(["Hel", ProviderError("the provider is gone.")])

    def check_tool_loop(self):
        """Check that the tool and then its result have reached the engine."""
        first, second = self.engine.requests
        assert first.tools[0].name == "weather"
        assert "city" in first.tools[0].parameters["properties"]
        (call,) = second.messages[-2].tool_calls
        (result,) = second.messages[-1].tool_results
        assert (result.id, result.content) == (call.id, "sunny in Rome")

    def check_image(self):
        """Check that the image has reached the engine."""
        (image,) = [
            part
            for message in self.engine.requests[-1].messages
            for part in message.parts
            if isinstance(part, Image)
        ]
        assert image.data == PNG


@pytest.fixture
def gateway(project):
    """Yield a server whose engine answers "Hello." in two chunks; its pool retries once."""
    project.settings("limits.retries = 1")
    engine = ClientEngine(["Hel", "lo.", DONE])
    with project.pool(engines=[engine]) as pool:
        server = serve(pool)
        yield Gateway(pool, server, engine)
        server.close()


FAILURES = [
    RateLimitError("slow down.", retry_after=0.01),
    ProviderError("broken.", status=503, retry_after=0.01),
]
"""Errors that the pool retries, and clients would."""


@pytest.fixture(params=FAILURES, ids=lambda failure: type(failure).__name__)
def failure(request):
    """Return an error that the pool retries."""
    return request.param


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {city}"


WEATHER = {
    "name": "weather",
    "description": "Return the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
"""`weather` as OpenAI's APIs describe a function."""
