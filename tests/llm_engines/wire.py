"""Shared by the tests of the dialects: an engine of a real pool and a scripted server.

with Wire(folder, "openai") as wire:
    wire.answers(whole(BODY))
    answer = wire.answer(request("Hi"))  # the sum of the engine's chunks
    wire.sent                            # the body of its request
"""

import asyncio
import contextlib
import copy
import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import strategies as st

from gatewayx_nb.errors import GatewayError, TransportError, TruncatedError
from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
from gatewayx_nb.messages import Image, Message, Request
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

PICTURES = (Image("image/png", b"\x89PNG"), Image("image/png", url="https://x/y.png"))

ENDS = (Send(chunk(b"")), CloseConnection(), Reset())
"""Ways a stream may end: regularly, by disconnection or by a reset."""


class Wire:
    """An engine of a project's pool whose base URL is a scripted server.

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
        self.server = self._stack.enter_context(Server(self._play))
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

    def _play(self, request):
        return self._script(request) if callable(self._script) else self._script

    def answers(self, script):
        """Answer every further request with these steps, or with those a function of it returns."""
        self._script = script
        self.server.requests.clear()

    @property
    def last_request(self):
        """The last request."""
        return self.server.requests[-1]

    @property
    def sent(self):
        """The JSON body of the last request."""
        return json.loads(self.last_request.body)

    def ask(self, **options):
        """Call the pool's `ask`."""
        return self.pool.ask("Hi", model=self.name, **options)

    def streamed_text(self, **options):
        """Stream a call through the pool and return the text."""
        stream = self.pool.stream("Hi", model=self.name, **options)
        return "".join(piece.text for piece in stream)

    def run(self, work):
        """Return the result of an async function of the engine, run on the engine's event loop."""
        target = self.pool._registry.resolve(self.name)
        host = self.pool._runtime.host(target)

        async def on_its_loop():
            async with host.use(target, 8) as engine:
                return await work(engine)

        return host.portal.run(on_its_loop())

    def chunks(self, *requests):
        """Return the chunks that the engine yields for one or several concurrent requests."""

        async def collect(engine, one):
            model = one.model or engine.model_name
            return [piece async for piece in engine.stream(replace(one, model=model))]

        async def work(engine):
            return await asyncio.gather(*(collect(engine, one) for one in requests))

        answers = self.run(work)
        return answers[0] if len(answers) == 1 else answers

    def answer(self, one):
        """Return the sum of the chunks for a request."""
        return summed(self.chunks(one))


@dataclass(frozen=True)
class SDKCall:
    """One call, in the terms of this package and of the vendor's SDK."""

    name: str
    ours: dict = field(default_factory=dict)
    theirs: dict = field(default_factory=dict)
    messages: tuple = (Message("user", "Hi"),)
    turns: tuple = ({"role": "user", "content": "Hi"},)


@dataclass(frozen=True)
class Sum:
    """The sum of an answer's chunks."""

    text: str
    reasoning: str
    finish_reason: str | None
    usage: object
    billed: object
    model: str | None
    request_id: str | None
    tool_calls: tuple
    raw: dict | None

    @property
    def tools(self):
        """The tool calls with parsed arguments."""
        return tuple((one.id, one.name, json.loads(one.arguments)) for one in self.tool_calls)

    @property
    def content(self):
        """What must not depend on whether the answer was streamed."""
        figures = (self.finish_reason, self.usage, self.billed, self.model)
        return (self.text, self.reasoning, self.tools, *figures)


def summed(chunks):
    """Add chunks up; the latest value wins for all but text and tool calls."""
    names = ("finish_reason", "usage", "billed", "model", "request_id", "raw")
    last = {
        name: next(filter(None, (getattr(piece, name) for piece in reversed(chunks))), None)
        for name in names
    }
    return Sum(
        text="".join(piece.text for piece in chunks),
        reasoning="".join(piece.reasoning for piece in chunks),
        tool_calls=tuple(call for piece in chunks for call in piece.tool_calls),
        **last,
    )


def event(body):
    """Return an unnamed event with a JSON object or with a literal text."""
    data = body if isinstance(body, str) else json.dumps(body)
    return f"data: {data}\n\n".encode()


def whole(body, status=200, **headers):
    """Return the script of a server that answers with a JSON body or a text."""
    data = body if isinstance(body, str) else json.dumps(body)
    return [Send(reply(data.encode(), status, **headers))]


def streamed(events, *end):
    """Return the script of a server that streams these events, by default with a regular end."""
    parts = (Send(chunk(piece)) for piece in events if piece)
    return [Send(stream_head()), *parts, *(end or [Send(chunk(b""))])]


def request(*turns, streamed=False, **fields):
    """Return a request; texts are alternating messages, starting with the user's."""
    roles = ("user", "assistant")
    messages = tuple(
        turn if isinstance(turn, Message) else Message(roles[number % 2], turn)
        for number, turn in enumerate(turns or ["Hi"])
    )
    return Request(messages, fields.pop("model", ""), streamed=streamed, **fields)


