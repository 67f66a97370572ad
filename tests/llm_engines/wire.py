"""Connects an engine of a real pool to a scripted server, for the tests of the dialects.

with Wire(folder, "openai") as wire:
    wire.respond_with(body_script(BODY))
    answer = wire.get_answer(make_request("Hi"))  # the sum of the engine's chunks
    wire.request_body                                # the body of the engine's request
"""

import asyncio
import contextlib
import copy
import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import strategies as st

from gatewayx_nb.calls import PartialReply
from gatewayx_nb.errors import GatewayError, TransportError, TruncatedError
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.testing import (
    CloseConnection,
    Reset,
    Send,
    Server,
    WaitForRequests,
    chunk,
    reply,
    stream_head,
)
from gatewayx_nb.transport.sse import Decoder
from tests.conftest import Project

KEY = "canary-0123456789-key"

IMAGES = (Image("image/png", b"\x89PNG"), Image("image/png", url="https://x/y.png"))

ENGINES = {
    "chat": "grok",
    "responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "cohere": "cohere",
}
"""An engine of each dialect."""

FIELDS = ("text", "reasoning", "finish_reason", "usage", "model", "request_id", "tool_calls")
FIELDS += ("citations", "images", "logprobs", "carried")
"""What a reply holds of an answer."""

STREAM_ENDS = (Send(chunk(b"")), CloseConnection(), Reset())
"""Ends of a stream: the last chunk of HTTP's chunked encoding, a disconnection or a reset."""


class Wire:
    """An engine of a project's pool whose base URL points to a scripted server.

    Args:
        folder: An empty folder for the project.
        name: Name of the engine.
        path: Path of the base URL.
        settings: Lines of the project's settings.
    """

    def __init__(self, folder, name, path="", settings=""):
        self.name = name
        self._script = []
        self._stack = contextlib.ExitStack()
        self.server = self._stack.enter_context(Server(self._script_for))
        variable = f"GATEWAYX_{name.upper()}"
        project = Project(folder)
        project.set_keys(f"{variable}_API_KEY={KEY}\n{variable}_BASE_URL={self.server.url}{path}\n")
        project.settings(f"limits.retries = 0\n{settings}")
        self.pool = project.pool()
        self._stack.callback(self.pool.close)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._stack.close()

    def _script_for(self, request):
        return self._script(request) if callable(self._script) else self._script

    def respond_with(self, script):
        """Respond to further requests with these steps, or with those returned by a function."""
        self._script = script
        self.server.requests.clear()

    @property
    def last_request(self):
        """The last request."""
        return self.server.requests[-1]

    @property
    def request_body(self):
        """The JSON body of the last request."""
        return json.loads(self.last_request.body)

    def ask(self, **options):
        """Call the pool's `ask`."""
        return self.pool.ask("Hi", model=self.name, **options)

    def stream_text(self, **options):
        """Stream a call through the pool and return the text."""
        stream = self.pool.stream("Hi", model=self.name, **options)
        return "".join(chunk.text for chunk in stream)

    def run(self, coroutine_function):
        """Call an async function with the engine on its event loop, and return the result."""
        target = self.pool._registry.resolve(self.name)
        host = self.pool._runtime.host(target)

        async def run_on_engine_loop():
            async with host.acquire(target) as instance:
                return await coroutine_function(instance.engine)

        return host.portal.run(run_on_engine_loop())

    def get_chunks(self, *requests):
        """Return the chunks that the engine yields for one or several concurrent requests."""

        async def collect(engine, request):
            model = request.model or engine.model_name
            return [chunk async for chunk in engine.stream(replace(request, model=model))]

        async def collect_all(engine):
            return await asyncio.gather(*(collect(engine, request) for request in requests))

        chunk_lists = self.run(collect_all)
        return chunk_lists[0] if len(chunk_lists) == 1 else chunk_lists

    def get_answer(self, request):
        """Return the sum of the chunks for a request."""
        return sum_chunks(self.get_chunks(request))


@dataclass(frozen=True)
class SDKCall:
    """A call, with the options of this package and of the vendor's SDK."""

    name: str
    options: dict = field(default_factory=dict)
    sdk_options: dict = field(default_factory=dict)
    messages: tuple = (Message("user", "Hi"),)
    sdk_messages: tuple = ({"role": "user", "content": "Hi"},)


