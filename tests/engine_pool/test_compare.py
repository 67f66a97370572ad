"""One prompt to several models, which run concurrently and fail independently."""

import asyncio
import gc
import json
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


def _endless(_seen=None):
    data = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    event = chunk(f"data: {json.dumps(data)}\n\n".encode())
    return [Send(stream_head()), Repeat(event, 0.01)]


@pytest.fixture
def endless(project):
    """Yield a pool whose grok engine streams endlessly, and the server it calls."""
    with Server(_endless) as server:
        project.set_keys(
            f"GATEWAYX_GROK_API_KEY=xai-0123456789\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n"
        )
        with project.pool() as pool:
            yield pool, server


def test_replies_have_the_order_of_the_models(project):
    """Replies are in the order of the models, whichever finishes first; all get the options."""
    with project.pool() as pool:
        both = pool.compare("one two", models=["mock:a", "mock:b", "mock:a"], max_tokens=2)

    assert [reply.text for reply in both] == ["[mock] one"] * 3
    assert [reply.model for reply in both] == ["a", "b", "a"]
    assert both.labels == ("mock:a", "mock:b", "mock:a (2)")
    assert both.prompt == "one two"


def test_gx_compare_uses_the_default_pool():
    """`gx.compare` calls the default pool, even after the module of that name was imported."""
    assert [str(reply) for reply in gx.compare("hi", models=["mock"])] == ["[mock] hi"]
    assert [str(reply) for reply in gx.compare("hi", models="mock")] == ["[mock] hi"]


def test_all_models_are_called_concurrently(project):
    """All models run at once: each waits for the other, so a sequence would never finish."""
    here = [threading.Event(), threading.Event()]

    class Meeting(LLMEngine):
        requires_key = False

        def __init__(self, name, own, other):
            super().__init__()
            self.name, self._own, self._other = name, own, other

        async def generate(self, prompt, **kwargs):
            self._own.set()
            while not self._other.is_set():
                await asyncio.sleep(0.01)
            return self.name

    engines = [Meeting("left", *here), Meeting("right", *reversed(here))]
    with project.pool(engines=engines) as pool:
        both = pool.compare("x", models=["left", "right"], timeout=20)
    assert [str(reply) for reply in both] == ["left", "right"]


def test_a_failed_call_yields_its_error_at_its_position(project):
    """A failed model has its error at its index, and the others answer."""
    engine = ScriptedEngine(["a", RateLimitError("slow down.")])
    with project.pool(engines=[engine]) as pool:
        models = ["nope", "grok", "scripted", "mock"]
        compared = pool.compare("hi", models=models)

    kinds = [type(outcome) for outcome in compared]
    assert kinds == [EngineNotFoundError, MissingKeyError, RateLimitError, Reply]
    assert compared[2].partial == "a"


def test_a_comparison_may_consist_of_errors(project):
    """If all models fail, the comparison holds their errors; nothing is raised."""
    with project.pool() as pool:
        compared = pool.compare("hi", models=["nope", "grok"])
    assert [type(outcome) for outcome in compared] == [EngineNotFoundError, MissingKeyError]


def test_an_engine_that_fails_before_its_answer_fails_alone(project):
    """An engine that raises outside of its stream fails alone.

    The message of its exception is hidden, because it may contain a key.
    """

    class Odd(LLMEngine):
        requires_key = False

        async def generate(self, prompt, **kwargs):
            return prompt

        def get_cost_per_token(self):
            raise ValueError("sk-canary")

    with project.pool(engines=[Odd()]) as pool:
        odd, mock = pool.compare("hi", models=["odd", "mock"])
    assert isinstance(odd, ProviderError)
    assert str(odd) == "the call to 'odd' raised ValueError. Call only that model to see where."
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
    """The error is raised before anything is sent."""
    with project.pool() as pool, pytest.raises(UsageError, match=message):
        pool.compare("hi", models=models, **options)


def test_an_empty_prompt_raises_an_error(project):
    """An empty prompt raises an error, as for a single model."""
    with project.pool() as pool, pytest.raises(UsageError, match="prompt must not be empty"):
        pool.compare(" ", models=["mock"])


def test_an_awaited_comparison_has_the_same_result(project):
    """The awaitable form gives the same result on any event loop, one after another."""
    with project.pool() as pool:
        for _ in range(3):
            both = asyncio.run(pool.acompare("hi", models=["mock", "nope"]))
            assert [type(outcome) for outcome in both] == [Reply, EngineNotFoundError]


