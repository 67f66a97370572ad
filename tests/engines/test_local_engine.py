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
from gatewayx_nb.engine_pool import EnginePool
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
from gatewayx_nb.llm_engines import (
    Message,
    ModelInfo,
    Request,
    ToolCall,
    ToolCallAssembler,
    ToolResult,
)
from gatewayx_nb.schema import ResponseSchema
from tests.engines import ROOT, engine_module
from tests.llm_engines.test_strict_schema import CASES

local_module = engine_module("local")

# The weights are located before a fixture changes the home folder.
WEIGHTS_PATH = weights.locate()

PARIS_PROMPT = "What is the capital of France? Answer in one sentence."
STORY_PROMPT = "Write a long story about a cat and a dog."

needs_weights = pytest.mark.weights


def make_engine(**options: Any):
    """Create an engine as the registry does."""
    engine = local_module.LocalEngine("", **options)
    engine.name = "local"
    return engine


def make_request(text: str, **settings: Any) -> Request:
    """Return a request with one user message."""
    return Request((Message("user", text),), settings.pop("model", "smollm2"), **settings)


@dataclass(frozen=True)
class Answer:
    """The combined chunks of a stream."""

    text: str
    finish_reason: str
    usage: Any
    model: str
    chunk_count: int


async def ask(engine, text: str = PARIS_PROMPT, **settings: Any) -> Answer:
    """Stream an answer and combine its chunks."""
    settings.setdefault("temperature", 0)
    chunks = [chunk async for chunk in engine.stream(make_request(text, **settings))]
    texts = [chunk.text for chunk in chunks if chunk.text]
    (finish,) = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    (usage,) = [chunk.usage for chunk in chunks if chunk.usage]
    return Answer("".join(texts), finish, usage, chunks[0].model, len(texts))


@pytest.fixture(scope="module")
def gguf():
    """Return the path of the weights."""
    if WEIGHTS_PATH is None:
        pytest.skip("needs the weights: python -c 'import gatewayx_nb as gx; gx.pull(\"smollm2\")'")
    return WEIGHTS_PATH


@pytest.fixture(scope="module")
def engine(gguf):
    """Yield one engine that all tests with weights share."""
    engine = make_engine(model_path=str(gguf))
    yield engine
    asyncio.run(engine.cleanup())


@pytest.fixture
def linked_weights(gguf):
    """Link the weights into the cache folder of this test, at the path used by `pull`."""
    row = weights.catalogue()["smollm2"]
    row.path.parent.mkdir(parents=True)
    row.path.symlink_to(gguf)
    return row


async def wait_until(condition: Callable[[], object]) -> float:
    """Wait until the condition is true, and return the processor time of this process."""
    started = time.process_time()
    while not condition():
        await asyncio.sleep(0.01)
    return time.process_time() - started


# Before the model is loaded


def test_the_error_for_missing_weights_has_the_pull_command():
    """If the weights are missing, the error contains the command that downloads them."""
    with pytest.raises(ConfigError, match="'smollm2' are not on this machine") as caught:
        asyncio.run(ask(make_engine()))
    assert caught.value.hint == Hint("pull", model="smollm2")
    assert (caught.value.engine, caught.value.model) == ("local", "smollm2")


def test_the_error_for_an_unknown_model_names_the_nearest():
    """An unknown model raises an error that names the nearest model."""
    with pytest.raises(ModelNotFoundError, match=r"Did you mean 'smollm2'\?"):
        asyncio.run(ask(make_engine(), model="smolm2"))


def test_without_weights_there_are_no_models():
    """Without weights the list of models is empty, and the health check fails."""
    engine = make_engine()
    assert asyncio.run(engine.models()) == []
    assert asyncio.run(engine.health_check()) is False


def test_a_custom_weights_file_is_listed_as_a_model(monkeypatch, tmp_path):
    """With GATEWAYX_LOCAL_MODEL, the stem of the file is the model's name."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    monkeypatch.setenv("GATEWAYX_LOCAL_MODEL", str(path))
    assert asyncio.run(make_engine().models()) == [ModelInfo("local", "tiny", size=4)]
    with pytest.raises(ModelNotFoundError, match="'tiny'"):
        asyncio.run(ask(make_engine(), model="tinny"))


def test_a_weights_file_of_another_format_is_refused(tmp_path):
    """A file that does not start with the GGUF magic is refused, with the name of its setting."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match=r"model_path must be a GGUF file, got"):
        asyncio.run(ask(make_engine(model_path=str(path))))


