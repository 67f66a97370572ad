"""Shared by the tests of a dialect: an engine and a server that plays a script."""

import asyncio
import contextlib
import copy
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import GatewayError, TransportError, TruncatedError
from gatewayx_nb.messages import Image, Message, Request
from gatewayx_nb.replies import Chunk
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


class Wire:
    """A real pool with one engine, whose base URL is a server that plays the current script.

    Args:
        engine: Name of a shipped engine.
        root: An empty folder for the project.
        settings: Lines of the project's settings.
    """

    def __init__(self, engine, root, settings=""):
        self.engine = engine
        self._script = []
        self.server = Server(self._play)
        self.server.__enter__()
        project = Project(root)
        name = f"GATEWAYX_{engine.upper()}"
        project.set_keys(f"{name}_API_KEY={KEY}\n{name}_BASE_URL={self.server.url}\n")
        project.settings(f"limits.retries = 0\n{settings}")
        self.pool: EnginePool = project.pool()
        self._target = self.pool._registry.resolve(engine)
        self._host = self.pool._runtime.host(self._target)

    def close(self):
        """Close the pool and the server."""
        self.pool.close()
        self.server.__exit__()

    def _play(self, seen):
        return self._script(seen) if callable(self._script) else self._script

    def plays(self, *steps):
        """Answer every further request with these steps, or with the result of a function of it."""
        self._script = steps[0] if callable(steps[0]) else steps
        self.server.requests.clear()

    @property
    def sent(self):
        """The JSON body of the last request."""
        return json.loads(self.server.requests[-1].body)

    def ask(self, **options):
        """Call the pool's `ask`."""
        return self.pool.ask("Hi", model=self.engine, **options)

    def streamed_text(self, **options):
        """Stream a call through the pool and return the text."""
        stream = self.pool.stream("Hi", model=self.engine, **options)
        return "".join(chunk.text for chunk in stream)

    def run(self, use):
        """Return the result of an async function of the engine, run on the engine's event loop."""

        async def within():
            async with self._host.use(self._target, 8) as engine:
                return await use(engine)

        return self._host.portal.run(within())

    def chunks(self, *requests):
        """Return the chunks that the engine yields for one or several concurrent requests."""

        async def collect(engine, request):
            return [chunk async for chunk in engine.stream(request)]

        async def use(engine):
            return await asyncio.gather(*(collect(engine, request) for request in requests))

        answers = self.run(use)
        return answers[0] if len(answers) == 1 else answers


def asked(*messages, **fields):
    """Return a request; without messages its prompt is "Hi"."""
    fields = {"model": "m", "streamed": False} | fields
    return Request(messages=messages or (Message("user", "Hi"),), **fields)


def whole(body, status=200, **headers):
    """Return the step that answers with a JSON body or a text."""
    text = body if isinstance(body, str) else json.dumps(body)
    return Send(reply(text.encode(), status, **headers))


def streamed(blocks, *end):
    """Return the steps that answer with a stream, by default with a regular end."""
    return [
        Send(stream_head()),
        *(Send(chunk(block)) for block in blocks if block),
        *(end or [Send(chunk(b""))]),
    ]


PICTURES = (Image("image/png", b"\x89PNG"), Image("image/png", url="https://x/y.png"))


@dataclass(frozen=True)
class Call:
    """One call, in the terms of this package and of the vendor's SDK."""

    name: str
    ours: dict = field(default_factory=dict)
    theirs: dict = field(default_factory=dict)
    messages: tuple = (Message("user", "Hi"),)
    turns: tuple = ({"role": "user", "content": "Hi"},)


@dataclass(frozen=True)
class Answer:
    """The sum of an answer's chunks."""

    text: str
    reasoning: str
    finish_reason: str | None
    usage: object
    billed: object
    model: str | None
    tools: tuple


def folded(chunks: list[Chunk]) -> Answer:
    """Add up the chunks; the latest value wins for all but text."""

    def last(name):
        return next((getattr(c, name) for c in reversed(chunks) if getattr(c, name)), None)

    calls = [call for c in chunks for call in c.tool_calls]
    return Answer(
        text="".join(c.text for c in chunks),
        reasoning="".join(c.reasoning for c in chunks),
        finish_reason=last("finish_reason"),
        usage=last("usage"),
        billed=last("billed"),
        model=last("model"),
        tools=tuple((call.id, call.name, json.loads(call.arguments)) for call in calls),
    )


