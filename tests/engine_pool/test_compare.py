"""One prompt to several models, which run concurrently and fail independently."""

import asyncio
import gc
import json
import re
import signal
import threading
import time

import pytest

import gatewayx_nb as gx
from gatewayx_nb.errors import (
    DeadlineError,
    EngineNotFoundError,
    MissingKeyError,
    ProviderError,
    RateLimitError,
    TransportError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, LLMEngine
from gatewayx_nb.replies import Reply
from gatewayx_nb.testing import Repeat, ScriptedEngine, Send, Server, chunk, stream_head

END = Chunk(finish_reason="stop")


def _endless_script(_request=None):
    data = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    event = chunk(f"data: {json.dumps(data)}\n\n".encode())
    return [Send(stream_head()), Repeat(event, 0.01)]


@pytest.fixture
def endless_pool(project):
    """Yield a pool whose grok engine streams endlessly, and the server it calls."""
    with Server(_endless_script) as server:
        project.set_keys(
            f"GATEWAYX_GROK_API_KEY=xai-0123456789\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n"
        )
        with project.pool() as pool:
            yield pool, server


def test_replies_are_in_the_order_of_the_models(project):
    """Replies are in the order of the models, and the options apply to all of them."""
    with project.pool() as pool:
        comparison = pool.compare("one two", models=["mock:a", "mock:b", "mock:a"], max_tokens=2)

    assert [reply.text for reply in comparison] == ["[mock] one"] * 3
    assert [reply.model for reply in comparison] == ["a", "b", "a"]
    assert comparison.labels == ("mock:a", "mock:b", "mock:a (2)")
    assert comparison.prompt == "one two"


def test_gx_compare_uses_the_default_pool():
    """`gx.compare` uses the default pool and accepts one model as a str."""
    assert [str(reply) for reply in gx.compare("hi", models=["mock"])] == ["[mock] hi"]
    assert [str(reply) for reply in gx.compare("hi", models="mock")] == ["[mock] hi"]


def test_all_models_are_called_concurrently(project):
    """Models are called concurrently: each call here waits for the other one to start."""
    started = [threading.Event(), threading.Event()]

    class MeetingEngine(LLMEngine):
        requires_key = False

        def __init__(self, name, own_event, other_event):
            super().__init__()
            self.name, self._own_event, self._other_event = name, own_event, other_event

        async def generate(self, prompt, **kwargs):
            self._own_event.set()
            while not self._other_event.is_set():
                await asyncio.sleep(0.01)
            return self.name

    engines = [MeetingEngine("left", *started), MeetingEngine("right", *reversed(started))]
    with project.pool(engines=engines) as pool:
        comparison = pool.compare("x", models=["left", "right"], timeout=20)
    assert [str(reply) for reply in comparison] == ["left", "right"]


def test_a_failed_call_is_represented_by_its_error(project):
    """A failed call is represented by its error in the results; the other calls succeed."""
    engine = ScriptedEngine(["a", RateLimitError("slow down.")])
    with project.pool(engines=[engine]) as pool:
        comparison = pool.compare("hi", models=["grok", "scripted", "mock"])

    kinds = [type(outcome) for outcome in comparison]
    assert kinds == [MissingKeyError, RateLimitError, Reply]
    assert comparison[1].partial == "a"


def test_a_comparison_may_consist_of_errors(project):
    """If all calls fail, the comparison contains their errors, and no exception is raised."""
    with project.pool() as pool:
        comparison = pool.compare("hi", models=["grok", "openai"])
    assert [type(outcome) for outcome in comparison] == [MissingKeyError, MissingKeyError]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["scripted", "gork"], "no engine 'gork'. Did you mean 'grok'?"),
        (["scripted", "gpt-4o"], "no engine 'gpt-4o'. Did you mean 'openai:gpt-4o'?"),
        (["nope:a", "scripted", "nope:b"], "there are no engines for 'nope:a', 'nope:b'."),
    ],
)
def test_a_misspelt_name_is_an_error_before_anything_is_sent(project, models, message):
    """If one name is misspelt, the other models are not called."""
    engine = ScriptedEngine(["a"])
    with (
        project.pool(engines=[engine]) as pool,
        pytest.raises(EngineNotFoundError, match=re.escape(message)),
    ):
        pool.compare("hi", models=models)
    assert engine.requests == []


