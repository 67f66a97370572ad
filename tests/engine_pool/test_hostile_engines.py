"""Engines that raise, block, or try to exit the process."""

import asyncio
import threading
import traceback

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import (
    DeadlineError,
    EngineLoadError,
    ProviderError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, LLMEngine
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.testing import ScriptedEngine

CANARY = "canary-5f0c1e7a9b3d"
GENERATE = "    async def generate(self, prompt, **kwargs):\n"


def test_any_exception_of_an_engine_becomes_a_provider_error(make_scripted_pool):
    """A bug in an engine file raises a one-line `ProviderError` that names the file."""
    pool, _ = make_scripted_pool([ValueError("line one\nline two")])

    with pytest.raises(ProviderError, match="ValueError: line one line two") as caught:
        pool.ask("x", model="scripted")

    assert isinstance(caught.value.__cause__, ValueError)


def test_an_engine_that_blocks_does_not_delay_other_engines(project):
    """A blocking engine does not delay other engines, because each has its own thread."""
    release = project.blocking_engine("blocking")
    pool = project.pool()
    caller = threading.Thread(target=lambda: pool.ask("x", model="blocking"))
    caller.start()

    assert pool.ask("quick", model="mock").text == "[mock] quick"

    assert caller.is_alive()
    release.touch()
    caller.join()
    pool.close()


def test_a_deadline_applies_to_an_engine_that_blocks(project):
    """The deadline of every kind of call applies to an engine that blocks its event loop."""
    release = project.blocking_engine("blocking")
    pool = project.pool()

    with pytest.raises(DeadlineError, match=r"longer than 0.1 s"):
        pool.ask("x", model="blocking", timeout=0.1)
    with pytest.raises(DeadlineError):
        list(pool.stream("x", model="blocking", timeout=0.1))
    with pytest.raises(DeadlineError):
        asyncio.run(pool.aask("x", model="blocking", timeout=0.1))

    release.touch()
    pool.close()


@pytest.mark.parametrize(
    "exception", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_an_engine_cannot_stop_its_event_loop(exception):
    """SystemExit, KeyboardInterrupt and CancelledError raised in an engine fail only that call."""

    class Hostile(ScriptedEngine):
        async def stream(self, request):
            if request.prompt == "fail":
                raise exception
            yield Chunk(text="fine", finish_reason="stop")

    with EnginePool(env={}, engines=[Hostile([])]) as pool:
        with pytest.raises(ProviderError, match=type(exception).__name__):
            pool.ask("fail", model="hostile")
        assert pool.ask("x", model="hostile").text == "fine"


def test_a_cause_that_contains_the_key_is_not_chained(project):
    """An exception whose text contains the key is not chained, because tracebacks show causes."""
    body = GENERATE + "        raise ValueError(f'bad key {self.api_key}')\n"
    path = project.engine("mine", body=body)
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    project.set_keys("GATEWAYX_MINE_API_KEY=sk-canary-123456\n")

    with project.pool() as pool, pytest.raises(ProviderError) as caught:
        pool.ask("x", model="mine")

    printed = "".join(traceback.format_exception(caught.value))
    assert "ValueError: bad key <key>" in printed
    assert "canary" not in printed


def test_a_blocking_call_inside_an_engine_raises_an_error(project):
    """A blocking call inside an engine would deadlock, so it raises an error that names `aask`."""
    blocking_body = (
        GENERATE
        + "        import gatewayx_nb as gx\n        return gx.ask('x', model='mock').text\n"
    )
    project.engine("blocking", body=blocking_body)
    project.engine(
        "awaiting",
        body=blocking_body.replace("return gx.ask(", "return await gx.aask(").replace(".text", ""),
    )
    pool = project.pool()

    with pytest.raises(UsageError, match="aask"):
        pool.ask("x", model="blocking")
    assert pool.ask("x", model="awaiting").text == "[mock] x"


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("def __init__(self): super().__init__()", "TypeError"),
        (
            "def __init__(self, api_key): raise ValueError(f'bad {api_key}')",
            "ValueError: bad <key>",
        ),
    ],
)
def test_a_failing_constructor_raises_one_line_without_the_key(project, init, message):
    """A failing constructor raises a one-line error without the key; the status shows it too."""
    path = project.engine("mine", body=f"    {init}\n" + GENERATE + "        return ''\n")
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    project.set_keys("GATEWAYX_MINE_API_KEY=sk-canary-123456\n")
    pool = project.pool()

    with pytest.raises(EngineLoadError, match=message) as caught:
        pool.ask("x", model="mine")

    assert "canary" not in str(caught.value)
    (row,) = [row for row in pool.status() if row.name == "mine"]
    assert (row.state, message in row.error) == ("failed", True)


LEAKS = {
    "BaseException": "raise BaseException(f'bad {self.api_key}')",
    "group": "raise BaseExceptionGroup('bad', [BaseException(str(self.api_key))])",
    "__str__": (
        "key = str(self.api_key)\n"
        "        class Odd(Exception):\n"
        "            def __str__(self):\n"
        "                raise ValueError(key)\n"
        "        raise Odd"
    ),
}


