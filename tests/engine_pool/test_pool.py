import asyncio
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from decimal import Decimal
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import (
    DeadlineError,
    EngineLoadError,
    ProviderError,
    TransportError,
    TruncatedError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, RejectedParameterError, Usage
from gatewayx_nb.testing import ScriptedEngine

WAITS = "    async def generate(self, prompt, **kwargs):\n"


END = Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2))


@pytest.fixture
def scripted():
    """Give a pool with one engine that plays the scripts."""
    pools = []

    def make(*scripts):
        engine = ScriptedEngine(*scripts)
        pools.append(EnginePool(env={}, engines=[engine]))
        return pools[-1], engine

    yield make
    for pool in pools:
        pool.close()


def test_a_whole_reply_has_its_figures(scripted):
    """Text, reasoning, tokens, cost, times and the model that the provider named."""
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


def test_a_stream_hands_out_every_chunk_in_order(scripted):
    """And ends with the whole reply."""
    words = [f"{number} " for number in range(5000)]
    pool, engine = scripted([*words, END])

    stream = pool.stream("hi", model="scripted")
    texts = [chunk.text for chunk in stream]

    assert texts == [*words, ""]
    assert stream.reply.text == "".join(words)
    assert engine.requests[0].streamed


def test_every_way_of_calling_gives_the_same(scripted):
    """In a thread, under one event loop after another, streamed and whole."""
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


def test_a_passing_fault_is_sent_again(scripted, monkeypatch):
    """Until it is answered; the reply counts the attempts."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    fault = ProviderError("busy", status=503)
    pool, engine = scripted([fault], ["ok", END])

    reply = pool.ask("x", model="scripted")

    assert (reply.text, reply.attempts, len(engine.requests)) == ("ok", 2, 2)


def test_attempts_are_bounded(scripted, project):
    """`[limits] retries` more than the first; with none, the first fault is the answer."""
    project.settings("limits.retries = 0")
    engine = ScriptedEngine([ProviderError("busy", status=503)])

    with project.pool(engines=[engine]) as pool, pytest.raises(ProviderError, match="busy"):
        pool.ask("x", model="scripted")

    assert len(engine.requests) == 1


def test_nothing_is_sent_again_once_something_arrived(scripted):
    """An answer never mixes two attempts; what had arrived is in the error."""
    pool, engine = scripted(["half ", ProviderError("busy", status=503)])

    with pytest.raises(ProviderError) as caught:
        pool.ask("x", model="scripted")

    assert (caught.value.partial, len(engine.requests)) == ("half ", 1)
    assert (caught.value.engine, caught.value.model) == ("scripted", "script")


def test_a_failing_stream_gives_its_chunks_first(scripted):
    """The error comes where it happened."""
    pool, _ = scripted(["half ", TruncatedError("cut")])
    seen = []

    with pytest.raises(TruncatedError) as caught:
        seen.extend(chunk.text for chunk in pool.stream("x", model="scripted"))

    assert caught.value.partial == "half "


def test_whatever_an_engine_raises_is_typed(scripted):
    """A bug in an engine file is a ProviderError that names it, in one line."""
    pool, _ = scripted([ValueError("line one\nline two")])

    with pytest.raises(ProviderError, match="ValueError: line one line two") as caught:
        pool.ask("x", model="scripted")

    assert isinstance(caught.value.__cause__, ValueError)


def test_a_deadline_holds_for_any_engine(scripted):
    """Within a second of its time; and a timeout of the engine's own is not mistaken for it."""
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
    """By a break, by `close`, or by dropping it."""
    pool, engine = scripted(["a", 30])
    stream = pool.stream("x", model="scripted")
    for _ in stream:
        break
    if leave == "close":
        stream.close()
        assert (stream.reply.text, stream.reply.interrupted) == ("a", True)
    else:
        del stream

    assert engine.left.wait(2)


def test_cancelling_an_async_stream_keeps_what_came(scripted):
    """The task is cancelled, the engine stopped, the partial reply marked."""
    pool, engine = scripted(["a", 30])

    async def main():
        stream = pool.astream("x", model="scripted")

        async def read():
            async for _ in stream:
                pass

        task = asyncio.ensure_future(read())
        while not stream.tally.begun:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return stream.reply

    reply = asyncio.run(main())

    assert (reply.text, reply.interrupted) == ("a", True)
    assert engine.left.wait(2)


def test_a_thousand_cancelled_calls_leave_nothing(scripted):
    """No task stays on the engine's loop."""
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
    """`[limits] concurrency` calls run at once on an engine, the others wait."""
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