@dataclass(frozen=True)
class Answer:
    """The sum of an answer's chunks."""

    text: str
    reasoning: str
    finish_reason: str | None
    usage: object
    billed: object
    model: str | None
    request_id: str | None
    tool_calls: tuple
    raw: object

    @property
    def parsed_tool_calls(self):
        """The tool calls with parsed arguments."""
        return tuple((call.id, call.name, json.loads(call.arguments)) for call in self.tool_calls)

    @property
    def common_fields(self):
        """The fields that must be equal in a body and in a stream."""
        metadata = (self.finish_reason, self.usage, self.billed, self.model)
        return (self.text, self.reasoning, self.parsed_tool_calls, *metadata)


def sum_chunks(chunks):
    """Add chunks up; the last value overrides earlier ones, except for text and tool calls."""
    names = ("finish_reason", "usage", "billed", "model", "request_id", "raw")
    last_values = {
        name: next(filter(None, (getattr(chunk, name) for chunk in reversed(chunks))), None)
        for name in names
    }
    return Answer(
        text="".join(chunk.text for chunk in chunks),
        reasoning="".join(chunk.reasoning for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
        **last_values,
    )


def make_event(body):
    """Encode an unnamed event that contains a JSON object or a literal string."""
    data = body if isinstance(body, str) else json.dumps(body)
    return f"data: {data}\n\n".encode()


def body_script(body, status=200, **headers):
    """Return the script of a server that responds with a JSON body or a literal string."""
    data = body if isinstance(body, str) else json.dumps(body)
    return [Send(reply(data.encode(), status, **headers))]


def stream_script(events, *end):
    """Return the script of a server that streams these events and, by default, the last chunk."""
    steps = (Send(chunk(block)) for block in events if block)
    return [Send(stream_head()), *steps, *(end or [Send(chunk(b""))])]


def make_request(*messages, streamed=False, **fields):
    """Return a request; strings become messages of alternating roles, starting with the user."""
    roles = ("user", "assistant")
    history = tuple(
        message if isinstance(message, Message) else Message(roles[number % 2], message)
        for number, message in enumerate(messages or ["Hi"])
    )
    return Request(history, fields.pop("model", ""), streamed=streamed, **fields)


def make_errors():
    """Return the error factory that a parser needs."""
    return ProviderErrors("engine", "model", KEY)


def parse(parser, *blocks, is_complete=True):
    """Return the chunks of a stream that arrives in these blocks, without a server."""
    decoder = Decoder()
    events = [event for block in blocks for event in decoder.feed(block)]
    events += decoder.close() if is_complete else []
    parts = [event.data for event in events if not event.data.startswith("[DONE]")]
    return [chunk for part in parts for chunk in parser.feed(part)]


def check_body_and_stream(wire, recording):
    """Check that the body and the stream of a recording have the same sum, and return it.

    Only the stream splits its text into several chunks; `raw` holds the body or the list of events.
    """
    wire.respond_with(body_script(recording.body, x_request_id="req_1"))
    body_chunks = wire.get_chunks(make_request())
    wire.respond_with(stream_script(recording.stream))
    stream_chunks = wire.get_chunks(make_request(streamed=True))

    answer = sum_chunks(body_chunks)
    assert answer.common_fields == sum_chunks(stream_chunks).common_fields
    assert answer.text == "Hello."
    assert answer.parsed_tool_calls == (
        ("call_1", "weather", {"place": "Zürich"}),
        ("call_2", "now", {}),
    )
    assert [chunk.text for chunk in stream_chunks if chunk.text] == ["Hel", "lo."]
    assert [chunk.raw for chunk in body_chunks if chunk.raw] == [recording.body]
    assert [list(chunk.raw) for chunk in stream_chunks if chunk.raw] == [recording.events]
    assert body_chunks[0].request_id == "req_1"
    return answer


def check_truncated_streams(wire, events, parser_class):
    """Check that a stream truncated between or within events raises an error with its text.

    Args:
        wire: The engine.
        events: Events of the stream; the last one contains the end marker.
        parser_class: Class of the parser.
    """
    stream = b"".join(events)
    text = sum_chunks(parse(parser_class(make_errors()), stream)).text
    last_cut = len(stream.rstrip()) - 1
    event_ends = [len(b"".join(events[:count])) for count in range(len(events))]
    cuts = {
        *event_ends,
        *range(1, last_cut - len(events[-1].rstrip()), len(stream) // 40),
        last_cut,
    }
    for end in STREAM_ENDS:
        for cut in sorted(cuts):
            prefix = stream[:cut]
            wire.respond_with(stream_script([prefix], end))
            with pytest.raises((TruncatedError, TransportError)) as caught:
                wire.stream_text()
            partial = caught.value.partial
            assert text.startswith(partial)
            if not isinstance(end, Reset):  # a reset may overtake the data sent before it
                chunks = parse(parser_class(make_errors()), prefix, is_complete=False)
                assert partial.startswith(sum_chunks(chunks).text)


def check_block_boundaries(wire, parser_class, events):
    """Check that the chunks do not depend on how the bytes of a stream are split into blocks."""
    stream = b"".join(events)
    expected = parse(parser_class(make_errors()), stream)
    assert sum_chunks(expected).finish_reason
    for index in range(1, len(stream)):
        assert parse(parser_class(make_errors()), stream[:index], stream[index:]) == expected
    for size in (1, 2, 3, 7, 64, 1000):
        blocks = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert parse(parser_class(make_errors()), *blocks) == expected
    wire.respond_with(stream_script([stream[index : index + 1] for index in range(len(stream))]))
    # The last chunk has the events.
    assert wire.get_chunks(make_request(streamed=True))[:-1] == expected


def check_concurrent_streams(wire, events):
    """Check that two concurrent streams of an engine do not mix."""
    middle = len(events) // 2

    def script(request):
        name = b"one" if b'"one"' in request.body else b"two"
        steps = [Send(chunk(event.replace(b"Hel", name))) for event in events]
        head, end = Send(stream_head()), Send(chunk(b""))
        return [head, *steps[:middle], WaitForRequests(2), *steps[middle:], end]

    wire.respond_with(script)
    requests = (make_request(name, streamed=True) for name in ("one", "two"))
    first, second = (sum_chunks(chunks) for chunks in wire.get_chunks(*requests))
    assert (first.text, second.text) == ("onelo.", "twolo.")
    assert first.parsed_tool_calls == second.parsed_tool_calls


def check_no_raw_exception(parser, events):
    """Check that parsing events raises only typed errors, and that chunks contain text."""
    with contextlib.suppress(GatewayError):
        for data in events:
            for parsed_chunk in parser.feed(data):
                assert isinstance(parsed_chunk.text + parsed_chunk.reasoning, str)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
JSON_VALUES = st.recursive(
    SCALARS | st.sampled_from(["STOP", "[", -1, 1.5, 10**30]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=4), values),
    max_leaves=4,
)


def mutations(bodies):
    """Return a strategy for lists of events: damaged bodies, and arbitrary text."""
    return st.lists(_damaged_bodies(bodies) | st.text(max_size=20), max_size=8)


@st.composite
def _damaged_bodies(draw, bodies):
    """Draw one of these bodies, with up to three values replaced by arbitrary ones."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_paths(body))))
        container = body
        for name in path[:-1]:
            container = container[name]
        container[path[-1]] = draw(JSON_VALUES)
    return json.dumps(body)


def _paths(value, path=()):
    """Yield the path of each value inside a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in pairs:
        yield (*path, name)
        if isinstance(item, (dict, list)):
            yield from _paths(item, (*path, name))


def fields_of(parser, *events):
    """Return what a reply holds after these events, or the class of its error."""
    partial = PartialReply("e", "m")
    try:
        for data in events:
            for chunk_ in parser.feed(json.dumps(data)):
                partial.add(chunk_)
    except GatewayError as error:
        return type(error)
    reply_ = partial.reply()
    held = {name: getattr(reply_, name) for name in FIELDS}
    return held | {"billed": partial.billed_usage, "finished": parser.finished}