def test_a_damaged_weights_file_raises_an_error(tmp_path, capfd):
    """A file that llama.cpp cannot load raises `ConfigError`, and nothing is printed to stderr."""
    path = tmp_path / "damaged.gguf"
    path.write_bytes(b"GGUF" + bytes(1000))
    engine = make_engine(model_path=str(path))
    with pytest.raises(ConfigError, match=r"cannot load .*damaged\.gguf"):
        asyncio.run(ask(engine))
    asyncio.run(engine.cleanup())
    assert capfd.readouterr() == ("", "")


def test_the_error_without_xllamacpp_has_the_install_command(monkeypatch, tmp_path):
    """Without xllamacpp the error contains the command that installs it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    engine = make_engine(model_path=str(path))
    with pytest.raises(EngineLoadError) as caught:
        asyncio.run(ask(engine))
    assert caught.value.hint == Hint("install", extra="local")
    asyncio.run(engine.cleanup())


def test_the_import_loads_no_library():
    """Importing the engine file neither imports xllamacpp nor starts a thread."""
    script = """if True:
        import sys, threading
        from tests.engines import engine_module
        engine_module("local").LocalEngine("")
        assert "xllamacpp" not in sys.modules
        assert threading.active_count() == 1
    """
    assert run_script(script).returncode == 0


def test_omitted_options_are_not_sent():
    """Omitted options are not sent, but an answer is never endless; `params` is in the body."""
    body = local_module._body(make_request("hi", params={"top_k": 3, "stream": False}))
    assert body.keys() == {
        *("top_k", "messages", "max_tokens"),
        *("stream", "stream_options", "return_progress"),
    }
    assert body["max_tokens"] == 1024
    assert body["stream"] is True


def test_options_are_sent_under_the_names_of_llama_cpp():
    """Options are sent under the names of llama.cpp, and the system prompt is the first message.

    With a seed, the prompt cache is off, so that the call is reproducible.
    """
    schema = {"type": "object"}
    body = local_module._body(
        make_request(
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
    assert '"type": "object"' in body["grammar"]
    assert body["cache_prompt"] is False


@dataclass(frozen=True)
class Fault:
    """An error event of llama.cpp, and the exception it raises."""

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
def test_error_events_of_llama_cpp_raise_typed_errors(fault):
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
        list(local_module._chunks(event, "smollm2", ToolCallAssembler()))
    assert (caught.value.status, caught.value.code) == (fault.status, fault.code)


# With weights


@needs_weights
@pytest.mark.no_cover
def test_concurrent_calls_do_not_change_an_answer(engine):
    """At temperature 0 an answer is the same in sequential and in concurrent calls."""

    async def ask_repeatedly():
        sequential = [await ask(engine) for _ in range(20)]
        concurrent = [await asyncio.gather(*(ask(engine) for _ in range(4))) for _ in range(5)]
        return sequential, [answer for answers in concurrent for answer in answers]

    sequential, concurrent = asyncio.run(ask_repeatedly())
    assert {answer.text for answer in sequential + concurrent} == {
        "The capital of France is Paris."
    }


@needs_weights
def test_an_answer_has_several_chunks_and_usage(engine):
    """An answer has several chunks, a finish reason and usage.

    The name of its model is the stem of the weights file.
    """
    answer = asyncio.run(ask(engine))
    assert answer.chunk_count >= 5
    assert answer.finish_reason == "stop"
    assert answer.usage.input_tokens == 42
    assert answer.usage.output_tokens == 8
    assert answer.model == WEIGHTS_PATH.stem


@needs_weights
def test_an_answer_does_not_depend_on_earlier_prompts(engine):
    """At temperature 0 an answer does not depend on earlier prompts with the same prefix."""
    prefix = "Here is a table of fruit: apple, pear, plum. Prices: 3, 4, 5. "
    texts = [
        prefix + ending for ending in ("Write a poem.", "Name three more.", "Which is dearest?")
    ]

    async def ask_in_both_orders():
        first = [await ask(engine, text, max_tokens=40) for text in texts]
        second = [await ask(engine, text, max_tokens=40) for text in reversed(texts)]
        return first, list(reversed(second))

    first, second = asyncio.run(ask_in_both_orders())
    assert [answer.text for answer in first] == [answer.text for answer in second]


@needs_weights
def test_max_tokens_and_stop_end_the_answer(engine):
    """The finish reason is "length" for `max_tokens` and "stop" for a stop string."""
    truncated = asyncio.run(ask(engine, STORY_PROMPT, max_tokens=5))
    assert (truncated.finish_reason, truncated.usage.output_tokens) == ("length", 5)
    answer = asyncio.run(ask(engine, stop=("Paris",)))
    assert answer.finish_reason == "stop"
    assert "Paris" not in answer.text


@dataclass(frozen=True)
class Limit:
    """Options of a call, and the context length that its reply reports."""

    name: str
    options: dict[str, Any]
    context_limit: int | None


@needs_weights
@pytest.mark.parametrize(
    "case",
    [
        Limit("no limit", {}, 256),
        Limit("a limit beyond the context", {"max_tokens": 1000}, 256),
        Limit("a limit within the context", {"max_tokens": 10}, None),
    ],
    ids=lambda case: case.name,
)
def test_the_end_of_the_context_is_reported(gguf, case):
    """An endless reply is truncated at the end of the context, which the reply reports."""

    async def read():
        engine = make_engine(model_path=str(gguf), context=256)  # a multiple of 256
        request = make_request(STORY_PROMPT, params={"ignore_eos": True}, **case.options)
        chunks = [chunk async for chunk in engine.stream(request)]
        await engine.cleanup()
        return chunks

    chunks = asyncio.run(read())
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["length"]
    assert chunks[-1].context_limit == case.context_limit


@needs_weights
def test_the_error_for_json_truncated_by_the_context_names_it(gguf):
    """The error names the context, not `max_tokens`, which the caller has not set."""
    with (
        EnginePool(engines=[make_engine(model_path=str(gguf), context=256)]) as pool,
        pytest.raises(
            TruncatedError, match=r"end of the context, after 256 tokens with the prompt"
        ),
    ):
        pool.ask("List many cities.", "local", schema=list[str], temperature=0)


@needs_weights
def test_the_error_for_json_truncated_by_max_tokens_names_the_value(engine):
    """The error names the value of the option, and the schema's minimum if that is more."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["name", "people"],
    }
    with EnginePool(engines=[engine]) as pool:
        with pytest.raises(
            TruncatedError, match=r"\(3; the smallest that fits has about 7 tokens\)"
        ):
            pool.ask("A city?", "local", schema=schema, max_tokens=3)
        with pytest.raises(TruncatedError, match=r"`max_tokens` \(8\) before its JSON ended"):
            pool.ask("A city?", "local", schema=schema, max_tokens=8)


