import asyncio
import threading
import time
from decimal import Decimal

import pytest

import gatewayx_nb as gx
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import (
    DeadlineError,
    ProviderError,
    TransportError,
    TruncatedError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, LLMEngine, Usage
from gatewayx_nb.testing import ScriptedEngine

GENERATE = "    async def generate(self, prompt, **kwargs):\n"


END = Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2))


def test_a_reply_has_usage_and_timing(make_scripted_pool):
    """A reply has text, reasoning, tokens, cost, times and the model that the provider reports."""
    pool, engine = make_scripted_pool(
        ["a", Chunk(reasoning="hm"), Chunk(text="b", model="m-2"), END]
    )

    start = time.monotonic()
    reply = pool.ask("hi", model="scripted", temperature=0, stop="x", params={"top_p": 1})
    elapsed = time.monotonic() - start

    assert (reply.text, reply.reasoning, reply.model, reply.engine) == (
        "ab",
        "hm",
        "m-2",
        "scripted",
    )
    assert (reply.finish_reason, reply.cost, reply.attempts) == ("stop", Decimal("0.005"), 1)
    assert 0 <= reply.time_to_first <= reply.latency <= elapsed
    (request,) = engine.requests
    assert (request.prompt, request.model, request.stop) == ("hi", "script", ("x",))
    assert (request.temperature, request.params, request.streamed) == (0, {"top_p": 1}, False)


def test_a_stream_yields_every_chunk_in_order(make_scripted_pool):
    """A stream yields every chunk in order, and `reply` contains the complete text."""
    words = [f"{number} " for number in range(5000)]
    pool, engine = make_scripted_pool([*words, END])

    stream = pool.stream("hi", model="scripted")
    texts = [chunk.text for chunk in stream]

    assert texts == [*words, ""]
    assert stream.reply.text == "".join(words)
    assert engine.requests[0].streamed


def test_all_kinds_of_calls_have_the_same_result(make_scripted_pool):
    """Sync, async and streamed calls return the same text, on any thread and event loop."""
    pool, _ = make_scripted_pool(["a", "b", END])
    texts = [pool.ask("x", model="scripted").text]

    async def call_async():
        texts.append((await pool.aask("x", model="scripted")).text)
        texts.append("".join([c.text async for c in pool.astream("x", model="scripted")]))

    for _ in range(3):
        asyncio.run(call_async())
    thread = threading.Thread(target=lambda: texts.append(pool.ask("x", model="scripted").text))
    thread.start()
    thread.join(10)

    assert texts == ["ab"] * 8


def test_a_transient_error_is_retried(make_scripted_pool, monkeypatch):
    """A transient error is retried, and the reply contains the number of attempts."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    fault = ProviderError("busy", status=503)
    pool, engine = make_scripted_pool([fault], ["ok", END])

    reply = pool.ask("x", model="scripted")

    assert (reply.text, reply.attempts, len(engine.requests)) == ("ok", 2, 2)


def test_the_settings_limit_the_retries(project):
    """`[limits] retries` limits the number of retries; with 0 the first error is raised."""
    project.settings("limits.retries = 0")
    engine = ScriptedEngine([ProviderError("busy", status=503)])

    with project.pool(engines=[engine]) as pool, pytest.raises(ProviderError, match="busy"):
        pool.ask("x", model="scripted")

    assert len(engine.requests) == 1


def test_there_is_no_retry_after_the_first_chunk(make_scripted_pool):
    """An error after the first chunk is not retried; it contains the partial text."""
    pool, engine = make_scripted_pool(["half ", ProviderError("busy", status=503)])

    with pytest.raises(ProviderError) as caught:
        pool.ask("x", model="scripted")

    assert (caught.value.partial, len(engine.requests)) == ("half ", 1)
    assert (caught.value.engine, caught.value.model) == ("scripted", "script")


def test_a_failing_stream_yields_its_chunks_first(make_scripted_pool):
    """A stream yields its chunks before it raises the error."""
    pool, _ = make_scripted_pool(["half ", TruncatedError("cut")])
    texts = []

    with pytest.raises(TruncatedError) as caught:
        texts.extend(chunk.text for chunk in pool.stream("x", model="scripted"))

    assert texts == ["half "]
    assert caught.value.partial == "half "


def test_a_deadline_applies_to_any_engine(make_scripted_pool):
    """The deadline ends a call before its engine has finished.

    A `TimeoutError` that the engine raises is a provider error instead.
    """
    pool, _ = make_scripted_pool(["a", 60], [TimeoutError("engine timeout")])
    start = time.monotonic()

    with pytest.raises(DeadlineError, match=r"longer than 0.2 s") as caught:
        pool.ask("x", model="scripted", timeout=0.2)

    assert time.monotonic() - start < 40  # the engine would take 60 s
    assert caught.value.partial == "a"
    with pytest.raises(ProviderError, match="engine timeout"):
        pool.ask("x", model="scripted", timeout=5)


@pytest.mark.parametrize("exit_", ["break", "close", "delete"])
def test_leaving_a_stream_stops_the_engine(make_scripted_pool, exit_):
    """Leaving a stream by ``break``, `close` or garbage collection stops the engine."""
    pool, engine = make_scripted_pool(["a", 30])
    stream = pool.stream("x", model="scripted")
    for _ in stream:
        break
    if exit_ == "close":
        stream.close()
        assert (stream.reply.text, stream.reply.interrupted) == ("a", True)
    else:
        del stream

    assert engine.ended.wait(2)


def test_cancelling_an_async_stream_keeps_the_partial_reply(make_scripted_pool):
    """Cancelling an async stream stops the engine; the partial reply is marked as interrupted."""
    pool, engine = make_scripted_pool(["a", 30])

    async def main():
        stream = pool.astream("x", model="scripted")

        async def read():
            async for _ in stream:
                pass

        task = asyncio.ensure_future(read())
        while not stream.partial.has_begun:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stream.reply

    reply = asyncio.run(main())

    assert (reply.text, reply.interrupted) == ("a", True)
    assert engine.ended.wait(2)


def test_a_thousand_cancelled_calls_leave_no_task(make_scripted_pool):
    """A thousand cancelled calls leave no task on the engine's event loop."""
    pool, engine = make_scripted_pool([30])

    async def main():
        for _ in range(10):
            tasks = [asyncio.ensure_future(pool.aask("x", model="scripted")) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())

    async def wait_for_other_tasks():
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
        return len(asyncio.all_tasks())

    engine.scripts = [["ok", END]]
    assert pool.ask("x", model="scripted").text == "ok"
    host = next(iter(pool._runtime._hosts.values()))
    assert host.portal.submit(wait_for_other_tasks()).result(5) == 1


