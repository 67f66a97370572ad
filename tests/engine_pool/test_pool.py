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

WAITS = "    async def generate(self, prompt, **kwargs):\n"


END = Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2))


def test_a_reply_has_usage_and_timing(scripted):
    """A reply has text, reasoning, tokens, cost, times and the model named by the provider."""
    pool, engine = scripted(["a", Chunk(reasoning="hm"), Chunk(text="b", model="m-2"), END])

    reply = pool.ask("hi", model="scripted", temperature=0, stop="x", params={"top_p": 1})

    assert (reply.text, reply.reasoning, reply.model, reply.engine) == (
        "ab",
        "hm",
        "m-2",
        "scripted",
    )
    assert (reply.finish_reason, reply.cost, reply.attempts) == ("stop", Decimal("0.005"), 1)
    assert 0 <= reply.time_to_first <= reply.latency < 5
    (request,) = engine.requests
    assert (request.prompt, request.model, request.stop) == ("hi", "script", ("x",))
    assert (request.temperature, request.params, request.streamed) == (0, {"top_p": 1}, False)


def test_a_stream_yields_every_chunk_in_order(scripted):
    """A stream yields every chunk in order, and `reply` holds the whole reply."""
    words = [f"{number} " for number in range(5000)]
    pool, engine = scripted([*words, END])

    stream = pool.stream("hi", model="scripted")
    texts = [chunk.text for chunk in stream]

    assert texts == [*words, ""]
    assert stream.reply.text == "".join(words)
    assert engine.requests[0].streamed


def test_all_kinds_of_calls_have_the_same_result(scripted):
    """Sync, async, streamed and whole calls return the same reply, on any event loop."""
    pool, _ = scripted(["a", "b", END])
    outcomes = [pool.ask("x", model="scripted").text]

    async def both():
        outcomes.append((await pool.aask("x", model="scripted")).text)
        outcomes.append("".join([c.text async for c in pool.astream("x", model="scripted")]))

    for _ in range(3):
        asyncio.run(both())
    thread = threading.Thread(target=lambda: outcomes.append(pool.ask("x", model="scripted").text))
    thread.start()
    thread.join(10)

    assert outcomes == ["ab"] * 8


def test_a_transient_error_is_retried(scripted, monkeypatch):
    """A transient error is retried until a reply arrives, which holds the number of attempts."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    fault = ProviderError("busy", status=503)
    pool, engine = scripted([fault], ["ok", END])

    reply = pool.ask("x", model="scripted")

    assert (reply.text, reply.attempts, len(engine.requests)) == ("ok", 2, 2)


def test_attempts_are_bounded(scripted, project):
    """`[limits] retries` bounds the retries; with 0 the first error is raised."""
    project.settings("limits.retries = 0")
    engine = ScriptedEngine([ProviderError("busy", status=503)])

    with project.pool(engines=[engine]) as pool, pytest.raises(ProviderError, match="busy"):
        pool.ask("x", model="scripted")

    assert len(engine.requests) == 1


def test_there_is_no_retry_after_the_first_chunk(scripted):
    """After the first chunk there is no retry; the error holds the partial text."""
    pool, engine = scripted(["half ", ProviderError("busy", status=503)])

    with pytest.raises(ProviderError) as caught:
        pool.ask("x", model="scripted")

    assert (caught.value.partial, len(engine.requests)) == ("half ", 1)
    assert (caught.value.engine, caught.value.model) == ("scripted", "script")


def test_a_failing_stream_yields_its_chunks_first(scripted):
    """A stream yields its chunks before it raises the error."""
    pool, _ = scripted(["half ", TruncatedError("cut")])
    seen = []

    with pytest.raises(TruncatedError) as caught:
        seen.extend(chunk.text for chunk in pool.stream("x", model="scripted"))

    assert caught.value.partial == "half "


def test_a_deadline_holds_for_any_engine(scripted):
    """The deadline ends a call of any engine within a second.

    A `TimeoutError` raised by the engine is not taken for it.
    """
    pool, _ = scripted(["a", 30], [TimeoutError("its own")])
    start = time.monotonic()

    with pytest.raises(DeadlineError, match=r"longer than 0.2 s") as caught:
        pool.ask("x", model="scripted", timeout=0.2)

    assert time.monotonic() - start < 1.2
    assert caught.value.partial == "a"
    with pytest.raises(ProviderError, match="its own"):
        pool.ask("x", model="scripted", timeout=5)


@pytest.mark.parametrize("leave", ["break", "close", "drop"])
def test_leaving_a_stream_stops_the_engine(scripted, leave):
    """Leaving a stream by ``break``, `close` or garbage collection stops the engine."""
    pool, engine = scripted(["a", 30])
    stream = pool.stream("x", model="scripted")
    for _ in stream:
        break
    if leave == "close":
        stream.close()
        assert (stream.reply.text, stream.reply.interrupted) == ("a", True)
    else:
        del stream

    assert engine.ended.wait(2)


def test_cancelling_an_async_stream_keeps_the_partial_reply(scripted):
    """Cancelling an async stream stops the engine and marks the partial reply."""
    pool, engine = scripted(["a", 30])

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


def test_a_thousand_cancelled_calls_leave_nothing(scripted):
    """A thousand cancelled calls leave no task on the engine's event loop."""
    pool, engine = scripted([30])

    async def main():
        for _ in range(10):
            tasks = [asyncio.ensure_future(pool.aask("x", model="scripted")) for _ in range(100)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())

    async def others():
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)
        return len(asyncio.all_tasks())

    engine.scripts = [["ok", END]]
    assert pool.ask("x", model="scripted").text == "ok"
    host = next(iter(pool._runtime._hosts.values()))
    assert host.portal.submit(others()).result(5) == 1