@pytest.mark.parametrize("form", LEAKS)
def test_no_exception_of_an_engine_shows_its_key(project, form):
    """Any exception of an engine becomes a typed error without the key."""
    body = "    async def generate(self, prompt, **kwargs):\n        " + LEAKS[form] + "\n"
    project.engine("leaking", body=body)
    project.set_keys(f"GATEWAYX_LEAKING_API_KEY={CANARY}\n")

    with project.pool() as pool, pytest.raises(ProviderError) as caught:
        pool.ask("hi", "leaking")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_price_and_cleanup_errors_do_not_show_the_key(project, caplog):
    """Errors from `get_cost_per_token` and warnings from `cleanup` do not contain the key."""
    project.engine(
        "leaking",
        body=(
            "    async def generate(self, prompt, **kwargs):\n        return 'x'\n\n"
            "    def get_cost_per_token(self):\n        raise ValueError(str(self.api_key))\n\n"
            "    async def cleanup(self):\n        raise ValueError(str(self.api_key))\n"
        ),
    )
    project.set_keys(f"GATEWAYX_LEAKING_API_KEY={CANARY}\n")

    with project.pool() as pool, pytest.raises(ProviderError) as caught:
        pool.ask("hi", "leaking")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert "failed to clean up" in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize(
    "attribute",
    [
        "features = None",
        "features = 5",
        "unsupported_options = [1]",
        "params = 'x'",
        "prices = (1, 2)",
    ],
)
def test_an_engines_invalid_attribute_affects_only_that_engine(project, attribute):
    """An attribute's wrong type is reported when the engine is loaded; the status still works."""
    project.engine("odd", body=f"    {attribute}\n\n{GENERATE}        return 'x'\n")

    with project.pool() as pool:
        name = attribute.split()[0]
        with pytest.raises(EngineLoadError, match=rf"Engine\.{name} must be"):
            pool.ask("hi", "odd")
        assert pool.ask("hi", "mock").text == "[mock] hi"
        assert {row.name: row.state for row in pool.status()}["odd"] == "failed"


RAISING = """
class Raising:
    def __get__(self, instance, owner): raise KeyboardInterrupt("get")
class Unprintable:
    def __repr__(self): raise SystemExit("repr")
class Meta(type(LLMEngine)):
    def __getattribute__(cls, name):
        if name == "features": raise KeyboardInterrupt("class")
        return super().__getattribute__(name)
class Unnamed(type(LLMEngine)):
    __name__ = property(lambda cls: 1 / 0)
class Untold(Exception):
    def __str__(self): raise SystemExit("str")
class Later:
    calls = 0
    def __get__(self, instance, owner):
        Later.calls += 1
        if Later.calls > 8: raise KeyboardInterrupt("later")
        return "m"
class Text(str):
    def __str__(self): raise SystemExit
    def __len__(self): raise SystemExit
    def __eq__(self, other): raise KeyboardInterrupt
    __hash__ = str.__hash__
def raise_untold(): raise Untold
"""


@pytest.mark.parametrize(
    ("head", "attribute"),
    [
        ("LLMEngine", "features = Raising()"),
        ("LLMEngine", "model_name = Raising()"),
        ("LLMEngine", "features = Unprintable()"),
        ("LLMEngine", "prices = Unprintable()"),
        ("LLMEngine", "x = raise_untold()"),
        ("LLMEngine, metaclass=Meta", ""),
        ("LLMEngine, metaclass=Unnamed", "prices = 3"),
    ],
)
def test_a_class_that_raises_when_it_is_read_is_one_failed_row(project, head, attribute):
    """What a class raises when its attributes are read is an error of that engine only."""
    path = project.engine("odd", "x", body=f"    {attribute}\n\n{GENERATE}        return 'x'\n")
    text = path.read_text()
    start = text.index("class ")
    path.write_text(text[:start] + RAISING + text[start:].replace("(LLMEngine)", f"({head})", 1))
    with project.pool() as pool:
        for call in (pool.ask, pool.preview, pool.embed):
            with pytest.raises(EngineLoadError, match="engine 'odd' cannot be loaded"):
                call("x", model="odd")
        assert "cannot be loaded" in str(pool.health("odd"))
        assert {row.name: row.state for row in pool.status()}["odd"] == "failed"
        assert "mock" in {model.engine for model in pool.models()}
        assert pool.ask("hi", "mock").text == "[mock] hi"


@pytest.mark.parametrize("value", ["Later()", "Text('m')"])
def test_the_attributes_of_a_class_are_copied_when_it_is_loaded(project, value):
    """A status after the load runs no code of the class, which could raise."""
    path = project.engine("odd", body=f"    model_name = {value}\n\n{GENERATE}        return 'x'\n")
    text = path.read_text()
    start = text.index("class ")
    path.write_text(text[:start] + RAISING + text[start:])
    with project.pool() as pool:
        assert pool.ask("hi", "odd").text == "x"
        for _ in range(10):
            assert {row.name: row.model for row in pool.status()}["odd"] == "m"
        assert "odd:m" in map(str, pool.models())