@needs_weights
def test_the_chat_template_of_the_file_is_used(gguf, tmp_path):
    """The prompt is formatted with the template in the file."""
    content = gguf.read_bytes()
    start = content.index(b"{% for message in messages %}{% if loop.first")
    end = content.index(b"{% endif %}", content.index(b"add_generation_prompt", start)) + 11
    template = b"{% for message in messages %}" + b"word " * 40 + b"{% endfor %}"
    path = tmp_path / "templated.gguf"
    path.write_bytes(content[:start] + template.ljust(end - start) + content[end:])

    async def count(engine):
        tokens = await engine.count_tokens(make_request("hi"))
        await engine.cleanup()
        return tokens

    assert asyncio.run(count(make_engine(model_path=str(path)))) >= 40


@needs_weights
def test_the_system_prompt_and_earlier_messages_are_sent(engine):
    """The number of input tokens increases with the system prompt and each message."""

    async def count_input_tokens(*messages: Message, system: str | None = None) -> int:
        request = Request(messages, "smollm2", system=system, max_tokens=1)
        return [chunk async for chunk in engine.stream(request)][-1].usage.input_tokens

    message = Message("user", "hi")

    async def count_all():
        return (
            await count_input_tokens(message, system="Be brief."),
            await count_input_tokens(
                message, system="Be brief, and answer in the words of an old sailor."
            ),
            await count_input_tokens(
                message, Message("assistant", "Hello!"), message, system="Be brief."
            ),
        )

    short, long_system, long_history = asyncio.run(count_all())
    assert short < long_system
    assert short < long_history