def test_ctrl_c_keeps_partial_answers_and_closes_every_socket(endless):
    """Ctrl-C closes every socket; the exception is one line and holds the comparison.

    Finished replies stay complete.
    """
    pool, server = endless

    def press():
        while len(server.requests) < 2:
            time.sleep(0.01)
        time.sleep(0.2)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        pool.compare("hi", models=["grok:a", "mock", "grok:b", "nope"])

    assert caught.value._render_traceback_() == ["KeyboardInterrupt: stopped"]
    one, whole, other, missing = caught.value.comparison
    assert [one.interrupted, whole.interrupted, other.interrupted] == [True, False, True]
    assert one.text.startswith("word ")
    assert isinstance(missing, EngineNotFoundError)
    assert all(request.closed.wait(2) for request in server.requests)
    assert str(pool.ask("after", model="mock")) == "[mock] after"


def test_cancelling_the_await_stops_all(endless):
    """Cancelling the task stops all models."""
    pool, server = endless

    async def cancelled():
        task = asyncio.ensure_future(pool.acompare("hi", models=["grok:a", "grok:b"]))
        while len(server.requests) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as stop:
            return stop.comparison
        return None

    compared = asyncio.run(cancelled())
    assert [reply.interrupted for reply in compared] == [True, True]
    assert all(request.closed.wait(2) for request in server.requests)


def test_one_column_can_be_stopped_alone(endless):
    """A single column can be stopped; a race reports the progress of each column."""
    pool, server = endless
    race = pool.plan_comparison("hi", models=["grok", "mock"], params={"rate": 20})
    with pytest.raises(UsageError, match="still answer"):
        _ = race.comparison
    race.start()
    race.start()
    first, second = race.columns
    while not first.partial.has_begun:
        time.sleep(0.01)
    assert not race.join(0)

    first.stop()

    assert race.join(10)
    assert server.requests[0].closed.wait(2)
    assert len(server.requests) == 1
    assert (first.outcome.interrupted, second.outcome.text) == (True, "[mock] hi")


def test_a_dropped_comparison_closes_its_sockets(endless):
    """A garbage-collected race closes its sockets."""
    pool, server = endless
    race = pool.plan_comparison("hi", models=["grok"])
    race.start()
    while not server.requests:
        time.sleep(0.01)

    del race
    gc.collect()

    assert server.requests[0].closed.wait(2)


def test_leaving_a_comparison_stops_it(endless):
    """Leaving the ``with`` block of a race stops it, even before anything was sent."""
    pool, server = endless
    with pool.plan_comparison("hi", models=["grok", "grok:b"]) as race:
        pass
    race.start()
    assert [reply.interrupted for reply in race.comparison] == [True, True]
    assert server.requests == []


def test_an_engine_that_blocks_delays_no_other(project):
    """An engine that blocks its event loop gets a timeout error and delays no other column."""
    release = project.blocking_engine("stuck")
    with project.pool() as pool:
        stuck, mock = pool.compare("hi", models=["stuck", "mock"], timeout=0.2)
        release.touch()

    assert isinstance(stuck, DeadlineError)
    assert str(mock) == "[mock] hi"


def test_closing_the_pool_ends_a_comparison(endless):
    """Closing the pool ends a comparison, and each column has an error that says so."""
    pool, server = endless
    threading.Thread(target=lambda: (_arrived(server), pool.close())).start()

    compared = pool.compare("hi", models=["grok", "grok:b"])

    assert [type(outcome) for outcome in compared] == [TransportError] * 2
    assert "the pool was closed" in str(compared[0])


def _arrived(server):
    while len(server.requests) < 2:
        time.sleep(0.01)


def test_a_blocking_comparison_on_an_engines_loop_raises_an_error(project):
    """A blocking comparison on an engine's event loop raises an error: it would deadlock.

    The awaitable form works there.
    """
    replies = []

    class Asking(LLMEngine):
        requires_key = False
        pool = None

        async def generate(self, prompt, **kwargs):
            with pytest.raises(UsageError, match=r"await pool\.acompare"):
                self.pool.compare("x", models=["mock"])
            with pytest.raises(UsageError, match=r"await pool\.acompare"):
                self.pool.plan_comparison("x", models=["mock"]).join(1)
            replies.extend(await self.pool.acompare("inner", models=["mock"]))
            return "done"

    engine = Asking()
    with project.pool(engines=[engine]) as pool:
        engine.pool = pool
        assert str(pool.ask("x", model="asking")) == "done"
    assert [str(reply) for reply in replies] == ["[mock] inner"]


def test_six_columns_at_a_hundred_chunks_a_second_are_cheap(project):
    """Six columns at 100 chunks a second use no extra threads and little CPU."""
    with project.pool() as pool:
        pool.ask("warm", model="mock")
        threads, began = threading.active_count(), time.thread_time()
        race = pool.plan_comparison("word " * 100, models=["mock"] * 6, params={"rate": 100})
        race.start()
        assert threading.active_count() == threads
        assert len(race.run()) == 6
        assert time.thread_time() - began < 0.5