@pytest.mark.parametrize(
    "models",
    ["[ModelInfo(model=3, engine=None)]", "[object.__new__(ModelInfo)]", "Models()", "[]"],
)
def test_models_of_a_wrong_type_do_not_affect_the_list(project, models):
    """A model list of a wrong type is an error of that engine only; the others are listed."""
    body = f"{GENERATE}        return 'x'\n\n    async def models(self):\n        return {models}\n"
    path = project.engine("odd", body=body)
    path.write_text(
        "from gatewayx_nb.messages import ModelInfo\n"
        "class Models(list):\n    def __iter__(self): raise SystemExit\n" + path.read_text()
    )
    with project.pool() as pool:
        text = str(pool.models(live=True))
        assert "mock" in text


def test_a_syntax_error_is_reported_before_a_missing_key(project):
    """An engine file's syntax error is reported first, because a key would not fix it."""
    path = project.engine("broken")
    path.write_text(path.read_text().replace("requires_key = False", "") + "\n    def broken(:\n")

    with project.pool() as pool, pytest.raises(EngineLoadError, match="SyntaxError in line"):
        pool.ask("hi", "broken")


def test_a_chunk_is_shown_before_its_engine_blocks():
    """The chunks of an engine that blocks its event loop arrive one by one, in every stream."""
    arrived = threading.Event()

    class Engine(LLMEngine):
        name = "blocking"
        requires_key = False

        async def stream(self, request):
            yield Chunk(text="a")
            yield Chunk(text="b" if arrived.wait(10) else "too late")
            yield Chunk(finish_reason="stop")

    async def read_async(pool):
        async for chunk in pool.astream("x", model="blocking"):
            arrived.set()
            texts.append(chunk.text)

    def read(pool):
        for chunk in pool.stream("x", model="blocking"):
            arrived.set()
            texts.append(chunk.text)

    with EnginePool(engines=[Engine()]) as pool:
        for run in (lambda: asyncio.run(read_async(pool)), lambda: read(pool)):
            arrived.clear()
            texts = []
            run()
            assert texts == ["a", "b", ""]


LARGE = "xai-Zq7" * 2**18
LARGE_CHUNKS = {
    "text": Chunk(text=LARGE),
    "reasoning": Chunk(reasoning=LARGE),
    "tool call": Chunk(tool_calls=(ToolCall("1", "look", LARGE),)),
    "body": Chunk(text="x", raw={"choices": [LARGE]}),
    "model": Chunk(text="x", model=LARGE),
}


@pytest.mark.parametrize("chunk", LARGE_CHUNKS.values(), ids=LARGE_CHUNKS)
def test_the_search_of_a_large_answer_for_the_key_does_not_block_others(chunk):
    """The event loop runs while a large chunk is checked, and again while the answer is masked."""
    turns: list[int] = []

    class Large(LLMEngine):
        name = "large"
        count, ticker = 0, None

        async def stream(self, _):
            self.ticker = asyncio.create_task(self.tick())
            yield Chunk(finish_reason=None)
            turns.append(self.count)
            yield chunk
            turns.append(self.count)
            yield Chunk(finish_reason="stop")

        async def tick(self):
            while True:
                self.count += 1
                await asyncio.sleep(0)

        async def cleanup(self):
            turns.append(self.count)
            self.ticker.cancel()

    with EnginePool(engines=[Large("sk-canary-0123456789")]) as pool:
        reply = pool.ask("x", model="large")

    before, checked, masked = turns
    assert checked - before > 20
    assert masked - checked > 20 or LARGE not in (chunk.text, chunk.reasoning)
    assert (reply.text, reply.reasoning) == (chunk.text, chunk.reasoning)
    assert reply.model[:255] == (chunk.model or reply.model)[:255]
    assert (reply.tool_calls, reply.raw) == (chunk.tool_calls, chunk.raw)


@pytest.mark.parametrize("size", [2**10, 2**18, 2**22], ids=["1 KiB", "256 KiB", "4 MiB"])
@pytest.mark.parametrize("is_typed", [True, False], ids=["typed", "other"])
def test_a_huge_error_message_is_truncated_without_a_part_of_the_key(size, is_typed):
    """Only the beginning of a huge message is searched, and no key at the cut is left in it."""
    key = "sk-canary-0123456789"
    text = (f"{key} " + "." * (size - len(key) - 11) + key) * 2

    class Failing(LLMEngine):
        name = "failing"

        async def stream(self, _):
            yield Chunk(text="x")
            raise ProviderError(text) if is_typed else ValueError(text)

    with EnginePool(engines=[Failing(key)]) as pool, pytest.raises(ProviderError) as caught:
        pool.ask("x", model="failing")

    shown = "".join(traceback.format_exception(caught.value))
    assert "<key>" in caught.value.message
    assert "canary" not in shown
    assert len(shown) < 2**19