def read(parser, *blocks):
    """Return the chunks of a stream that arrives in these blocks, without a server."""
    decoder = Decoder()
    events = [event for block in blocks for event in decoder.feed(block)] + list(decoder.close())
    return [chunk for event in events for chunk in parser.feed(event.data)]


ENDS = (Send(chunk(b"")), CloseConnection(), Reset())
"""Ways a stream may end: regularly, by disconnection or by a reset."""


def assert_whole_and_streamed_are_the_same(wire, recording):
    """Check that both forms have the same sum, and return it.

    Text arrives in chunks only if streamed; only the whole form has the raw body.
    """
    wire.plays(whole(recording.whole, x_request_id="req_1"))
    once = wire.chunks(asked())
    wire.plays(*streamed(recording.stream))
    pieces = wire.chunks(asked(streamed=True))

    assert folded(once) == folded(pieces)
    assert folded(once).text == "Hello."
    assert folded(once).tools == (("call_1", "weather", {"place": "Zürich"}), ("call_2", "now", {}))
    assert [piece.text for piece in pieces if piece.text] == ["Hel", "lo."]
    assert [piece.raw for piece in once if piece.raw] == [recording.whole]
    assert not any(piece.raw for piece in pieces)
    assert once[0].request_id == "req_1"
    return folded(once)


def assert_no_cut_is_silent(wire, blocks, how):
    """Cut the blocks before the end mark, after each block and within some."""
    text = b"".join(blocks)
    cuts = [b"".join(blocks[:count]) for count in range(len(blocks) + 1)]
    for arrived in cuts + [text[:place] for place in range(1, len(text), 61)]:
        wire.plays(*streamed([arrived], how))
        with pytest.raises((TruncatedError, TransportError)) as caught:
            wire.streamed_text()
        partial = caught.value.partial
        if isinstance(how, Reset):  # a reset may overtake the data sent before it
            assert _said(arrived).startswith(partial)
        else:  # the last event may count although its blank line is missing
            assert partial in {_said(arrived), _said(arrived.rpartition(b"\n\n")[0])}


def _said(arrived):
    """Return the text in these bytes of a recorded stream."""
    return "Hel" * arrived.count(b'"Hel"}') + "lo." * arrived.count(b'"lo."}')


def assert_every_split_gives_the_same(wire, blocks, parser):
    """Check a stream that is split at every byte, and one that is sent byte by byte."""
    text = b"".join(blocks)
    expected = read(parser(), text)
    for place in range(1, len(text)):
        assert read(parser(), text[:place], text[place:]) == expected
    wire.plays(*streamed([text[place : place + 1] for place in range(len(text))]))
    assert wire.chunks(asked())[1:] == expected


def assert_streams_do_not_mix(wire, blocks):
    """Check two answers that arrive alternately on one engine."""
    middle = len(blocks) // 2

    def script(seen):
        name = json.loads(seen.body)["model"].encode()
        mine = [Send(chunk(block.replace(b"Hel", name))) for block in blocks]
        return [
            Send(stream_head()),
            *mine[:middle],
            WaitForRequests(2),
            *mine[middle:],
            Send(chunk(b"")),
        ]

    wire.plays(script)
    one, two = wire.chunks(asked(model="one", streamed=True), asked(model="two", streamed=True))
    assert (folded(one).text, folded(two).text) == ("onelo.", "twolo.")
    assert len(folded(one).tools) == len(folded(two).tools) == 2


def assert_no_raw_exception(parser, events):
    """Parse any events: exceptions must be typed, and yielded values must be text."""
    with contextlib.suppress(GatewayError):
        for event in events:
            for piece in parser.feed(event):
                assert isinstance(piece.text + piece.reasoning, str)


def _paths(value, path=""):
    """Yield the paths in a JSON value, for mutations."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in pairs:
        yield (*path, name) if path else (name,)
        if isinstance(inner, (dict, list)):
            yield from _paths(inner, (*path, name) if path else (name,))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@st.composite
def mutations(draw, bodies):
    """Draw one of these bodies, with up to three values replaced by arbitrary ones."""
    body = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_paths(body))))
        holder = body
        for name in path[:-1]:
            holder = holder[name]
        holder[path[-1]] = draw(ANYTHING)
    return json.dumps(body)