def test_an_engine_that_blocks_stalls_only_itself(project):
    """A drop-in engine has a loop and a thread of its own."""
    project.engine("blocking", body=WAITS + "        import time; time.sleep(2); return ''\n")
    pool = project.pool()
    blocked = threading.Thread(target=lambda: pool.ask("x", model="blocking"))
    blocked.start()
    start = time.monotonic()

    assert pool.ask("quick", model="mock").text == "[mock] quick"

    assert time.monotonic() - start < 1.5
    blocked.join()
    pool.close()


def test_a_deadline_holds_for_an_engine_that_blocks(project):
    """Its loop cannot keep the time, so the caller does: sync, async and streamed."""
    project.engine("blocking", body=WAITS + "        import time; time.sleep(4); return ''\n")
    pool = project.pool()
    start = time.monotonic()

    with pytest.raises(DeadlineError, match=r"longer than 0.1 s"):
        pool.ask("x", model="blocking", timeout=0.1)
    with pytest.raises(DeadlineError):
        list(pool.stream("x", model="blocking", timeout=0.1))
    with pytest.raises(DeadlineError):
        asyncio.run(pool.aask("x", model="blocking", timeout=0.1))

    assert time.monotonic() - start < 8
    pool.close()


@pytest.mark.parametrize(
    "raised", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_an_engine_cannot_end_its_loop(scripted, raised):
    """What would end a process, or pass for a cancellation, is an error of that call."""

    class Hostile(ScriptedEngine):
        async def stream(self, request):
            if request.prompt == "fail":
                raise raised
            yield Chunk(text="fine", finish_reason="stop")

    with EnginePool(env={}, engines=[Hostile([])]) as pool:
        with pytest.raises(ProviderError, match=type(raised).__name__):
            pool.ask("fail", model="hostile")
        assert pool.ask("x", model="hostile").text == "fine"


def test_closing_a_pool_ends_its_calls_with_a_typed_error(scripted):
    """Whoever waits is told; the next call starts anew."""
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


def test_a_cause_that_tells_the_key_is_not_chained(project):
    """A plain traceback shows causes; this one's text has the key."""
    body = WAITS + "        raise ValueError(f'bad key {self.api_key}')\n"
    path = project.engine("mine", body=body)
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    project.set_keys("GATEWAYX_MINE_API_KEY=sk-canary-123456\n")

    with project.pool() as pool, pytest.raises(ProviderError) as caught:
        pool.ask("x", model="mine")

    shown = "".join(traceback.format_exception(caught.value))
    assert "ValueError: bad key <key>" in shown
    assert "canary" not in shown


def test_two_engines_of_one_name_are_refused():
    """The second would never be asked."""
    with pytest.raises(UsageError, match="'scripted'"):
        EnginePool(env={}, engines=[ScriptedEngine([]), ScriptedEngine([])])


def test_a_waiting_call_inside_an_engine_names_its_twin(project):
    """It would wait for itself; `aask` there works."""
    asks = (
        WAITS + "        import gatewayx_nb as gx\n        return gx.ask('x', model='mock').text\n"
    )
    project.engine("inner", body=asks)
    project.engine(
        "good", body=asks.replace("return gx.ask(", "return await gx.aask(").replace(".text", "")
    )
    pool = project.pool()

    with pytest.raises(UsageError, match="aask"):
        pool.ask("x", model="inner")
    assert pool.ask("x", model="good").text == "[mock] x"


def test_an_edited_engine_answers_anew_and_a_running_call_keeps_the_old(project):
    """No restart; the old instance is cleaned up when its last call ends."""
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
    pool.check()

    assert pool.ask("x", model="mine").text == "new"
    assert not log.exists()
    assert "".join(chunk.text for chunk in stream) == "end"
    assert pool.ask("x", model="mine").text == "new"
    assert log.exists()
    pool.close()


def test_keys_and_files_come_and_go_between_calls(project):
    """Added, changed and removed, each is seen by the next look."""
    tells = "    requires_key = True\n" + WAITS + "        return str(self.api_key)\n"
    path = project.engine("mine", body=tells)
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    pool = project.pool()
    answers = []
    for key in ("k1", "k2"):
        project.set_keys(f"GATEWAYX_MINE_API_KEY={key}\n")
        pool.check()
        answers.append(pool.ask("x", model="mine").text)
    project.set_keys("")
    pool.check()
    with pytest.raises(gx.errors.MissingKeyError):
        pool.ask("x", model="mine")
    path.unlink()
    pool.check()
    with pytest.raises(gx.errors.EngineNotFoundError):
        pool.ask("x", model="mine")

    assert answers == ["k1", "k2"]
    pool.close()


def test_settings_hold_over_a_constructor(project):
    """An engine that sets its own model and URL is still given the user's."""
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
    pool.check()

    assert pool.ask("x", model="mine").text == "set http://set {}"
    assert pool.ask("x", model="mine:other").text == "set http://set {'model': 'other'}"
    pool.close()


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("def __init__(self): super().__init__()", "TypeError"),
        (
            "def __init__(self, api_key): raise ValueError(f'bad {api_key}')",
            "ValueError: bad <key>",
        ),
    ],
)
def test_a_constructor_that_fails_is_one_line_without_the_key(project, init, said):
    """It is the engine's row too."""
    path = project.engine("mine", body=f"    {init}\n" + WAITS + "        return ''\n")
    path.write_text(path.read_text().replace("    requires_key = False\n", ""))
    project.set_keys("GATEWAYX_MINE_API_KEY=sk-canary-123456\n")
    pool = project.pool()

    with pytest.raises(EngineLoadError, match=said) as caught:
        pool.ask("x", model="mine")

    assert "canary" not in str(caught.value)
    (row,) = [row for row in pool.status() if row.name == "mine"]
    assert (row.state, said in row.error) == ("failed", True)


