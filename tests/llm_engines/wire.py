"""Shared by the tests of the dialects: an engine of a real pool and a loopback server.

with Wire(folder, "openai") as wire:
    wire.answers(whole(BODY))
    answer = wire.ask(request("Hi"))     # the sum of the engine's chunks
    wire.sent                            # the body of its request
"""

import contextlib
import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import strategies as st

from gatewayx_nb.errors import TransportError, TruncatedError
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

KEY = "canary-0123456789"


@dataclass(frozen=True)
class Answer:
    """The sum of an answer's chunks."""

    text: str
    reasoning: str
    finish_reason: str | None
    usage: object
    model: str | None
    request_id: str | None
    tool_calls: tuple
    raw: dict | None


def summed(chunks):
    """Add chunks up; the latest usage and the like win."""
    last = {
        name: next(filter(None, (getattr(chunk, name) for chunk in reversed(chunks))), None)
        for name in ("finish_reason", "usage", "model", "request_id", "raw")
    }
    return Answer(
        text="".join(chunk.text for chunk in chunks),
        reasoning="".join(chunk.reasoning for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
        **last,
    )


def event(body):
    """Return an unnamed event with a JSON object or with a literal text."""
    data = body if isinstance(body, str) else json.dumps(body)
    return f"data: {data}\n\n".encode()


def whole(body, status=200, **headers):
    """Return the script of a server that answers with a body."""
    data = body if isinstance(body, str) else json.dumps(body)
    return [Send(reply(data.encode(), status, **headers))]


def streamed(events, *end):
    """Return the script of a server that streams these events, by default with a regular end."""
    pieces = (Send(chunk(piece)) for piece in events)
    return [Send(stream_head()), *pieces, *(end or [Send(chunk(b""))])]


def request(*turns, streamed=False, **fields):
    """Return a request; texts are alternating messages, starting with the user's."""
    roles = ("user", "assistant")
    messages = tuple(
        turn if isinstance(turn, Message) else Message(roles[number % 2], turn)
        for number, turn in enumerate(turns)
    )
    return Request(messages, fields.pop("model", ""), streamed=streamed, **fields)


def parsed(parser, stream, size):
    """Return the chunks of a stream that arrives in blocks of one size, without a server."""
    decoder = Decoder()
    blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
    events = [event for block in blocks for event in decoder.feed(block)] + decoder.close()
    return [chunk for event in events for chunk in parser.feed(event.data)]


def faults():
    """Return the error factory that a parser uses."""
    return ProviderErrors("engine", "model", KEY)


def partial_of_cut(wire, script):
    """Check that a cut stream raises an error; return the partial text."""
    wire.answers(script)
    with pytest.raises((TruncatedError, TransportError)) as caught:
        list(wire.pool.stream("Hi", model=wire.name))
    return caught.value.partial


def check_cuts(wire, events, text):
    """Check that a stream cut at any event, or at forty places within them, raises an error.

    Args:
        wire: The engine.
        events: Events of the stream; the last one holds the end mark.
        text: Text of the whole answer.
    """
    for end in (Send(chunk(b"")), CloseConnection(), Reset()):
        for count in range(len(events)):
            assert text.startswith(partial_of_cut(wire, streamed(events[:count], end)))
    stream = b"".join(events)
    last = len(stream) - len(events[-1].rstrip())
    for at in [*range(1, last, last // 40), len(stream.rstrip()) - 1]:
        assert text.startswith(partial_of_cut(wire, streamed([stream[:at]])))


def check_splits(parser_of, events):
    """Check that the chunks do not depend on how the bytes of a stream are split."""
    stream = b"".join(events)
    expected = parsed(parser_of(faults()), stream, len(stream))
    assert summed(expected).finish_reason
    for size in (1, 2, 3, 7, 64, 1000):
        assert parsed(parser_of(faults()), stream, size) == expected


def check_at_once(wire, piece, last):
    """Check that two streams read in turns do not mix.

    Args:
        wire: The engine.
        piece: Returns the event of a text.
        last: The event that ends a stream.
    """
    count = len(wire.server.requests)

    def answer(seen):
        name = "first" if b'"first"' in seen.body else "second"
        pieces = [Send(chunk(row)) for row in [*[piece(name)] * 3, last]]
        return [
            Send(stream_head()),
            pieces[0],
            WaitForRequests(count + 2),
            *pieces[1:],
            Send(chunk(b"")),
        ]

    wire.answers(answer)
    one, two = (wire.pool.stream(name, model=wire.name) for name in ("first", "second"))
    for first, second in zip(one, two, strict=True):
        assert first.text in {"", "first"}
        assert second.text in {"", "second"}
    assert (one.reply.text, two.reply.text) == ("first" * 3, "second" * 3)


JUNK = [None, True, -1, 1.5, 10**30, "", "x", "STOP", "[", [], [None], [[]], {}, {"a": 1}, [{}]]


def damaged(rows):
    """Return a strategy of these bodies as JSON, each with junk in one place."""
    damages = st.tuples(st.sampled_from(rows), st.integers(0, 80), st.sampled_from(JUNK))
    return st.lists(damages.map(lambda damage: json.dumps(_damage(*damage))), max_size=8)


def _damage(row, place, junk):
    """Replace the node of that number, counted through the tree, with junk."""
    copy = json.loads(json.dumps(row))
    places = list(_places(copy))
    holder, name = places[place % len(places)]
    holder[name] = junk
    return copy


def _places(tree):
    names = tree if isinstance(tree, dict) else range(len(tree))
    for name in list(names):
        yield tree, name
        if isinstance(tree[name], (dict, list)):
            yield from _places(tree[name])


class Wire:
    """An engine of a project's pool whose base URL is a scripted server.

    Attributes:
        server: The server.
        pool: The pool.
        name: The engine's name.
    """

    def __init__(self, folder, name, path="", settings=""):
        self.name = name
        self._script = []
        self._stack = contextlib.ExitStack()
        self.server = self._stack.enter_context(Server(self._say))
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

    def _say(self, seen):
        return self._script(seen) if callable(self._script) else self._script

    def answers(self, script):
        """Set the script of the server."""
        self._script = script

    @property
    def seen(self):
        """Return the last request."""
        return self.server.requests[-1]

    @property
    def sent(self):
        """The JSON body of the last request."""
        return json.loads(self.seen.body)

    def run(self, work):
        """Return the result of an async function of the engine, run on the engine's event loop."""
        target = self.pool._registry.resolve(self.name)
        host = self.pool._runtime.host(target)

        async def on_its_loop():
            async with host.use(target, 8) as engine:
                return await work(engine)

        return host.portal.run(on_its_loop())

    def chunks(self, asked):
        """Return the chunks that the engine yields for a request."""

        async def read(engine):
            model = asked.model or engine.model_name
            return [chunk async for chunk in engine.stream(replace(asked, model=model))]

        return self.run(read)

    def ask(self, asked):
        """Return the sum of those chunks."""
        return summed(self.chunks(asked))