def test_a_replayed_comparison_needs_none_of_its_engines(project, tmp_path):
    """In replay, a name is known if it was recorded, whether or not its engine still exists."""
    path = tmp_path / "a.jsonl"
    with (
        project.pool(engines=[ScriptedEngine(["a", END])]) as pool,
        pool.cassette(path, "record"),
    ):
        pool.compare("hi", models=["scripted", "mock"])

    with project.pool() as pool, pool.cassette(path, "replay"):
        assert list(map(str, pool.compare("hi", models=["scripted", "mock"]))) == ["a", "[mock] hi"]
        with pytest.raises(EngineNotFoundError, match="no engine 'nope'"):
            pool.compare("hi", models=["scripted", "nope"])


def test_an_error_outside_of_a_stream_affects_no_other_call(project):
    """An exception that an engine raises outside of its stream affects only its own call."""

    class Faulty(LLMEngine):
        requires_key = False

        async def generate(self, prompt, **kwargs):
            return prompt

        @property
        def unsupported_options(self):
            raise ValueError("sk-canary-0123")

    with project.pool(engines=[Faulty("sk-canary-0123")]) as pool:
        faulty, mock = pool.compare("hi", models=["faulty", "mock"])
    assert isinstance(faulty, ProviderError)
    assert str(faulty).startswith("engine 'faulty' raised ValueError: <key> in test_compare.py")
    assert str(mock) == "[mock] hi"


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "models must be"),
        (["mock", ""], {}, "models must be"),
        ([3], {}, "models must be"),
        (["mock"], {"model": "mock"}, "does not take `model`"),
        (["mock"], {"chat": "story"}, "cannot join a conversation"),
        (["mock"], {"fallback": ["grok"]}, "does not take `fallback`"),
        (["mock"], {"temprature": 1}, "Did you mean 'temperature'"),
        (["mock", "nope"], {"max_tokens": 0}, "max_tokens must be"),
    ],
)
def test_an_error_that_concerns_all_models_is_raised(project, models, options, message):
    """An error that concerns all models is raised before anything is sent."""
    with project.pool() as pool, pytest.raises(UsageError, match=message):
        pool.compare("hi", models=models, **options)


def test_an_empty_prompt_raises_an_error(project):
    """An empty prompt raises an error, as for a single model."""
    with project.pool() as pool, pytest.raises(UsageError, match="prompt must not be empty"):
        pool.compare(" ", models=["mock"])


def test_acompare_has_the_same_result_on_any_event_loop(project):
    """`acompare` returns the same results on several event loops, one after another."""
    with project.pool() as pool:
        for _ in range(3):
            comparison = asyncio.run(pool.acompare("hi", models=["mock", "grok"]))
            assert [type(outcome) for outcome in comparison] == [Reply, MissingKeyError]


def test_ctrl_c_keeps_partial_answers_and_closes_every_socket(endless_pool):
    """Ctrl-C closes every socket and raises a one-line exception with the comparison.

    Incomplete replies are marked as interrupted.
    """
    pool, server = endless_pool

    def interrupt():
        while len(server.requests) < 2:
            time.sleep(0.01)
        time.sleep(0.2)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        pool.compare("hi", models=["grok:a", "mock", "grok:b", "openai"])

    assert caught.value._render_traceback_() == ["KeyboardInterrupt: stopped"]
    first, complete, second, missing = caught.value.comparison
    assert [first.interrupted, complete.interrupted, second.interrupted] == [True, False, True]
    assert first.text.startswith("word ")
    assert isinstance(missing, MissingKeyError)
    assert all(request.closed.wait(2) for request in server.requests)
    assert str(pool.ask("after", model="mock")) == "[mock] after"


def test_cancelling_acompare_stops_all_calls(endless_pool):
    """Cancelling `acompare` stops all calls and closes their sockets."""
    pool, server = endless_pool

    async def cancel():
        task = asyncio.ensure_future(pool.acompare("hi", models=["grok:a", "grok:b"]))
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            return error.comparison
        return None

    comparison = asyncio.run(cancel())
    assert [reply.interrupted for reply in comparison] == [True, True]
    assert all(request.closed.wait(2) for request in server.requests)