def test_the_settings_limit_the_concurrency(project):
    """At most `[limits] concurrency` calls to an engine run at once, and further calls wait."""
    project.settings("limits.concurrency = 2")
    running_calls = []

    class Counting(ScriptedEngine):
        async def stream(self, request):
            running_calls.append(1)
            counts.append(len(running_calls))
            await asyncio.sleep(0.01)
            running_calls.pop()
            yield END

    counts = []
    pool = project.pool(engines=[Counting([])])

    async def main():
        await asyncio.gather(*(pool.aask("x", model="counting") for _ in range(10)))

    asyncio.run(main())
    pool.close()
    assert max(counts) == 2


def test_closing_a_pool_ends_its_calls_with_a_typed_error(make_scripted_pool):
    """Closing a pool raises a typed error in running calls, and the next call reopens the pool."""
    pool, engine = make_scripted_pool([30], ["ok", END])
    codes = []

    def ask():
        try:
            pool.ask("x", model="scripted")
        except TransportError as error:
            codes.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(engine.requests) < 1:
        time.sleep(0.01)
    pool.close()
    for thread in threads:
        thread.join(5)

    assert "closed" in codes
    assert pool.ask("x", model="scripted").text == "ok"


@pytest.mark.parametrize("engines", [5, {"mock": 1}, ["mock"], [LLMEngine]])
def test_engines_must_be_engine_objects(engines):
    """A pool refuses an object that is not an engine, and accepts a single engine or several."""
    with pytest.raises(UsageError, match="engines must be instances of a subclass of LLMEngine"):
        EnginePool(engines=engines)

    with EnginePool(engines=ScriptedEngine(["a", END])) as pool:
        assert pool.ask("hi", "scripted").text == "a"


def test_two_engines_with_the_same_name_raise_an_error():
    """Two engines with the same name raise an error, because only one could be called."""
    with pytest.raises(UsageError, match="'scripted'"):
        EnginePool(env={}, engines=[ScriptedEngine([]), ScriptedEngine([])])


def test_an_edited_engine_is_reloaded_and_running_calls_keep_the_old_one(project):
    """An edited engine file applies to the next call, without a restart.

    The old instance is cleaned up when its last call ends.
    """
    cleanup_marker = project.root / "cleanup"
    slow_body = (
        "    async def stream(self, request):\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        "        import asyncio\n"
        "        yield Chunk(text='old ')\n"
        "        await asyncio.sleep(0.5)\n"
        "        yield Chunk(text='end')\n"
        "    async def cleanup(self):\n"
        f"        open({str(cleanup_marker)!r}, 'w').close()\n"
    )
    project.engine("mine", body=slow_body)
    pool = project.pool()
    stream = pool.stream("x", model="mine")
    next(stream)

    project.engine("mine", "new")
    pool.refresh()

    assert pool.ask("x", model="mine").text == "new"
    assert not cleanup_marker.exists()
    assert "".join(chunk.text for chunk in stream) == "end"
    assert pool.ask("x", model="mine").text == "new"
    assert cleanup_marker.exists()
    pool.close()