def errors():
    """Return the error factory that a parser uses."""
    return ProviderErrors("engine", "model", KEY)


def parsed(parser, *blocks, is_complete=True):
    """Return the chunks of a stream that arrives in these blocks, without a server."""
    decoder = Decoder()
    events = [event for block in blocks for event in decoder.feed(block)]
    events += decoder.close() if is_complete else []
    return [piece for event in events for piece in parser.feed(event.data)]


def check_whole_and_streamed(wire, recording):
    """Check that both forms of a recording have the same sum, and return it.

    Text arrives in chunks only if streamed; only the whole form has the raw body.
    """
    wire.answers(whole(recording.whole, x_request_id="req_1"))
    once = wire.chunks(request())
    wire.answers(streamed(recording.stream))
    parts = wire.chunks(request(streamed=True))

    assert summed(once).content == summed(parts).content
    assert summed(once).text == "Hello."
    assert summed(once).tools == (("call_1", "weather", {"place": "Zürich"}), ("call_2", "now", {}))
    assert [piece.text for piece in parts if piece.text] == ["Hel", "lo."]
    assert [piece.raw for piece in once if piece.raw] == [recording.whole]
    assert not any(piece.raw for piece in parts)
    assert once[0].request_id == "req_1"
    return summed(once)


def check_cuts(wire, events, parser_of):
    """Check that a stream cut between or within events raises an error with the received text.

    Args:
        wire: The engine.
        events: Events of the stream; the last one holds the end marker.
        parser_of: Returns a parser, given its errors.
    """
    stream = b"".join(events)
    text = summed(parsed(parser_of(errors()), stream)).text
    marked = len(stream.rstrip()) - 1
    between = [len(b"".join(events[:count])) for count in range(len(events))]
    places = {*between, *range(1, marked - len(events[-1].rstrip()), len(stream) // 40), marked}
    for end in ENDS:
        for place in sorted(places):
            arrived = stream[:place]
            wire.answers(streamed([arrived], end))
            with pytest.raises((TruncatedError, TransportError)) as caught:
                wire.streamed_text()
            partial = caught.value.partial
            assert text.startswith(partial)
            if not isinstance(end, Reset):  # a reset may overtake the data sent before it
                known = parsed(parser_of(errors()), arrived, is_complete=False)
                assert partial.startswith(summed(known).text)


def check_splits(wire, parser_of, events):
    """Check that the chunks do not depend on how the bytes of a stream are split."""
    stream = b"".join(events)
    expected = parsed(parser_of(errors()), stream)
    assert summed(expected).finish_reason
    for place in range(1, len(stream)):
        assert parsed(parser_of(errors()), stream[:place], stream[place:]) == expected
    for size in (1, 2, 3, 7, 64, 1000):
        blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert parsed(parser_of(errors()), *blocks) == expected
    wire.answers(streamed([stream[place : place + 1] for place in range(len(stream))]))
    assert wire.chunks(request(streamed=True))[1:] == expected


def check_at_once(wire, events):
    """Check that two answers that arrive alternately on one engine do not mix."""
    middle = len(events) // 2

    def script(request):
        name = b"one" if b'"one"' in request.body else b"two"
        mine = [Send(chunk(one.replace(b"Hel", name))) for one in events]
        head, end = Send(stream_head()), Send(chunk(b""))
        return [head, *mine[:middle], WaitForRequests(2), *mine[middle:], end]

    wire.answers(script)
    requests = (request(name, streamed=True) for name in ("one", "two"))
    one, two = (summed(chunks) for chunks in wire.chunks(*requests))
    assert (one.text, two.text) == ("onelo.", "twolo.")
    assert one.tools == two.tools


def check_no_raw_exception(parser, events):
    """Parse any events: exceptions must be typed, and yielded values must be text."""
    with contextlib.suppress(GatewayError):
        for data in events:
            for piece in parser.feed(data):
                assert isinstance(piece.text + piece.reasoning, str)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(["STOP", "[", -1, 1.5, 10**30]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def mutations(bodies):
    """Return a strategy of lists of events: damaged bodies, and any text."""
    return st.lists(_damaged(bodies) | st.text(max_size=20), max_size=8)


@st.composite
def _damaged(draw, bodies):
    """Draw one of these bodies, with up to three values replaced by arbitrary ones."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_paths(body))))
        holder = body
        for name in path[:-1]:
            holder = holder[name]
        holder[path[-1]] = draw(ANYTHING)
    return json.dumps(body)


def _paths(value, path=()):
    """Yield the paths in a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in pairs:
        yield (*path, name)
        if isinstance(inner, (dict, list)):
            yield from _paths(inner, (*path, name))
