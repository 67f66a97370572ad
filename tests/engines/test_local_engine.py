import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import (
    ConfigError,
    ContextLengthError,
    EngineLoadError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    TruncatedError,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import Message, ModelInfo, Request
from tests.engines import ROOT, engine_module

local = engine_module("local")

# The real weights are located before the tests get their own home folder.
REAL = weights.locate()

PARIS = "What is the capital of France? Answer in one sentence."
STORY = "Write a long story about a cat and a dog."

real_weights = pytest.mark.weights


def make(**options: Any):
    """Create an engine as the registry does."""
    engine = local.LocalEngine("", **options)
    engine.name = "local"
    return engine


def question(text: str, **settings: Any) -> Request:
    """Return a request with one user message."""
    return Request((Message("user", text),), settings.pop("model", "smollm2"), **settings)


@dataclass(frozen=True)
class Answer:
    """The chunks of a stream, accumulated."""

    text: str
    finish_reason: str
    usage: Any
    model: str
    parts: int


async def ask(engine, text: str = PARIS, **settings: Any) -> Answer:
    """Stream an answer and accumulate it."""
    settings.setdefault("temperature", 0)
    chunks = [chunk async for chunk in engine.stream(question(text, **settings))]
    spoken = [chunk.text for chunk in chunks if chunk.text]
    (finish,) = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    return Answer("".join(spoken), finish, usage, chunks[0].model, len(spoken))


@pytest.fixture(scope="module")
def gguf():
    """Return the path of the real weights."""
    if REAL is None:
        pytest.skip("needs the weights: python -c 'import gatewayx_nb as gx; gx.pull(\"smollm2\")'")
    return REAL


@pytest.fixture(scope="module")
def engine(gguf):
    """Yield one loaded engine for all tests of the real model."""
    shared = make(model_path=str(gguf))
    yield shared
    asyncio.run(shared.cleanup())


@pytest.fixture
def pulled(gguf):
    """Link the real weights into this test's cache folder, where `pull` would put them."""
    row = weights.catalogue()["smollm2"]
    row.path.parent.mkdir(parents=True)
    row.path.symlink_to(gguf)
    return row


async def until(reached: Callable[[], object]) -> float:
    """Poll until the condition holds; return the seconds it took."""
    started = time.monotonic()
    while not reached():
        await asyncio.sleep(0.01)
    return time.monotonic() - started


# Before the model is loaded


def test_missing_weights_name_the_command_that_pulls_them():
    """Without weights the call fails at once with the command that downloads them."""
    with pytest.raises(ConfigError, match="'smollm2' are not on this machine") as caught:
        asyncio.run(ask(make()))
    assert caught.value.hint == Hint("pull", model="smollm2")
    assert (caught.value.engine, caught.value.model) == ("local", "smollm2")


def test_unknown_model_names_the_nearest():
    """A model that is neither in the catalog nor defined by the user raises an error."""
    with pytest.raises(ModelNotFoundError, match=r"Did you mean 'smollm2'\?"):
        asyncio.run(ask(make(), model="smolm2"))


def test_without_weights_nothing_can_be_called():
    """Without weights there is no model, and the health check fails."""
    engine = make()
    assert asyncio.run(engine.models()) == []
    assert asyncio.run(engine.health_check()) is False


def test_own_file_is_the_model(monkeypatch, tmp_path):
    """With GATEWAYX_LOCAL_MODEL the stem of the file is the model's name."""
    own = tmp_path / "tiny.gguf"
    own.write_bytes(b"GGUF")
    monkeypatch.setenv("GATEWAYX_LOCAL_MODEL", str(own))
    assert asyncio.run(make().models()) == [ModelInfo("local", "tiny")]
    with pytest.raises(ModelNotFoundError, match="'tiny'"):
        asyncio.run(ask(make(), model="tinny"))


def test_own_file_of_another_kind_is_refused(tmp_path):
    """A file that does not start with the GGUF magic is refused, with the name of its setting."""
    other = tmp_path / "model.gguf"
    other.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match=r"model_path must be a GGUF file, got"):
        asyncio.run(ask(make(model_path=str(other))))


def test_damaged_file_is_one_line_and_silent(tmp_path, capfd):
    """A file that llama.cpp cannot load raises ConfigError; file descriptor 2 stays silent."""
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(1000))
    engine = make(model_path=str(damaged))
    with pytest.raises(ConfigError, match=r"cannot load .*damaged\.gguf"):
        asyncio.run(ask(engine))
    asyncio.run(engine.cleanup())
    assert capfd.readouterr() == ("", "")