def test_concurrency_is_bounded(project):
    """At most `[limits] concurrency` calls of an engine run at once; the others wait."""
    project.settings("limits.concurrency = 2")
    running = []

    class Counting(ScriptedEngine):
        async def stream(self, request):
            running.append(1)
            most.append(len(running))
            await asyncio.sleep(0.01)
            running.pop()
            yield END

    most = []
    pool = project.pool(engines=[Counting([])])

    async def main():
        await asyncio.gather(*(pool.aask("x", model="counting") for _ in range(10)))

    asyncio.run(main())
    pool.close()
    assert max(most) == 2


def test_closing_a_pool_ends_its_calls_with_a_typed_error(scripted):
    """Closing a pool raises a typed error in waiting calls; the next call reopens it."""
    pool, engine = scripted([30], ["ok", END])
    failures = []

    def ask():
        try:
            pool.ask("x", model="scripted")
        except TransportError as error:
            failures.append(error.code)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    while len(engine.requests) < 1:
        time.sleep(0.01)
    pool.close()
    for thread in threads:
        thread.join(5)

    assert "closed" in failures
    assert pool.ask("x", model="scripted").text == "ok"


def test_two_engines_of_one_name_raise_an_error():
    """Two engines with one name raise an error, because the second would never be used."""
    with pytest.raises(UsageError, match="'scripted'"):
        EnginePool(env={}, engines=[ScriptedEngine([]), ScriptedEngine([])])


def test_an_edited_engine_is_reloaded_and_running_calls_keep_the_old_one(project):
    """An edited engine file applies to the next call, without a restart.

    The old instance is cleaned up when its last call ends.
    """
    log = project.root / "log"
    slow = (
        "    async def stream(self, request):\n"
        "        from gatewayx_nb.llm_engines import Chunk\n"
        "        import asyncio\n"
        "        yield Chunk(text='old ')\n"
        "        await asyncio.sleep(0.5)\n"
        "        yield Chunk(text='end')\n"
        "    async def cleanup(self):\n"
        f"        open({str(log)!r}, 'w').close()\n"
    )
    project.engine("mine", body=slow)
    pool = project.pool()
    stream = pool.stream("x", model="mine")
    next(stream)

    project.engine("mine", "new")
    pool.refresh()

    assert pool.ask("x", model="mine").text == "new"
    assert not log.exists()
    assert "".join(chunk.text for chunk in stream) == "end"
    assert pool.ask("x", model="mine").text == "new"
    assert log.exists()
    pool.close()


def test_keys_and_files_come_and_go_between_calls(project):
    """Added, changed and removed keys and files are noticed by the next access."""
    tells = "    requires_key = True\n" + WAITS + "        return str(self.api_key)\n"
    path = project.engine("mine", body=tells)
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
    init = (
        "    def __init__(self, api_key, **kwargs):\n"
        "        super().__init__(api_key, **kwargs)\n"
        "        self.model_name, self.base_url = 'own', 'http://own'\n"
        "    async def generate(self, prompt, **kwargs):\n"
        "        return f'{self.model_name} {self.base_url} {kwargs}'\n"
    )
    project.engine("mine", body=init)
    pool = project.pool()
    assert pool.ask("x", model="mine").text == "own http://own {}"

    project.settings('engines.mine = {model = "set", base_url = "http://set"}')
    pool.refresh()

    assert pool.ask("x", model="mine").text == "set http://set {}"
    assert pool.ask("x", model="mine:other").text == "set http://set {'model': 'other'}"
    pool.close()


def test_a_reply_before_the_end_is_an_error(scripted):
    """Reading `reply` before the end raises an error that says to read on or close the stream."""
    pool, _ = scripted(["a", 30])
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
    """Closing a pool cancels calls before it closes their connections, so that none is retried."""
    engine, outcomes = Connected(), []
    with EnginePool(env={}, engines=[engine]) as pool:

        def ask():
            with pytest.raises(TransportError, match="the pool was closed") as caught:
                pool.ask("x", model="connected")
            outcomes.append(caught.value.code)

        asking = threading.Thread(target=ask)
        asking.start()
        assert engine.called.wait(20)
        pool.close()
        asking.join()

    assert outcomes == ["closed"]


def test_closing_cleans_up_and_the_next_call_starts_a_new_instance(scripted):
    """Closing a pool cleans up once, even if called twice; the next call starts again."""
    pool, engine = scripted(["a", END])
    pool.ask("x", model="scripted")

    pool.close()
    pool.close()

    assert engine.cleanups == 1
    assert pool.ask("x", model="scripted").text == "a"


MADE = """\
    made = 0

    def __init__(self, api_key="", **keywords):
        super().__init__(api_key, **keywords)
        type(self).made += 1

    async def generate(self, prompt, **kwargs):
        return str(type(self).made)
"""


def test_calls_made_before_an_engine_is_loaded_share_one_instance(project):
    """Concurrent first calls share one engine instance, because each has its own connections."""
    project.engine("counted", body=MADE)

    async def burst(pool):
        return await asyncio.gather(*(pool.aask("x", model="counted") for _ in range(100)))

    with project.pool() as pool:
        first = asyncio.run(burst(pool))
        later = asyncio.run(burst(pool))

    assert {reply.text for reply in (*first, *later)} == {"1"}
