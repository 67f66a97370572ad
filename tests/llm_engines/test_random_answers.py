"""Random answers in the five dialects, truncated and mutated; `make soak` runs the full numbers."""

import copy
import json
import os
import random

import pytest

from gatewayx_nb.errors import GatewayError, TruncatedError
from gatewayx_nb.testing import DIALECTS, CloseConnection, Send, Server, head, reply
from tests.llm_engines.recordings import ANTHROPIC, COHERE

IS_SOAK = os.environ.get("SOAK") == "1"
CUTS = 5_000 if IS_SOAK else 250
"""Number of streams that are cut."""

MUTATIONS = 10_000 if IS_SOAK else 500
"""Number of mutated answers."""

BATCH = 50
"""Number of answers in one test, so that a failure names its seeds."""

KEY = "canary-0123456789-key"
ENGINES = {
    "chat": "deepseek",
    "responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "cohere": "cohere",
}
RECORDED_STREAMS = {"anthropic": ANTHROPIC.stream, "cohere": COHERE.stream}
RECORDED_BODIES = {"anthropic": ANTHROPIC.body, "cohere": COHERE.body}

CHARACTERS = ["a", " ", "\n", "é", "字", "🙂", "👩‍👧", '"', "\\", "\u2028", "\x00", "<", "}"]
VALUES = [None, True, 0, -1, 1e308, 2**70, "", "x" * 5_000, "\ud83d", [], [None], {}, {"a": 1}]
"""Values that replace another in a mutated answer."""

STATUSES = [200] * 4 + [201, 204, 206, 301, 400, 401, 403, 404, 408, 413, 422, 429, 500, 529]
CONTENT_TYPES = ["application/json", "text/event-stream", "text/html", "", "image/png"]


@pytest.fixture
def calls(project):
    """Yield a function that calls a dialect's engine, which gets the bytes as its response."""
    response = []
    with Server(lambda _: [*map(Send, response), CloseConnection()]) as server:
        lines = []
        for dialect, engine in ENGINES.items():
            path = "/v1" if dialect in ("chat", "responses") else ""
            variable = f"GATEWAYX_{engine.upper()}"
            lines += [f"{variable}_API_KEY={KEY}", f"{variable}_BASE_URL={server.url}{path}"]
        project.set_keys("\n".join(lines) + "\n")
        project.settings('limits.retries = 0\nengines.openai.api = "responses"')
        with project.pool() as pool:

            def call(dialect, data, *, streamed=True):
                response[:] = [data]
                model = f"{ENGINES[dialect]}:m"
                if not streamed:
                    return pool.ask("x", model)
                stream = pool.stream("x", model)
                list(stream)
                return stream.reply

            yield call


def random_text(source):
    """Return a text of 0 to 12 characters, some of which need an escape somewhere."""
    return "".join(source.choices(CHARACTERS, k=source.randrange(13)))


def random_stream(dialect, source):
    """Return the events of a stream with a random text before its end, and that text."""
    texts = [random_text(source) for _ in range(source.randrange(1, 5))]
    events = []
    for event in dialect.events:
        if b'"Hel"' in event:
            for text in texts:
                escaped = json.dumps(text, ensure_ascii=source.random() < 0.5)
                events += [event.replace(b'"Hel"', escaped.encode())]
                events += source.choices(dialect.ignorable, k=source.randrange(2))
        else:
            events.append(event)
    return events, "".join(texts) + "lo."


@pytest.mark.parametrize("first_seed", range(0, CUTS, BATCH))
def test_a_truncated_stream_is_an_error_with_the_beginning(calls, first_seed):
    """A stream that is truncated before its end mark never becomes a reply, wherever it ends."""
    for seed in range(first_seed, first_seed + BATCH):
        source = random.Random(seed)
        dialect = source.choice(DIALECTS)
        events, text = random_stream(dialect, source)
        data = b"".join(events)
        end = len(b"".join(events[: len(events) - len(dialect.events) + dialect.end + 1]).rstrip())
        length = source.randrange(len(data) + 1)
        response = head(content_type="text/event-stream", connection="close") + data[:length]
        try:
            answer, is_whole = calls(dialect.name, response).text, True
        except TruncatedError as error:
            answer, is_whole = error.partial, False

        where = f"seed {seed}: {dialect.name} cut at {length} of {end}"
        assert is_whole == (length >= end), where
        assert text.startswith(answer), where
        assert not is_whole or answer == text, where