def test_missing_xllamacpp_names_the_extra(monkeypatch, tmp_path):
    """Without xllamacpp the error contains the command that installs it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    own = tmp_path / "tiny.gguf"
    own.write_bytes(b"GGUF")
    engine = make(model_path=str(own))
    with pytest.raises(EngineLoadError) as caught:
        asyncio.run(ask(engine))
    assert caught.value.hint == Hint("install", extra="local")
    asyncio.run(engine.cleanup())


def test_import_loads_nothing():
    """Importing the engine file does not import xllamacpp or start a thread."""
    script = """if True:
        import sys, threading
        from tests.engines import engine_module
        engine_module("local").LocalEngine("")
        assert "xllamacpp" not in sys.modules
        assert threading.active_count() == 1
    """
    assert run(script).returncode == 0


def test_only_what_the_caller_set_is_sent():
    """Omitted parameters are left to the model; params are passed on, except for `stream`."""
    body = local._body(question("hi", params={"top_k": 3, "stream": False}))
    assert body.keys() == {
        *("top_k", "messages"),
        *("stream", "stream_options", "return_progress"),
    }
    assert body["stream"] is True


def test_settings_are_sent_under_llama_cpps_names():
    """Each setting is sent in its field, and the system prompt comes first.

    A reproducible call does not use the prompt cache.
    """
    schema = {"type": "object"}
    body = local._body(
        question(
            "hi",
            system="s",
            temperature=0.5,
            top_p=0.9,
            max_tokens=5,
            stop=("a",),
            seed=7,
            schema=schema,
        )
    )
    assert body["messages"] == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "hi"},
    ]
    names = ("temperature", "top_p", "max_tokens", "stop", "seed")
    assert [body[name] for name in names] == [0.5, 0.9, 5, ["a"], 7]
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert body["cache_prompt"] is False


@dataclass(frozen=True)
class Fault:
    """An error event of llama.cpp and the exception it becomes."""

    status: int
    code: str
    error: type[GatewayError]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(400, "exceed_context_size_error", ContextLengthError),
        Fault(400, "invalid_request_error", ProviderError),
        Fault(500, "server_error", ProviderError),
        Fault(503, "unavailable_error", ProviderError),
    ],
    ids=lambda fault: fault.code,
)
def test_llama_cpps_errors_are_typed(fault):
    """An error event of llama.cpp raises a typed error."""
    event = {
        "error": {
            "code": fault.status,
            "type": fault.code,
            "message": "m",
            "n_prompt_tokens": 9,
            "n_ctx": 4,
        }
    }
    with pytest.raises(fault.error) as caught:
        list(local._chunks(event, "smollm2"))
    assert (caught.value.status, caught.value.code) == (fault.status, fault.code)


# The real model


@real_weights
def test_paris_alone_and_four_at_once(engine):
    """At temperature 0 the answer names Paris every time, alone and beside three other calls."""

    async def both():
        alone = [await ask(engine) for _ in range(20)]
        beside = [await asyncio.gather(*(ask(engine) for _ in range(4))) for _ in range(5)]
        return alone, [answer for four in beside for answer in four]

    alone, beside = asyncio.run(both())
    assert {answer.text for answer in alone + beside} == {"The capital of France is Paris."}


@real_weights
def test_answer_comes_in_pieces_with_its_figures(engine):
    """An answer arrives in several chunks, then finish reason and usage.

    The model's name is the file's stem.
    """
    answer = asyncio.run(ask(engine))
    assert answer.parts >= 5
    assert answer.finish_reason == "stop"
    assert answer.usage.input_tokens == 42
    assert answer.usage.output_tokens == 8
    assert answer.model == REAL.stem


@real_weights
def test_same_question_same_answer_whatever_came_before(engine):
    """At temperature 0 an answer does not depend on earlier prompts with the same beginning."""
    begin = "Here is a table of fruit: apple, pear, plum. Prices: 3, 4, 5. "
    texts = [begin + end for end in ("Write a poem.", "Name three more.", "Which is dearest?")]

    async def rounds():
        first = [await ask(engine, text, max_tokens=40) for text in texts]
        again = [await ask(engine, text, max_tokens=40) for text in reversed(texts)]
        return first, list(reversed(again))

    first, again = asyncio.run(rounds())
    assert [answer.text for answer in first] == [answer.text for answer in again]


@real_weights
def test_max_tokens_and_stop_end_the_answer(engine):
    """`max_tokens` ends with "length"; a stop text ends with "stop" and is not in the answer."""
    cut = asyncio.run(ask(engine, STORY, max_tokens=5))
    assert (cut.finish_reason, cut.usage.output_tokens) == ("length", 5)
    stopped = asyncio.run(ask(engine, stop=("Paris",)))
    assert stopped.finish_reason == "stop"
    assert "Paris" not in stopped.text


@real_weights
def test_system_and_history_reach_the_model(engine):
    """The number of prompt tokens grows with the system prompt and each message."""

    async def read(*turns: Message, system: str | None = None) -> int:
        request = Request(turns, "smollm2", system=system, max_tokens=1)
        return [chunk async for chunk in engine.stream(request)][-1].usage.input_tokens

    hi = Message("user", "hi")

    async def all_three():
        return (
            await read(hi, system="Be brief."),
            await read(hi, system="Be brief, and answer in the words of an old sailor."),
            await read(hi, Message("assistant", "Hello!"), hi, system="Be brief."),
        )

    short, long, turns = asyncio.run(all_three())
    assert short < long
    assert short < turns


@real_weights
def test_schema_holds(engine):
    """With a schema the answer is JSON that matches it."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = json.loads(asyncio.run(ask(engine, "Invent a person.", schema=schema)).text)
    assert answer.keys() == {"name", "age"}
    assert isinstance(answer["age"], int)


