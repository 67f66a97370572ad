"""Whatever an engine raises or returns becomes a typed error, wherever its code runs."""

import asyncio
import base64
import dataclasses
import itertools
import json
import pickle
import re
import subprocess
import sys
import traceback
from enum import IntEnum
from types import SimpleNamespace

import pytest

from gatewayx_nb import llm_engines
from gatewayx_nb.engine_pool import EnginePool, chunk_check, runtime
from gatewayx_nb.errors import DeadlineError, GatewayError, ProviderError, TruncatedError
from gatewayx_nb.hints import Hint
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import Chunk, LLMEngine
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Citation, Details, Logprob, RateLimits, Reply, Usage
from gatewayx_nb.testing import (
    DIALECTS,
    CloseConnection,
    ScriptedEngine,
    Send,
    Server,
    chunk,
    reply,
    stream_head,
)
from tests.canary import KEY, leaks

RAISES = {
    "ValueError": "raise ValueError('x')",
    "BaseException": "raise type('Odd', (BaseException,), {})()",
    "group": "raise BaseExceptionGroup('x', [KeyboardInterrupt(), ValueError('y')])",
    "GeneratorExit": "raise GeneratorExit",
    "SystemExit": "raise SystemExit(3)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "CancelledError": "raise __import__('asyncio').CancelledError",
    "StopIteration": "raise StopIteration",
    "TimeoutError": "raise TimeoutError",
    "__str__": (
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0,"
        " '__repr__': lambda self: 1 / 0})"
    ),
    "__getattribute__": (
        "def stop(self, name):\n"
        "            raise SystemExit(name)\n"
        "        raise type('Odd', (Exception,), {'__getattribute__': stop})"
    ),
    "metaclass": (
        "def stop(self, name):\n"
        "            raise KeyboardInterrupt(name)\n"
        "        raise type('Meta', (type,), {'__getattribute__': stop})('Odd', (Exception,), {})"
    ),
    "GatewayError": (
        "from gatewayx_nb.errors import GatewayError\n"
        "        raise type('Odd', (GatewayError,), {'__init__': lambda self: None})()"
    ),
    "task": (
        "import asyncio\n"
        "        async def stop():\n"
        "            raise SystemExit(3)\n"
        "        task = asyncio.get_running_loop().create_task(stop())\n"
        "        await task"
    ),
}

PLACES = {
    "stream": ("async def stream(self, request)", "yield", lambda pool: pool.ask("x", "bad")),
    "generate": (
        "async def generate(self, prompt, **kwargs)",
        "return 'x'",
        lambda pool: list(pool.stream("x", "bad")),
    ),
    "plain generate": (
        "def generate(self, prompt, **kwargs)",
        "return 'x'",
        lambda pool: pool.ask("x", "bad"),
    ),
    "price": ("def get_cost_per_token(self)", "", lambda pool: pool.ask("x", "bad")),
    "models": ("async def models(self)", "", lambda pool: pool.models("bad", live=True)),
    "no model": (
        "model_name = ''\n    async def models(self)",
        "",
        lambda pool: pool.ask("x", "bad"),
    ),
    "embed": ("async def embed(self, texts, model)", "", lambda pool: pool.embed(["x"], "bad")),
    "tokens": ("async def count_tokens(self, request)", "", lambda pool: pool.preview("x", "bad")),
    "schema": (
        "features = frozenset({'schema'})\n    def enforceable_schema(self, request)",
        "",
        lambda pool: pool.ask("x", "bad", schema=int),
    ),
    "cache": (
        "def may_write_cache(self, request)",
        "",
        lambda pool: pool.ask("x", "bad", max_cost=1),
    ),
    "constructor": (
        "def __init__(self, *args, **kwargs)",
        "",
        lambda pool: pool.ask("x", "bad"),
    ),
    "property": (
        "@property\n    def model_name(self)",
        "",
        lambda pool: pool.ask("x", "bad"),
    ),
}