def test_an_answer_to_a_schema_is_parsed(scripted):
    """An engine that holds one is given it."""
    pool, engine = scripted(['{"a": ', "1}", END])

    reply = pool.ask("x", model="scripted", schema={"type": "object"})

    assert reply.parsed == {"a": 1}
    assert engine.requests[0].schema == {"type": "object"}


def test_an_answer_that_does_not_fit_is_asked_for_once_more(scripted):
    """With what was wrong; both are paid, and a stream hands out the first one only."""
    pool, engine = scripted(["no json", END], ['{"a": 1}', END])

    stream = pool.stream("x", model="scripted", schema={})

    assert [chunk.text for chunk in stream] == ["no json", ""]
    assert (stream.reply.parsed, stream.reply.text) == ({"a": 1}, '{"a": 1}')
    assert (stream.reply.usage, stream.reply.attempts) == (Usage(6, 4), 2)
    first, second = engine.requests
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[:1] == first.messages
    assert "it holds no JSON" in second.prompt


def test_an_answer_that_never_fits_is_an_error_that_keeps_it(scripted):
    """After two turns; one that was cut is not asked for again."""
    cut = Chunk(finish_reason="length")
    pool, engine = scripted(["no", END], ["never", END], ['{"a": ', cut])

    with pytest.raises(ProviderError, match="does not fit the schema, twice") as caught:
        pool.ask("x", model="scripted", schema={})
    assert caught.value.partial == "never"
    with pytest.raises(TruncatedError, match="max_tokens"):
        pool.ask("x", model="scripted", schema={})
    assert len(engine.requests) == 3


def test_an_engine_that_holds_no_schema_is_asked_in_words(project):
    """Mock says back what it is asked: the schema stands in its system prompt."""
    reply = project.pool().ask('{"a": 1}', model="mock", schema={"title": "MINE"})

    assert '"title": "MINE"' in reply.text
    assert reply.parsed is not None


def test_a_feature_that_an_engine_lacks_is_refused(project):
    """Before anything is sent."""
    picture = b"\x89PNG\r\n\x1a\n"
    with pytest.raises(UnsupportedFeatureError, match="takes no images"):
        project.pool().ask("x", model="mock", images=[picture])


def test_a_rejected_parameter_is_left_out_where_that_was_asked(scripted):
    """One after the other, without counting against the retries; the reply names them."""
    rejections = [
        [RejectedParameterError("no", code="temperature", status=400)],
        [RejectedParameterError("no", code="logit_bias", status=400)],
    ]
    pool, engine = scripted(*rejections, ["ok", END])
    params = {"drop_unsupported": True, "logit_bias": {}, "n": 1}

    reply = pool.ask("x", model="scripted", temperature=0, params=params)

    assert (reply.text, reply.dropped) == ("ok", ("temperature", "logit_bias"))
    assert engine.requests[0].params == {"logit_bias": {}, "n": 1}
    assert (engine.requests[2].temperature, engine.requests[2].params) == (None, {"n": 1})


def test_a_rejected_parameter_is_an_error_that_names_it(scripted):
    """Where nothing else was asked for."""
    pool, engine = scripted([RejectedParameterError("no", code="temperature")])

    with pytest.raises(UnsupportedFeatureError) as caught:
        pool.ask("x", model="scripted", temperature=0)
    assert (caught.value.code, len(engine.requests)) == ("temperature", 1)