@real_weights
def test_seed_repeats_an_answer(engine):
    """At temperature 1 an equal seed repeats the answer, and another seed changes it."""

    def story(seed: int) -> str:
        answer = asyncio.run(ask(engine, STORY, temperature=1.0, seed=seed, max_tokens=20))
        return answer.text

    assert story(1) == story(1)
    assert story(1) != story(2)


@real_weights
def test_generate_gives_the_whole_answer(engine):
    """`generate`, the interface of the seed document, works too."""
    assert "Paris" in asyncio.run(engine.generate(PARIS, temperature=0))


@dataclass(frozen=True)
class Bad:
    """Settings that llama.cpp rejects, and the exception."""

    name: str
    settings: dict[str, Any]
    error: type[GatewayError]


@real_weights
@pytest.mark.parametrize(
    "bad",
    [
        Bad("too long", {"text": "hi " * 5000}, ContextLengthError),
        Bad("schema", {"schema": {"type": "nonsense"}}, ProviderError),
        Bad("temperature", {"temperature": "hot"}, ProviderError),
        Bad("not JSON", {"params": {"x": object()}}, ProviderError),
        Bad("surrogate", {"params": {"x": "\ud800"}}, ProviderError),
    ],
    ids=lambda bad: bad.name,
)
def test_bad_requests_are_typed_and_the_next_call_works(engine, bad):
    """Invalid settings raise a typed error, not a dict or another library's exception.

    The engine stays usable.
    """
    with pytest.raises(bad.error) as caught:
        asyncio.run(ask(engine, **bad.settings))
    assert caught.value.engine == "local"
    assert len(str(caught.value)) < 300
    assert "Paris" in asyncio.run(ask(engine)).text


@real_weights
def test_lone_surrogates_and_nul_in_a_prompt_are_answered(engine):
    """Characters that JSON cannot carry are replaced, as in every engine."""
    assert asyncio.run(ask(engine, "a\ud800b\x00c\U0001f600", max_tokens=3)).parts


@real_weights
def test_leaving_early_frees_the_slot(engine):
    """After three of four streams are closed, four more calls finish before the fourth stream."""

    async def leave_and_ask():
        story = question(STORY, max_tokens=3000, params={"ignore_eos": True})
        last = asyncio.create_task(ask(engine, STORY, max_tokens=1000, params=story.params))
        for _ in range(3):
            async with aclosing(engine.stream(story)) as stream:
                async for chunk in stream:
                    if chunk.text:
                        break
        await asyncio.gather(*(ask(engine) for _ in range(4)))
        return last.cancel()  # false if it has ended

    assert asyncio.run(leave_and_ask())


@real_weights
def test_cancelling_while_the_prompt_is_read_ends_it(engine):
    """A cancelled call ends between two batches while its long prompt is read."""

    async def cancel():
        task = asyncio.create_task(ask(engine, "hi " * 3800, max_tokens=3))
        await until(lambda: any(host._running for host in engine._hosts.values()))
        (host,) = engine._hosts.values()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await until(lambda: not host._running)

    assert asyncio.run(cancel()) < 8  # reading the whole prompt takes 25 s