OTHER = "    async def generate(self, prompt, **kwargs):\n        return 'x'\n\n"
PRICE = "    def get_cost_per_token(self):\n        return 0.1\n\n"


def _write_engine(project, place, statement):
    definition, end, _ = PLACES[place]
    body = f"    {definition}:\n        {statement}\n        {end}\n"
    others = "" if "generate" in definition or "stream" in definition else OTHER
    path = project.engine("bad", body=(PRICE if place == "cache" else "") + others + body)
    path.write_text(path.read_text().replace("    model_name = 'bad'\n", "", 1))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("raised", RAISES)
def test_whatever_an_engine_raises_is_a_typed_error(project, raised, place):
    """An exception in any method becomes a `GatewayError`, and other engines still answer."""
    if raised == "task" and "async" not in PLACES[place][0]:
        pytest.skip("only a coroutine can await a task")
    _write_engine(project, place, RAISES[raised])

    with project.pool() as pool:
        with pytest.raises(GatewayError):
            PLACES[place][2](pool)
        assert pool.ask("hi", "mock").text == "[mock] hi"


@pytest.mark.parametrize("raised", RAISES)
def test_a_bad_health_check_is_one_row(project, raised):
    """If a health check or a clean-up raises an exception, other engines are still checked."""
    methods = ("health_check", "cleanup")
    body = "".join(f"    async def {name}(self):\n        {RAISES[raised]}\n\n" for name in methods)
    project.engine("bad", body=OTHER + body)

    with project.pool() as pool:
        rows = {row.engine: row for row in pool.health("bad", "mock")}
    assert (rows["bad"].ok, rows["mock"].ok) == (False, True)
    assert rows["bad"].error


@pytest.mark.parametrize(
    "definition",
    [
        "async def models(self): return None",
        "async def models(self): return ['gpt']",
        "def models(self): return 5",
        "async def embed(self, texts, model): return None",
        "async def embed(self, texts, model): return [object()]",
        "async def embed(self, texts, model): return [['a']]",
        "embedding_batch = 0",
        "async def count_tokens(self, request): return 'many'",
        "async def count_tokens(self, request): return -1",
        "def get_cost_per_token(self): return float('nan')",
        "def get_cost_per_token(self): return '1'",
        "async def stream(self, request): return [1]",
        "def stream(self, request): return None",
        "async def generate(self, prompt): return 5",
        "async def generate(self, prompt): return None",
        "async def generate(self, prompt): return b'x'",
    ],
)
def test_an_engines_wrong_result_is_a_typed_error(project, definition, recwarn):
    """A result of the wrong type raises a typed error when the engine is called."""
    project.engine("bad", body=OTHER + f"    {definition}\n")
    calls = {
        "models": lambda pool: pool.models("bad", live=True),
        "embed": lambda pool: pool.embed(["x"], "bad"),
        "count_tokens": lambda pool: pool.preview("x", "bad"),
    }
    call = next((call for name, call in calls.items() if name in definition), None)

    with project.pool() as pool, pytest.raises(GatewayError, match="bad"):
        (call or (lambda pool: pool.ask("x", "bad")))(pool)
    assert not recwarn.list


def test_plain_functions_work_wherever_an_engine_may_be_asked(project):
    """The optional methods may be defined with a plain `def`."""
    body = (
        "    def embed(self, texts, model):\n        return [[1.0] for _ in texts]\n\n"
        "    def health_check(self):\n        return True\n\n"
        "    def count_tokens(self, request):\n        return 7\n\n"
        "    def cleanup(self):\n        pass\n"
    )
    project.engine("plain", body=OTHER + body)

    with project.pool() as pool:
        assert pool.embed(["a", "b"], "plain").tolist() == [[1.0], [1.0]]
        assert pool.health("plain")[0].ok
        assert pool.preview("x", "plain").input_tokens.high == 7