def test_tool_calls_are_part_of_the_text():
    """Tool calls are in the text, because many templates omit them; results are tool messages."""
    call = ToolCall("1", "weather", '{"city": "Rome"}')
    request = Request(
        (
            Message("user", ["Weather?", "Now?"]),
            Message("assistant", ["I look.", call, ToolCall("2", "time", "")]),
            Message("tool", [ToolResult("1", "12 \ud800"), ToolResult("2", "no", is_error=True)]),
        ),
        "smollm2",
    )

    assert local_module._body(request)["messages"] == [
        {"role": "user", "content": "Weather?\n\nNow?"},
        {
            "role": "assistant",
            "content": 'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n'
            '</tool_call>\n<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>',
        },
        {"role": "tool", "tool_call_id": "1", "content": "12 \ufffd"},
        {"role": "tool", "tool_call_id": "2", "content": "Error: no"},
    ]


@needs_weights
def test_the_local_model_reads_every_part(engine):
    """The arguments of a call and its result both add input tokens."""

    async def count_input_tokens(arguments, result):
        messages = (
            Message("user", "Weather?"),
            Message("assistant", [ToolCall("1", "weather", arguments)]),
            Message("tool", [ToolResult("1", result)]),
        )
        request = Request(messages, "smollm2", max_tokens=1)
        return [chunk async for chunk in engine.stream(request)][-1].usage.input_tokens

    async def count_all():
        longer = '{"city": "Rome, the one in Italy"}'
        return [
            await count_input_tokens(arguments, result)
            for arguments, result in (("{}", "x"), (longer, "x"), ("{}", "x y z u v w"))
        ]

    short, long_call, long_result = asyncio.run(count_all())
    assert short < long_call
    assert short < long_result


@needs_weights
@pytest.mark.parametrize("text", [PARIS_PROMPT, "日本語とемодзи 👩‍👩‍👧 " * 20, "x\ud800\x00y"])
def test_tokens_are_counted_by_the_models_own_tokenizer(engine, text):
    """The number of tokens counted before a call equals the number that the answer reports."""

    async def compare():
        request = make_request(text, system="Be brief.", max_tokens=1)
        return await engine.count_tokens(request), await ask(
            engine, text, system="Be brief.", max_tokens=1
        )

    counted, answer = asyncio.run(compare())
    assert counted == answer.usage.input_tokens