def leaves(value, path=()):
    """Yield the path of each value inside a JSON document."""
    yield path
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        yield from leaves(item, (*path, key))


def with_random_value(document, source):
    """Return a JSON document in which one value is removed, doubled or replaced."""
    path = source.choice(list(leaves(document)))
    if not path:
        return copy.deepcopy(source.choice(VALUES))
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    match source.randrange(4):
        case 0:
            del parent[path[-1]]
        case 1:
            parent[path[-1]] = [parent[path[-1]], copy.deepcopy(parent[path[-1]])]
        case _:
            parent[path[-1]] = copy.deepcopy(source.choice(VALUES))
    return document


def mutate_json(data, source):
    """Return a body, or the data of an event, with one to three changed values."""
    document = json.loads(data)
    for _ in range(source.randrange(1, 4)):
        document = with_random_value(document, source)
        if not isinstance(document, dict | list):
            break
    return json.dumps(document).encode()


def mutate_events(events, source):
    """Return events that are changed inside, removed, doubled or in another order."""
    events = list(events)
    for _ in range(source.randrange(1, 4)):
        index = source.randrange(len(events))
        match source.randrange(5):
            case 0 if len(events) > 1:
                del events[index]
            case 1:
                events.insert(source.randrange(len(events)), events[index])
            case 2:
                source.shuffle(events)
            case _:
                name, mark, data = events[index].partition(b"data: ")
                if data.startswith(b"{"):
                    events[index] = name + mark + mutate_json(data, source) + b"\n\n"
    return events


def mutate_bytes(data, source):
    """Return bytes of which a few are changed, removed or repeated."""
    data = bytearray(data)
    for _ in range(source.randrange(1, 6)):
        index = source.randrange(len(data) or 1)
        match source.randrange(3):
            case 0:
                data[index : index + 1] = bytes([source.randrange(256)])
            case 1:
                del data[index : index + source.randrange(1, 20)]
            case _:
                data[index:index] = data[index : index + source.randrange(1, 200)]
    return bytes(data)


def mutated_answer(dialect, source):
    """Return a response, and whether the call that gets it is streamed."""
    streamed = source.random() < 0.6
    events = source.choice([dialect.events, RECORDED_STREAMS.get(dialect.name, dialect.events)])
    recorded_body = RECORDED_BODIES.get(dialect.name)
    bodies = [dialect.whole, dialect.fault, json.dumps(recorded_body or {}).encode()]
    if streamed:
        data = b"".join(mutate_events(events, source))
    else:
        data = mutate_json(source.choice(bodies), source)
    if source.random() < 0.3:
        data = mutate_bytes(data, source)
    kind = "text/event-stream" if streamed else "application/json"
    if source.random() < 0.1:
        kind = source.choice(CONTENT_TYPES)
    status = source.choice(STATUSES) if source.random() < 0.2 else 200
    # A body of the wrong kind: a whole answer to a streamed call, and the reverse.
    return reply(data, status, content_type=kind), streamed != (source.random() < 0.1)


@pytest.mark.parametrize("first_seed", range(0, MUTATIONS, BATCH))
def test_a_mutated_answer_is_a_reply_or_a_typed_error(calls, first_seed):
    """Whatever a provider sends, a call returns a reply that can be shown, or a `GatewayError`."""
    for seed in range(first_seed, first_seed + BATCH):
        source = random.Random(seed)
        dialect = source.choice(DIALECTS)
        response, streamed = mutated_answer(dialect, source)
        message = ""
        try:
            answer = calls(dialect.name, response, streamed=streamed)
        except GatewayError as error:
            message = str(error)
            shown = f"{message} {error.hint} {getattr(error, 'partial', '')!r}"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {dialect.name} raised {error!r}") from error
        else:
            shown = f"{answer!r} {answer} {answer._repr_mimebundle_()} {answer.to_dict()}"
            json.dumps(answer.to_dict())
        shown.encode()  # a lone surrogate cannot be encoded
        assert "\n" not in message, f"seed {seed}"
        assert KEY not in shown, f"seed {seed}"