WRONG_CHUNKS = {
    "no chunk": "text",
    "None": None,
    "text": Chunk(text=5),
    "reasoning": Chunk(reasoning=b"x"),
    "quick text": Chunk.of_text(5),
    "quick reasoning": Chunk.of_text("x", None),
    "finish_reason": Chunk(finish_reason=5),
    "usage": Chunk(usage=5),
    "count": Chunk(usage=Usage(input_tokens="1")),
    "subclass of int": Chunk(usage=Usage(input_tokens=IntEnum("Count", ["ONE"]).ONE)),
    "huge count": Chunk(usage=Usage(input_tokens=10**5000)),
    "huge limit": Chunk(context_limit=2**60),
    "negative": Chunk(usage=Usage(output_tokens=-1)),
    "billed": Chunk(billed={"input_tokens": 1}),
    "model": Chunk(model=5),
    "request_id": Chunk(request_id=object()),
    "tool_calls": Chunk(tool_calls=5),
    "tool_call": Chunk(tool_calls=({"name": "f"},)),
    "rate_limits": Chunk(rate_limits=RateLimits(requests="many")),
    "context_limit": Chunk(context_limit="long"),
    "raw": Chunk(raw="x"),
    "details": Chunk(details=5),
    "citations": Chunk(details=Details(citations=("x",))),
    "images": Chunk(details=Details(images=[b"x"])),
    "logprobs": Chunk(details=Details(logprobs=None)),
    "carried": Chunk(details=Details(carried=3)),
    "field of a citation": Chunk(details=Details((Citation(url=[]),))),
    "field of an image": Chunk(details=Details(images=(Image("image/png", "x"),))),
    "field of a log probability": Chunk(details=Details(logprobs=(Logprob("x", "y"),))),
    "nested log probability": Chunk(details=Details(logprobs=(Logprob("x", 0, (5,)),))),
}


class Yielding(ScriptedEngine):
    """An engine that yields any object."""

    name = "yielding"

    async def stream(self, request):
        for item in self.scripts[0]:
            yield item


@pytest.mark.parametrize("wrong", WRONG_CHUNKS)
def test_a_chunk_of_wrong_types_is_a_typed_error(wrong):
    """A wrong value in any field is named, whether or not the answer is streamed."""
    engine = Yielding(["", WRONG_CHUNKS[wrong]][1:], ["x"])

    with EnginePool(env={}, engines=[engine]) as pool:
        with pytest.raises(ProviderError, match="Chunk"):
            pool.ask("x", "yielding")
        with pytest.raises(ProviderError, match="Chunk"):
            list(pool.stream("x", "yielding"))


def test_odd_but_harmless_chunks_are_accepted():
    """Instances of str subclasses are accepted, and an unknown finish reason is "other"."""

    class Text(str):
        """A subclass of str."""

        __slots__ = ()

        def __str__(self):
            return "wrong"

    chunk = Chunk(text=Text("right"), finish_reason="eos", usage=Usage(2**60 - 1, 2**60 - 1))
    with EnginePool(env={}, engines=[Yielding([chunk])]) as pool:
        reply = pool.ask("x", "yielding")
        (stored,) = pool.history()

    assert (stored.outcome, stored.input_tokens) == ("ok", 2**60 - 1)
    assert (reply.text, type(reply.text), reply.finish_reason) == ("right", str, "other")
    assert reply.usage.input_tokens == 2**60 - 1


@pytest.mark.parametrize("piece", ["x" * 70_000, ""], ids=["text", "empty"])
@pytest.mark.parametrize("field", ["text", "reasoning"])
@pytest.mark.no_cover
def test_an_endless_answer_ends_at_the_limit(monkeypatch, piece, field):
    """An answer without an end is stopped at the limit, even if the engine never waits."""
    monkeypatch.setattr(chunk_check, "MAX_CHARACTERS", 2**19)

    class Endless(LLMEngine):
        name = "endless"
        requires_key = False

        async def stream(self, request):
            for _ in itertools.count():
                yield Chunk(**{field: piece})

    with EnginePool(env={}, engines=[Endless()]) as pool:
        with pytest.raises(ProviderError, match=r"exceeds 524,288 characters"):
            pool.ask("x", "endless")
        with pytest.raises(ProviderError, match=r"exceeds 524,288 characters"):
            list(pool.stream("x", "endless"))