@needs_weights
def test_an_answer_matches_its_schema(engine):
    """If a schema is set, the answer is JSON that matches the schema."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = json.loads(asyncio.run(ask(engine, "Invent a person.", schema=schema)).text)
    assert answer.keys() == {"name", "age"}
    assert isinstance(answer["age"], int)


@needs_weights
def test_a_number_ends(engine):
    """A number is requested inside an object, whose end the model knows, and then unwrapped."""
    schema = engine.enforceable_schema(
        make_request("How many days has a week?", schema={"type": "integer"})
    )

    answer = asyncio.run(ask(engine, "How many days has a week?", schema=schema))

    assert answer.text == '{"answer": 7}'
    assert ResponseSchema(int).parse(answer.text) == 7


@needs_weights
@pytest.mark.parametrize(
    "name", ["prefixes", "defaults", "times", "recursive", "dict", "named tuple", "recursive union"]
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_an_answer_has_the_requested_type(engine, name, temperature):
    """Even at a high temperature, an answer ends and is a value of the type."""
    (case,) = [case for case in CASES if case.name == name]
    schema = ResponseSchema(case.kind)
    request = {"schema": schema.described, "temperature": temperature, "seed": 1}

    answer = asyncio.run(ask(engine, "Invent something short.", max_tokens=None, **request))

    schema.parse(answer.text)
    assert answer.finish_reason == "stop"


@needs_weights
def test_an_equal_seed_repeats_an_answer(engine):
    """At temperature 1 an equal seed repeats the answer, and another seed changes it."""

    def tell_story(seed: int) -> str:
        answer = asyncio.run(ask(engine, STORY_PROMPT, temperature=1.0, seed=seed, max_tokens=20))
        return answer.text

    assert tell_story(1) == tell_story(1)
    assert tell_story(1) != tell_story(2)


@needs_weights
def test_generate_returns_the_complete_answer(engine):
    """`generate` returns the text of the complete answer."""
    assert "Paris" in asyncio.run(engine.generate(PARIS_PROMPT, temperature=0))


@dataclass(frozen=True)
class InvalidRequest:
    """Options that llama.cpp rejects, and the expected exception."""

    name: str
    options: dict[str, Any]
    error: type[GatewayError]


@needs_weights
@pytest.mark.parametrize(
    "case",
    [
        InvalidRequest("prompt too long", {"text": "hi " * 5000}, ContextLengthError),
        InvalidRequest("invalid schema", {"schema": {"type": "nonsense"}}, ProviderError),
        InvalidRequest("invalid temperature", {"temperature": "hot"}, ProviderError),
        InvalidRequest("not JSON", {"params": {"x": object()}}, ProviderError),
        InvalidRequest("lone surrogate", {"params": {"x": "\ud800"}}, ProviderError),
    ],
    ids=lambda case: case.name,
)
def test_invalid_requests_raise_typed_errors(engine, case):
    """Invalid options raise a typed error, and the next call works."""
    with pytest.raises(case.error) as caught:
        asyncio.run(ask(engine, **case.options))
    assert caught.value.engine == "local"
    assert len(str(caught.value)) < 300
    assert "Paris" in asyncio.run(ask(engine)).text


@needs_weights
def test_lone_surrogates_and_nul_in_a_prompt_are_accepted(engine):
    """Lone surrogates and NUL in a prompt are replaced, because JSON cannot contain them."""
    assert asyncio.run(ask(engine, "a\ud800b\x00c\U0001f600", max_tokens=3)).chunk_count


@needs_weights
def test_closing_a_stream_releases_its_slot(engine):
    """After three of four streams are closed, four more calls finish before the fourth stream."""

    async def close_and_ask():
        request = make_request(STORY_PROMPT, max_tokens=3000, params={"ignore_eos": True})
        last = asyncio.create_task(
            ask(engine, STORY_PROMPT, max_tokens=1000, params=request.params)
        )
        for _ in range(3):
            async with aclosing(engine.stream(request)) as stream:
                async for chunk in stream:
                    if chunk.text:
                        break
        await asyncio.gather(*(ask(engine) for _ in range(4)))
        return last.cancel()  # False if the call has finished

    assert asyncio.run(close_and_ask())


@needs_weights
def test_a_call_can_be_cancelled_while_its_prompt_is_processed(engine):
    """A call that is cancelled while its long prompt is processed ends after the current batch."""

    async def cancel():
        task = asyncio.create_task(ask(engine, "hi " * 3800, max_tokens=3))
        await wait_until(lambda: any(host._running_calls for host in engine._hosts.values()))
        (host,) = engine._hosts.values()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await wait_until(lambda: not host._running_calls)

    assert asyncio.run(cancel()) < 8  # processing the complete prompt takes 35 s


@needs_weights
def test_interleaved_streams_do_not_mix(engine):
    """Two streams that are read alternately each yield their own answer."""

    async def read_alternately():
        texts = ["", ""]
        streams = [
            engine.stream(make_request(text, temperature=0, max_tokens=30))
            for text in (PARIS_PROMPT, STORY_PROMPT)
        ]
        open_streams = [0, 1]
        while open_streams:
            for number in list(open_streams):
                try:
                    texts[number] += (await anext(streams[number])).text
                except StopAsyncIteration:
                    open_streams.remove(number)
        return texts

    paris, story = asyncio.run(read_alternately())
    assert paris == "The capital of France is Paris."
    assert "Paris" not in story


@needs_weights
def test_concurrent_first_calls_load_the_model_once(linked_weights, monkeypatch):
    """Four concurrent first calls load the model once."""
    import xllamacpp

    loads = []

    def count_load(params):
        loads.append(params.api_keys)
        time.sleep(0.1)  # lets other threads run, as loading does on some platforms
        return server_class(params)

    server_class = xllamacpp.Server
    monkeypatch.setattr(xllamacpp, "Server", count_load)
    engine = make_engine()

    async def ask_concurrently():
        answers = await asyncio.gather(*(ask(engine) for _ in range(4)))
        await engine.cleanup()
        return answers

    assert {answer.model for answer in asyncio.run(ask_concurrently())} == {"smollm2"}
    assert len(loads) == 1
    assert len(loads[0][0]) >= 32


@needs_weights
def test_closing_an_engine_does_not_affect_another(engine, linked_weights, capfd):
    """Closing an engine does not affect another engine, and the closed engine can load again.

    Nothing is printed to stderr.
    """

    async def close_one():
        second_engine = make_engine()
        await ask(second_engine)
        await second_engine.cleanup()
        assert "Paris" in (await ask(engine)).text
        assert "Paris" in (await ask(second_engine)).text
        await second_engine.cleanup()
        await second_engine.cleanup()

    asyncio.run(close_one())
    assert capfd.readouterr() == ("", "")


@needs_weights
def test_cleanup_ends_a_running_answer(linked_weights):
    """Closing an engine raises `TruncatedError` in a running call."""

    async def close_during_answer():
        engine = make_engine()
        task = asyncio.create_task(ask(engine, STORY_PROMPT, max_tokens=3000))
        await wait_until(lambda: any(host._server for host in engine._hosts.values()))
        await engine.cleanup()
        with pytest.raises(TruncatedError):
            await task

    asyncio.run(close_during_answer())


# Process exit

SCRIPT_WITH_ANSWER = """if True:
    import asyncio, contextlib, gc, os, signal, sys, threading, warnings
    from gatewayx_nb.errors import TruncatedError
    from tests.engines import engine_module
    from gatewayx_nb.llm_engines import Message, Request
    engine = engine_module("local").LocalEngine("", model_path=sys.argv[1])
    started = threading.Event()

    async def ask():
        with contextlib.suppress(TruncatedError):
            await read()

    async def read():
        request = Request((Message("user", "Write a long story."),), "smollm2", max_tokens=3000)
        async for chunk in engine.stream(request):
            if chunk.text:
                started.set()

    def ask_on_thread():
        threading.Thread(target=asyncio.run, args=(ask(),), daemon=True).start()
        started.wait()
