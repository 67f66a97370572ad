"""What the tests of the dialects share: an engine of a real pool that talks to a loopback server.

with Wire(folder, "openai") as wire:
    wire.answers(whole(BODY))
    answer = wire.ask(request("Hi"))     # what the engine made of it
    wire.sent                            # what it had asked
"""

import contextlib
import json
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from gatewayx_nb.llm_engines.faults import Faults
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.sse import Decoder
from tests.conftest import Project
from tests.servers import Send, Server, chunk, reply, stream_head

KEY = "canary-0123456789"


@dataclass(frozen=True)
class Answer:
    """What the chunks of an answer add up to."""

    text: str
    reasoning: str
    finish_reason: str | None
    usage: object
    model: str | None
    request_id: str | None
    tool_calls: tuple
    raw: dict | None


def summed(chunks):
    """Add chunks up; of usage and the like the last word holds."""
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
    """Give the event of a JSON object, or of a text as it is, without a name."""
    data = body if isinstance(body, str) else json.dumps(body)
    return f"data: {data}\n\n".encode()


def whole(body, status=200, **headers):
    """Give the script of a server that answers with a body."""
    data = body if isinstance(body, str) else json.dumps(body)
    return [Send(reply(data.encode(), status, **headers))]


def streamed(events, *end):
    """Give the script of a server that streams these events; it ends in good order or as told."""
    pieces = (Send(chunk(piece)) for piece in events)
    return [Send(stream_head()), *pieces, *(end or [Send(chunk(b""))])]


def request(*turns, streamed=False, **fields):
    """Give a request; texts are the turns of a conversation that the user began."""
    roles = ("user", "assistant")
    messages = tuple(
        turn if isinstance(turn, Message) else Message(roles[number % 2], turn)
        for number, turn in enumerate(turns)
    )
    return Request(messages, fields.pop("model", ""), streamed=streamed, **fields)


def parsed(parser, stream, size):
    """Give the chunks of a stream whose bytes come in blocks of one size; no server is in it."""
    decoder = Decoder()
    blocks = [stream[at : at + size] for at in range(0, len(stream), size)]
    events = [event for block in blocks for event in decoder.feed(block)] + decoder.close()
    return [chunk for event in events for chunk in parser.feed(event.data)]


def faults():
    """Give what a parser makes its errors with."""
    return Faults("engine", "model", KEY)


JUNK = [None, True, -1, 1.5, 10**30, "", "x", "STOP", "[", [], [None], [[]], {}, {"a": 1}, [{}]]


def damaged(rows):
    """Give a strategy of some of these bodies, each with junk in one place, as JSON."""
    damages = st.tuples(st.sampled_from(rows), st.integers(0, 80), st.sampled_from(JUNK))
    return st.lists(damages.map(lambda damage: json.dumps(_damage(*damage))), max_size=8)


def _damage(row, place, junk):
    """Put junk into the place of that number, counted through the tree."""
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
    """An engine of a project's pool whose base URL is a server that says what it is told.

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
        """Have the server answer by this script from now on."""
        self._script = script

    @property
    def seen(self):
        """The last request."""
        return self.server.requests[-1]

    @property
    def sent(self):
        """The JSON body of the last request."""
        return json.loads(self.seen.body)

    def run(self, work):
        """Give what a coroutine function of the engine gives, run where the engine runs."""
        target = self.pool._registry.resolve(self.name)
        host = self.pool._runtime.host(target)

        async def on_its_loop():
            async with host.use(target, 8) as engine:
                return await work(engine)

        return host.portal.run(on_its_loop())

    def chunks(self, asked):
        """Give the chunks that the engine makes of the server's answer to a request."""

        async def read(engine):
            model = asked.model or engine.model_name
            return [chunk async for chunk in engine.stream(replace(asked, model=model))]

        return self.run(read)

    def ask(self, asked):
        """Give the sum of those chunks."""
        return summed(self.chunks(asked))