def test_a_whole_answer_meets_the_limit(project, monkeypatch):
    """The limit also applies to the text that `generate` returns."""
    monkeypatch.setattr(chunk_check, "MAX_CHARACTERS", 2**19)
    project.engine(
        "long", body="    async def generate(self, prompt):\n        return 'x' * 2**20\n"
    )

    with project.pool() as pool, pytest.raises(ProviderError, match=r"exceeds 524,288"):
        pool.ask("x", "long")


def test_a_deadline_applies_to_an_engine_that_never_waits():
    """An endless answer of small chunks ends at the deadline, and the engine works again."""

    class Endless(LLMEngine):
        name = "endless"
        requires_key = False

        async def stream(self, request):
            while request.prompt == "endless":
                yield Chunk()
            yield Chunk(text="fine", finish_reason="stop")

    with EnginePool(env={}, engines=[Endless()]) as pool:
        with pytest.raises(DeadlineError):
            pool.ask("endless", "endless", timeout=0.2)
        assert pool.ask("short", "endless").text == "fine"


def test_embedding_has_a_deadline_if_the_engine_blocks(project):
    """The deadline of an embedding applies even if the engine blocks its event loop."""
    project.settings("limits.timeout = 0.1")
    release = project.root / "release"
    body = (
        "    async def embed(self, texts, model):\n"
        "        import pathlib, time\n"
        f"        while not pathlib.Path({str(release)!r}).exists():\n"
        "            time.sleep(0.01)\n"
    )
    project.engine("blocking", body=OTHER + body)

    with project.pool() as pool:
        with pytest.raises(DeadlineError):
            pool.embed(["x"], "blocking")
        release.touch()