def test_a_price_is_looked_up_where_the_provider_is_known(project):
    """Tokens to be paid go before tokens that were counted."""

    class Priced(ScriptedEngine):
        prices = "x-ai"
        model_name = "grok-4.6"

        def get_cost_per_token(self):
            return None

    billed = Chunk(finish_reason="stop", usage=Usage(9_000, 9_000), billed=Usage(1_000, 1_000))
    with project.pool(engines=[Priced(["a", billed])]) as pool:
        reply = pool.ask("x", model="priced")

    assert (reply.cost, reply.usage) == (Decimal("0.008"), Usage(9_000, 9_000))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temprature": 1}, "takes no 'temprature'.*Did you mean 'temperature'"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected a number of at least 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"max_tokens": 0}, "max_tokens is 0; expected a whole number above 0"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5; expected int"),
        ({"system": 1}, "system is 1; expected str"),
        ({"stop": [1]}, "stop is"),
        ({"stop": ""}, "stop is ''"),
        ({"stop": 3}, "stop is 3"),
        ({"model": 3}, "model is 3; expected a text"),
        ({"schema": [1]}, r"\[1\] is no schema"),
        ({"top_p": 2}, "top_p is 2; expected a number from 0 to 1"),
        ({"images": [3]}, "int is no image"),
        ({"params": "x"}, "params is 'x'; expected a dict"),
        ({"timeout": 0}, "timeout is 0; expected seconds above 0"),
        ({"timeout": "1"}, "timeout is '1'"),
    ],
)
def test_a_keyword_that_does_not_fit_is_named(project, options, said):
    """With what was expected, before anything is sent."""
    with pytest.raises(UsageError, match=said):
        project.pool().ask("x", **{"model": "mock", **options})


@pytest.mark.parametrize("prompt", ["", "  \n", None, 3, b"bytes"])
def test_a_prompt_is_a_text(project, prompt):
    """An empty one is an error, not a call."""
    with pytest.raises(UsageError, match="prompt"):
        project.pool().ask(prompt, model="mock")


def test_a_reply_before_the_end_is_an_error(scripted):
    """It says to read on, or to close."""
    pool, _ = scripted(["a", 30])
    stream = pool.stream("x", model="scripted")

    with pytest.raises(UsageError, match="not ended"):
        _ = stream.reply
    with stream:
        next(stream)
    assert stream.reply.interrupted


def test_closing_cleans_up_and_the_next_call_starts_anew(scripted):
    """Closing twice is closing once."""
    pool, engine = scripted(["a", END])
    pool.ask("x", model="scripted")

    pool.close()
    pool.close()

    assert engine.cleaned == 1
    assert pool.ask("x", model="scripted").text == "a"


def test_a_pool_pickles_without_keys(project):
    """It is built anew where it arrives."""
    project.set_keys("GATEWAYX_GROK_API_KEY=sk-canary-123456\n")
    pool = project.pool()

    data = pickle.dumps(pool)

    assert b"canary" not in data
    assert pickle.loads(data).config.project.root == project.root
    assert "canary" not in repr(vars(pool._config.keys)) + repr(pool)


def test_the_default_pool_is_built_once_and_can_be_reset(project, monkeypatch):
    """`gx.ask` and its like are its methods."""
    monkeypatch.chdir(project.root)

    assert gx.pool() is gx.pool()
    assert gx.ask("x", model="mock").text == "[mock] x"
    assert gx.pool().config.project.root == project.root


def _script(text, project, **keywords):
    code = textwrap.dedent(text)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(Path(gx.__file__).parents[1])},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **keywords,
    )


def test_a_forked_child_builds_its_own(project):
    """It neither uses nor closes the parent's; both go on."""
    process = _script(
        """
        import os, warnings
        warnings.simplefilter("ignore")
        import gatewayx_nb as gx
        assert gx.ask("a", model="mock").text == "[mock] a"
        child = os.fork()
        if child == 0:
            print(gx.ask("child", model="mock"), flush=True)
            gx.pool().close()
            os._exit(0)
        os.waitpid(child, 0)
        print(gx.ask("parent", model="mock"))
        """,
        project,
    )

    out, errors = process.communicate(timeout=30)

    assert (out, errors) == ("[mock] child\n[mock] parent\n", "")


@pytest.mark.parametrize("call", ["gx.ask", "list(gx.stream"])
def test_ctrl_c_stops_a_waiting_script(project, call):
    """At once, as a KeyboardInterrupt; the process ends without a word of ours."""
    close = ")" if "(" in call else ""
    process = _script(
        f"""
        import gatewayx_nb as gx
        gx.ask("warm", model="mock")
        print("ready", flush=True)
        try:
            {call}("x", model="mock", params={{"latency": 60}}){close}
        except KeyboardInterrupt:
            print("stopped")
        """,
        project,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.2)  # the call is under way; whether before or in the wait is all the same
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)

    assert (out, errors) == ("stopped\n", "")
    assert time.monotonic() - start < 3


def test_a_script_that_ends_in_mid_stream_ends(project):
    """Nothing waits for an answer that nobody reads."""
    process = _script(
        """
        import gatewayx_nb as gx
        stream = gx.stream("a b c", model="mock", params={"rate": 0.1})
        print(next(stream).text)
        """,
        project,
    )

    out, errors = process.communicate(timeout=30)

    assert (out, errors, process.returncode) == ("[mock]\n", "", 0)