"""


def run_script(script: str, *args: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a script in its own process."""
    return subprocess.run(
        [sys.executable, "-c", script, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@needs_weights
@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)"])
def test_a_process_exits_during_an_answer(gguf, ending):
    """The interpreter exits without an error while a daemon thread receives a long answer."""
    process = run_script(f"{SCRIPT_WITH_ANSWER}\n    ask_on_thread()\n    {ending}", str(gguf))
    assert (process.returncode, process.stderr) == (0, "")


@needs_weights
def test_ctrl_c_during_an_answer_raises_keyboard_interrupt(gguf):
    """Ctrl-C during `asyncio.run` raises KeyboardInterrupt."""
    script = f"""{SCRIPT_WITH_ANSWER}
    def interrupt():
        started.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        asyncio.run(ask())
    except KeyboardInterrupt:
        sys.exit(7)
    """
    process = run_script(script, str(gguf))
    assert (process.returncode, process.stderr) == (7, "")


@needs_weights
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_affect_the_parent(gguf):
    """A forked child that deletes the parent's engine does not stop it, and can load its own."""
    script = f"""{SCRIPT_WITH_ANSWER}
    ask_on_thread()
    # Python 3.12 and later warn that a fork of a process with threads may deadlock.
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    child = os.fork()
    if not child:
        del engine
        gc.collect()
        engine = engine_module("local").LocalEngine("", model_path=sys.argv[1])
        answer = asyncio.run(engine.generate("What is the capital of France?", max_tokens=3))
        os._exit(3 if answer else 4)
    _, status = os.waitpid(child, 0)
    started.clear()
    ask_on_thread()  # the first answer may have ended, if the child took long
    sys.exit(os.waitstatus_to_exitcode(status))
    """
    process = run_script(script, str(gguf))
    assert (process.returncode, process.stderr) == (3, "")