ECHOES = {
    "model": {"model": f"m-{KEY}"},
    "request id": {"request_id": KEY},
    "finish reason": {"finish_reason": KEY},
    "tool call": {"tool_calls": (ToolCall(KEY, f"f{KEY}", f'{{"a": "{KEY[4:]}"}}'),)},
    "body": {"raw": {"id": KEY, "list": [{KEY: f"x {KEY} y"}], "number": 5}},
    "part of a body": {"raw": {"choices": [{"message": {"content": "é" * 50 + KEY[:14]}}]}},
    "citation": {"details": Details((Citation(f"x {KEY}", KEY, f"https://x/?{KEY}"),))},
    "carried": {"details": Details(carried={"blocks": [{"id": KEY}]})},
    "list": {"raw": [{"id": KEY}, KEY]},
    "body that is no JSON": {"raw": {"id": f"\ud800{KEY}"}},
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("text", ["an answer", ""], ids=["with text", "alone"])
def test_an_echoed_key_is_kept_nowhere(tmp_path, caplog, echo, text):
    """If an engine repeats its key in a field, no reply, file, table or log contains the key."""
    engine = Yielding([Chunk(text=text, **ECHOES[echo]), Chunk(text="x", finish_reason="stop")])
    engine.api_key = KEY
    with EnginePool(tmp_path, env={}, engines=[engine]) as pool:
        with pool.cassette(tmp_path / "c.jsonl"):
            reply = pool.ask("hi", "yielding")
            streamed = pool.stream("more", "yielding")
            chunks = list(streamed)
        shown = [reply, reply.to_dict(), reply.raw, chunks, streamed.reply, streamed.reply.raw]
        shown += [pool.usage(), pool.history(), pool.status(), list(pool.history()), vars(pool)]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert not leaks(repr(shown))
    assert not leaks(files.decode(errors="replace"))
    assert not leaks(caplog.text)
    assert (tmp_path / "c.jsonl").stat().st_size


PLAIN_KEY = "sk-canary-0123456789abcdef"


@pytest.mark.parametrize("size", [1, 7, 11, 100])
@pytest.mark.parametrize("field", ["text", "reasoning"])
def test_a_key_in_the_answer_is_masked(tmp_path, field, size):
    """If an engine repeats its key in the answer, split or not, neither stream nor reply has it."""
    answer = f"The key is {PLAIN_KEY}, and that is all. "
    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    chunks = [Chunk(**{field: piece}) for piece in pieces]
    engine = Yielding([*chunks, Chunk(text="x", finish_reason="stop")])
    engine.api_key = PLAIN_KEY
    pool = EnginePool(tmp_path, env={}, engines=[engine])
    with pool, pool.cassette(tmp_path / "c.jsonl"):
        reply = pool.ask("hi", "yielding")
        streamed = pool.stream("more", "yielding")
        shown = "".join(getattr(each, field) for each in streamed)
    shown += repr(reply.to_dict()) + repr(streamed.reply) + reply._repr_mimebundle_()["text/html"]

    assert re.fullmatch(r"The key is .{0,7}<key>, and that is all. x?", getattr(reply, field))
    assert not leaks(shown, PLAIN_KEY)
    assert not leaks((tmp_path / "c.jsonl").read_text(), PLAIN_KEY)


def test_an_encoded_key_that_is_split_is_masked_in_the_reply(tmp_path):
    """The whole answer is searched at its end, for every encoding of the key."""
    encoded = base64.b64encode(PLAIN_KEY.encode()).decode()
    engine = Yielding([*map(Chunk.of_text, encoded), Chunk(finish_reason="stop")])
    engine.api_key = PLAIN_KEY
    with EnginePool(tmp_path, env={}, engines=[engine]) as pool:
        reply = pool.ask("hi", "yielding")

    assert not leaks(reply.text, PLAIN_KEY)


@pytest.mark.parametrize("key", [PLAIN_KEY, "sk-1", "lm-studio", "sk-no-key-required"])
def test_an_ordinary_stream_is_unchanged(tmp_path, key):
    """Every chunk is passed on at once and unchanged, whatever the key is."""
    pieces = ["The ", "s", "k", "-", "cana ", "sang; ", "", "lm-studio is required, ", "é", "\n"]
    engine = Yielding([*map(Chunk.of_text, pieces), Chunk(finish_reason="stop")])
    engine.api_key = key
    with EnginePool(tmp_path, env={}, engines=[engine]) as pool:
        received = [each.text for each in pool.stream("hi", "yielding")]
        without_key = Yielding(engine.scripts[0])
    with EnginePool(tmp_path, env={}, engines=[without_key]) as pool:
        expected = [each.text for each in pool.stream("hi", "yielding")]

    assert received == expected
    assert "".join(received) == "".join(pieces)


class Cut(LLMEngine):
    """An engine that repeats its key in hexadecimal, in pieces, and then fails or waits."""

    name, requires_key, ends = "cut", False, "raise"

    async def stream(self, request):
        """Yield the pieces, with log probabilities that repeat them."""
        encoded = PLAIN_KEY.encode().hex()
        for start in range(0, len(encoded), 5):
            piece = encoded[start : start + 5]
            yield Chunk(text=piece, reasoning=piece, details=Details(logprobs=(Logprob(piece),)))
        if self.ends == "raise":
            raise TruncatedError("the answer was cut.")
        await asyncio.sleep(60)


@pytest.mark.parametrize("ends", ["raise", "wait"])
def test_a_key_in_the_pieces_of_an_incomplete_answer_is_masked(tmp_path, ends):
    """A truncated or stopped answer shows no encoded key either, wherever it is kept."""
    engine = Cut(PLAIN_KEY)
    engine.ends = ends
    count = -(-len(PLAIN_KEY.encode().hex()) // 5)
    with EnginePool(tmp_path, env={}, engines=[engine]) as pool:
        stream = pool.stream("hi", "cut")
        if ends == "raise":
            with pytest.raises(TruncatedError) as caught:
                list(stream)
            shown = [caught.value.partial, stream.partial.reply(interrupted=True).to_dict()]
        else:
            for _ in itertools.islice(stream, count):
                pass
            stream.close()
            shown = [stream.reply.to_dict()]

    assert "<key>" in repr(shown)
    assert PLAIN_KEY.encode().hex()[10:30] not in re.sub(r"[^0-9a-f]", "", repr(shown))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_key_in_the_answer_is_masked_in_every_dialect(tmp_path, dialect):
    """A provider's reply that repeats the key is masked, whole or split over two events."""
    half = len(PLAIN_KEY) // 2
    first, second = PLAIN_KEY[:half].encode(), PLAIN_KEY[half:].encode()
    events = [
        each.replace(b"Hello.", first + second).replace(b"Hel", first).replace(b"lo.", second)
        for each in dialect.events
    ]
    whole = dialect.whole.replace(b"Hello.", first + second)
    engine_class = getattr(llm_engines, dialect.base)
    with Server([Send(reply(whole))], dialect.stream(*events)) as server:
        engine = engine_class(PLAIN_KEY, base_url=f"{server.url}/v1", **dialect.options)
        engine.name = "vend"
        with EnginePool(tmp_path, env={}, engines=[engine]) as pool:
            answer = pool.ask("hi", "vend:m")
            streamed = pool.stream("hi", "vend:m")
            shown = "".join(each.text for each in streamed)

    assert answer.text.endswith("<key>")
    assert shown.endswith("<key>")
    assert not leaks(repr([answer.to_dict(), shown, streamed.reply.to_dict()]), PLAIN_KEY)


def test_every_field_of_a_chunk_is_checked():
    """Every field of a chunk has a check of its values, including fields that are added later."""
    names = [field.name for field in dataclasses.fields(Chunk)]
    assert names == ["text", "reasoning", *chunk_check._FIELD_CHECKS]


def test_the_events_of_a_stream_are_kept_without_the_key():
    """The events in `raw` are parsed when they are read; they do not contain the key."""
    data = json.dumps({"id": KEY, "choices": [{"delta": {"content": "hi"}}]})
    end = json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    events = "".join(f"data: {event}\n\n" for event in (data, end, "[DONE]")).encode()
    with Server([Send(stream_head() + chunk(events)), CloseConnection()]) as server:
        variable = "GATEWAYX_VEND"
        env = {f"{variable}_API_KEY": KEY, f"{variable}_BASE_URL": server.url}
        with EnginePool(env=env | {f"{variable}_MODEL": "m"}) as pool:
            stream = pool.stream("x", "vend")
            assert "".join(map(str, stream)) == "hi"
        raw = stream.reply.raw

    assert raw[0]["id"] == "<key>"
    assert not leaks(repr(raw[:]))
    assert not leaks(pickle.dumps(stream.reply))
    assert pickle.loads(pickle.dumps(raw))[:] == raw[:]


def test_an_echoed_key_is_not_in_a_list_of_models():
    """The names of models that a provider lists are shown without the key."""

    class Listing(Yielding):
        async def models(self):
            listed = await super().models()
            return [type(listed[0])("yielding", f"m-{KEY}")]

    engine = Listing(["x"])
    engine.api_key = KEY
    with EnginePool(env={}, engines=[engine]) as pool:
        assert not leaks(repr(list(pool.models("yielding", live=True))))


@pytest.mark.parametrize(
    "reply",
    [Reply("x", "m", 5), Reply(5, "m", "m"), Reply("x", "m", "m", usage=5)],
    ids=["model", "text", "usage"],
)
def test_a_reply_from_generate_has_checked_fields(reply):
    """The fields of a `Reply` that `generate` returns are checked like those of a chunk."""

    class Whole(LLMEngine):
        name = "whole"
        requires_key = False

        async def generate(self, prompt, **kwargs):
            return reply

    with (
        EnginePool(env={}, engines=[Whole()]) as pool,
        pytest.raises(ProviderError, match="Chunk must be"),
    ):
        pool.ask("x", "whole")


@pytest.mark.parametrize("count", [1, 4])
def test_closing_takes_one_grace_for_all_engines(project, monkeypatch, count):
    """Closing a pool whose engines all block waits as long as for one blocked engine."""
    waited = 0.0

    def let_time_pass(_, timeout):
        nonlocal waited
        waited += timeout

    names = [f"engine{number}" for number in range(count)]
    for name in names:
        project.engine(name, says="hi")
    pool = project.pool()
    for name in names:
        pool.ask("x", name)
    # Only waiting takes time, as if each engine blocked; a real clock would measure the load too.
    monkeypatch.setattr(runtime, "time", SimpleNamespace(monotonic=lambda: waited))
    monkeypatch.setattr(runtime, "wait", let_time_pass)
    monkeypatch.setattr(runtime.Portal, "close", let_time_pass)
    pool.close()

    assert waited == pytest.approx(runtime._CLOSE_TIMEOUT)


DROPPED = """
import gc, sys
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.testing import Send, Server, reply
BODY = b'{"model": "m", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'
with Server([Send(reply(BODY))]) as server:
    def use():
        name = "GATEWAYX_VEND"
        env = {f"{name}_API_KEY": "sk-0123456789", f"{name}_BASE_URL": server.url + "/v1"}
        pool = EnginePool(env=env | {f"{name}_MODEL": "m"})
        assert pool.ask("x", "vend").text == "hi"
        stream = pool.stream("x", "vend")
        next(stream)
        return pool if sys.argv[1] == "kept" else None
    kept = use()
    gc.collect()
    if sys.argv[1] == "waited":
        import threading, time
        while any(each.name.startswith("gatewayx") for each in threading.enumerate()):
            time.sleep(0.01)
"""


@pytest.mark.parametrize("how", ["dropped", "kept", "waited"])
def test_a_pool_that_is_not_closed_prints_nothing(how, tmp_path):
    """Neither a dropped pool nor one that is open at exit leaves a warning or a thread."""
    command = [sys.executable, "-W", "always", "-c", DROPPED, how]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LEAKING_FIELDS = {
    "hint": lambda key: {"hint": f"use {key}"},
    "arguments of a hint": lambda key: {
        "hint": Hint("set_option", option="key", value=key) | Hint("check_health", engine=key)
    },
    "engine": lambda key: {"engine": key},
    "model": lambda key: {"model": f"m-{key}"},
    "code": lambda key: {"code": key},
    "note": lambda key: {"note": f"sent {key}"},
    "detail": lambda key: {"detail": {"headers": [key]}},
}


@pytest.mark.parametrize("field", LEAKING_FIELDS)
def test_no_field_of_a_typed_error_shows_the_key(field):
    """A key in the hint, a note or another attribute of an engine's own error is masked."""

    class Engine(LLMEngine):
        name = "leaking"

        async def generate(self, prompt, **kwargs):
            fields = LEAKING_FIELDS[field](str(self.api_key))
            note, detail = fields.pop("note", ""), fields.pop("detail", None)
            error = ProviderError("refused", status=403, **fields)
            error.add_note(note)
            error.detail = detail
            raise error

    with EnginePool(env={}, engines=[Engine(KEY)]) as pool, pytest.raises(ProviderError) as caught:
        pool.ask("x", "leaking")

    error = caught.value
    shown = "".join(traceback.format_exception(error))
    assert not leaks(f"{shown} {error.describe()} {vars(error)}")
    assert (error.message, error.status) == ("refused", 403)
    assert "<key>" in f"{shown} {vars(error)}"