def test_changed_keys_and_files_apply_to_the_next_call(project):
    """Added, changed and removed keys and engine files apply to the next call."""
    body = "    requires_key = True\n" + GENERATE + "        return str(self.api_key)\n"
    path = project.engine("mine", body=body)
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    pool = project.pool()
    answers = []
    for key in ("k1", "k2"):
        project.set_keys(f"GATEWAYX_MINE_API_KEY={key}\n")
        pool.refresh()
        answers.append(pool.ask("x", model="mine").text)
    project.set_keys("")
    pool.refresh()
    with pytest.raises(gx.errors.MissingKeyError):
        pool.ask("x", model="mine")
    path.unlink()
    pool.refresh()
    with pytest.raises(gx.errors.EngineNotFoundError):
        pool.ask("x", model="mine")

    assert answers == ["k1", "k2"]
    pool.close()


def test_settings_override_a_constructor(project):
    """Settings override the model and URL that an engine's constructor assigns."""
    body = (
        "    def __init__(self, api_key, **kwargs):\n"
        "        super().__init__(api_key, **kwargs)\n"
        "        self.model_name, self.base_url = 'own', 'http://own'\n"
        "    async def generate(self, prompt, **kwargs):\n"
        "        return f'{self.model_name} {self.base_url} {kwargs}'\n"
    )
    project.engine("mine", body=body)
    pool = project.pool()
    assert pool.ask("x", model="mine").text == "own http://own {}"

    project.settings('engines.mine = {model = "set", base_url = "http://set"}')
    pool.refresh()

    assert pool.ask("x", model="mine").text == "set http://set {}"
    assert pool.ask("x", model="mine:other").text == "set http://set {'model': 'other'}"
    pool.close()


def test_reading_a_reply_before_its_end_raises_an_error(make_scripted_pool):
    """Reading `reply` before the stream has ended raises an error."""
    pool, _ = make_scripted_pool(["a", 30])
    stream = pool.stream("x", model="scripted")

    with pytest.raises(UsageError, match="not ended"):
        _ = stream.reply
    with stream:
        next(stream)
    assert stream.reply.interrupted


class Connected(LLMEngine):
    """Engine whose calls fail when `cleanup` closes its connection."""

    requires_key = False

    def __init__(self):
        super().__init__("")
        self.called = threading.Event()

    async def generate(self, prompt, **kwargs):
        self.connection = asyncio.get_running_loop().create_future()
        self.called.set()
        return await self.connection

    async def cleanup(self):
        if not self.connection.done():
            self.connection.set_exception(ConnectionError("closed"))


def test_closing_a_pool_is_not_reported_as_a_broken_connection():
    """Closing a pool cancels calls before it closes their connections, so no call is retried."""
    engine, codes = Connected(), []
    with EnginePool(env={}, engines=[engine]) as pool:

        def ask():
            with pytest.raises(TransportError, match="the pool was closed") as caught:
                pool.ask("x", model="connected")
            codes.append(caught.value.code)

        thread = threading.Thread(target=ask)
        thread.start()
        assert engine.called.wait(20)
        pool.close()
        thread.join()

    assert codes == ["closed"]


def test_closing_cleans_up_and_the_next_call_starts_a_new_instance(make_scripted_pool):
    """Closing a pool twice cleans up each engine once, and the next call starts a new instance."""
    pool, engine = make_scripted_pool(["a", END])
    pool.ask("x", model="scripted")

    pool.close()
    pool.close()

    assert engine.cleanups == 1
    assert pool.ask("x", model="scripted").text == "a"


COUNTING_BODY = """\
    instances = 0

    def __init__(self, api_key="", **keywords):
        super().__init__(api_key, **keywords)
        type(self).instances += 1

    async def generate(self, prompt, **kwargs):
        return str(type(self).instances)
"""


def test_concurrent_first_calls_share_one_instance(project):
    """Concurrent first calls share one engine instance, so that they share its connections."""
    project.engine("counting", body=COUNTING_BODY)

    async def call_concurrently(pool):
        return await asyncio.gather(*(pool.aask("x", model="counting") for _ in range(100)))

    with project.pool() as pool:
        first = asyncio.run(call_concurrently(pool))
        later = asyncio.run(call_concurrently(pool))

    assert {reply.text for reply in (*first, *later)} == {"1"}


@pytest.mark.parametrize(
    ("home", "message"),
    [
        ("missing", "home must be an existing folder, got 'missing'"),
        ("", "home must be a str or a Path, got ''"),
        (3, "home must be a str or a Path, got 3"),
    ],
)
def test_a_project_folder_must_exist(home, message):
    """A misspelled folder is an error, and not a project without keys and engines."""
    with pytest.raises(UsageError, match=message):
        EnginePool(home)