def test_a_single_column_can_be_stopped(endless_pool):
    """A single column can be stopped while the other columns continue."""
    pool, server = endless_pool
    run = pool.plan_comparison("hi", models=["grok", "mock"], params={"rate": 20})
    with pytest.raises(UsageError, match="still answer"):
        _ = run.comparison
    run.start()
    run.start()
    first, second = run.columns
    while not first.partial.has_begun:
        time.sleep(0.01)
    assert not run.join(0)

    first.stop()

    assert run.join(10)
    assert server.requests[0].closed.wait(2)
    assert len(server.requests) == 1
    assert (first.outcome.interrupted, second.outcome.text) == (True, "[mock] hi")


def test_a_garbage_collected_comparison_closes_its_sockets(endless_pool):
    """A comparison run that is garbage-collected closes its sockets."""
    pool, server = endless_pool
    run = pool.plan_comparison("hi", models=["grok"])
    run.start()
    while not server.requests:
        time.sleep(0.01)

    del run
    gc.collect()

    assert server.requests[0].closed.wait(2)


def test_leaving_the_with_block_stops_a_comparison(endless_pool):
    """Leaving the ``with`` block of a comparison run stops it, even before anything is sent."""
    pool, server = endless_pool
    with pool.plan_comparison("hi", models=["grok", "grok:b"]) as run:
        pass
    run.start()
    assert [reply.interrupted for reply in run.comparison] == [True, True]
    assert server.requests == []


def test_an_engine_that_blocks_does_not_delay_other_columns(project):
    """An engine that blocks its event loop until another one answers does not delay that one."""
    release = project.blocking_engine("blocking")
    body = (
        "    async def generate(self, prompt):\n"
        "        import pathlib\n"
        f"        pathlib.Path({str(release)!r}).touch()\n"
        "        return 'in time'\n"
    )
    project.engine("other", body=body)
    with project.pool() as pool:
        replies = pool.compare("hi", models=["blocking", "other"], timeout=30)

    assert [str(reply) for reply in replies] == ["late", "in time"]


def test_a_blocking_engine_times_out_in_its_column(project):
    """An engine that blocks its event loop has a `DeadlineError` in its column."""
    release = project.blocking_engine("blocking")
    with project.pool() as pool:
        (blocking,) = pool.compare("hi", models=["blocking"], timeout=0.2)
        release.touch()

    assert isinstance(blocking, DeadlineError)


def test_closing_the_pool_ends_a_comparison(endless_pool):
    """Closing the pool ends a comparison, and each column has the error "the pool was closed"."""
    pool, server = endless_pool
    threading.Thread(target=lambda: (_wait_for_two_requests(server), pool.close())).start()

    comparison = pool.compare("hi", models=["grok", "grok:b"])

    assert [type(outcome) for outcome in comparison] == [TransportError] * 2
    assert "the pool was closed" in str(comparison[0])


def _wait_for_two_requests(server):
    while len(server.requests) < 2:
        time.sleep(0.01)


def test_a_blocking_comparison_on_an_engines_loop_raises_an_error(project):
    """A blocking comparison on an engine's event loop would deadlock, so it raises an error.

    `acompare` works there.
    """
    replies = []

    class Comparing(LLMEngine):
        requires_key = False
        pool = None

        async def generate(self, prompt, **kwargs):
            with pytest.raises(UsageError, match=r"await pool\.acompare"):
                self.pool.compare("x", models=["mock"])
            with pytest.raises(UsageError, match=r"await pool\.acompare"):
                self.pool.plan_comparison("x", models=["mock"]).join(1)
            replies.extend(await self.pool.acompare("inner", models=["mock"]))
            return "done"

    engine = Comparing()
    with project.pool(engines=[engine]) as pool:
        engine.pool = pool
        assert str(pool.ask("x", model="comparing")) == "done"
    assert [str(reply) for reply in replies] == ["[mock] inner"]


def test_six_columns_use_no_extra_threads_and_little_cpu(project):
    """Six columns at 100 chunks a second use no extra threads and little CPU."""
    with project.pool() as pool:
        pool.ask("warm", model="mock")
        threads, started = threading.active_count(), time.thread_time()
        run = pool.plan_comparison("word " * 100, models=["mock"] * 6, params={"rate": 100})
        run.start()
        assert threading.active_count() == threads
        assert len(run.run()) == 6
        assert time.thread_time() - started < 0.5