@real_weights
def test_interleaved_streams_do_not_mix(engine):
    """Two streams read in turns each yield their own answer."""

    async def by_turns():
        texts = ["", ""]
        streams = [
            engine.stream(question(text, temperature=0, max_tokens=30)) for text in (PARIS, STORY)
        ]
        going = [0, 1]
        while going:
            for number in list(going):
                try:
                    texts[number] += (await anext(streams[number])).text
                except StopAsyncIteration:
                    going.remove(number)
        return texts

    paris, story = asyncio.run(by_turns())
    assert paris == "The capital of France is Paris."
    assert "Paris" not in story


@real_weights
def test_first_calls_at_once_load_once(pulled, monkeypatch):
    """Four concurrent first calls share one load."""
    import xllamacpp

    loads = []

    def counted(params):
        loads.append(params.api_keys)
        time.sleep(0.1)  # lets the other threads run, as loading may on another platform
        return xllamacpp_server(params)

    xllamacpp_server = xllamacpp.Server
    monkeypatch.setattr(xllamacpp, "Server", counted)
    engine = make()

    async def four():
        answers = await asyncio.gather(*(ask(engine) for _ in range(4)))
        await engine.cleanup()
        return answers

    assert {answer.model for answer in asyncio.run(four())} == {"smollm2"}
    assert len(loads) == 1
    assert len(loads[0][0]) >= 32


@real_weights
def test_one_closed_engine_leaves_another_alone(engine, pulled, capfd):
    """Closing one engine leaves another running, and a closed one loads again.

    File descriptor 2 stays silent.
    """

    async def close_one():
        other = make()
        await ask(other)
        await other.cleanup()
        assert "Paris" in (await ask(engine)).text
        assert "Paris" in (await ask(other)).text
        await other.cleanup()
        await other.cleanup()

    asyncio.run(close_one())
    assert capfd.readouterr() == ("", "")


@real_weights
def test_cleanup_ends_a_running_answer(pulled):
    """Closing an engine raises an error in a running call instead of leaving it waiting."""

    async def close_amid():
        engine = make()
        task = asyncio.create_task(ask(engine, STORY, max_tokens=3000))
        await until(lambda: any(host._server for host in engine._hosts.values()))
        await engine.cleanup()
        with pytest.raises(TruncatedError):
            await task

    asyncio.run(close_amid())


# Process exit

AMID = """if True:
    import asyncio, contextlib, gc, os, signal, sys, threading
    from gatewayx_nb.errors import TruncatedError
    from tests.engines import engine_module
    from gatewayx_nb.llm_engines import Message, Request
    engine = engine_module("local").LocalEngine("", model_path=sys.argv[1])
    begun = threading.Event()

    async def talk():
        with contextlib.suppress(TruncatedError):
            await listen()

    async def listen():
        request = Request((Message("user", "Write a long story."),), "smollm2", max_tokens=3000)
        async for chunk in engine.stream(request):
            if chunk.text:
                begun.set()

    def aside():
        threading.Thread(target=asyncio.run, args=(talk(),), daemon=True).start()
        begun.wait()
"""


def run(script: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script in its own process."""
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@real_weights
@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)"])
def test_exit_amid_an_answer_neither_hangs_nor_crashes(gguf, ending):
    """The interpreter exits cleanly while a daemon thread receives a long answer."""
    ended = run(f"{AMID}\n    aside()\n    {ending}", str(gguf))
    assert (ended.returncode, ended.stderr) == (0, "")


@real_weights
def test_sigint_amid_an_answer_ends_the_process(gguf):
    """Ctrl-C during `asyncio.run` raises KeyboardInterrupt within seconds."""
    script = f"""{AMID}
    def interrupt():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        asyncio.run(talk())
    except KeyboardInterrupt:
        sys.exit(7)
    """
    started = time.monotonic()
    ended = run(script, str(gguf))
    assert (ended.returncode, ended.stderr) == (7, "")
    assert time.monotonic() - started < 10


@real_weights
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_ends_and_the_parent_goes_on(gguf):
    """A forked child that drops the parent's engine closes nothing, and can load its own."""
    script = f"""{AMID}
    aside()
    child = os.fork()
    if not child:
        del engine
        gc.collect()
        engine = engine_module("local").LocalEngine("", model_path=sys.argv[1])
        answer = asyncio.run(engine.generate("What is the capital of France?", max_tokens=3))
        os._exit(3 if answer else 4)
    _, status = os.waitpid(child, 0)
    begun.clear()
    begun.wait()
    sys.exit(os.waitstatus_to_exitcode(status))
    """
    ended = run(script, str(gguf))
    assert (ended.returncode, ended.stderr) == (3, "")
