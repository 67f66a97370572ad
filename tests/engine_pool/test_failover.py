"""`fallback=`: another engine is called if the first fails before its first chunk."""

import asyncio

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.engine_pool.failover import Failover
from gatewayx_nb.errors import (
    AuthenticationError,
    DeadlineError,
    EngineNotFoundError,
    MissingKeyError,
    ProviderError,
    QuotaError,
    TransportError,
    TruncatedError,
    TrustError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, LLMEngine, ToolCall
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop")


def make_engine(name, *script):
    """Return an engine that follows one script."""
    engine = ScriptedEngine(list(script))
    engine.name = name
    return engine


def make_pool(*engines):
    """Return a pool that has only these engines."""
    return EnginePool(env={}, engines=engines)


@pytest.mark.parametrize(
    "error",
    [AuthenticationError("no"), QuotaError("no"), ProviderError("no"), TruncatedError("no")],
    ids=lambda error: type(error).__name__,
)
def test_a_fallbacks_reply_names_the_first_model(error):
    """A fallback's reply names the first model, and its attempts include the failed call."""
    first, second = make_engine("first", error), make_engine("second", "yes", END)
    with make_pool(first, second) as pool:
        reply = pool.ask("hi", model="first:m", fallback="second", temperature=0)

    assert (reply.text, reply.engine, reply.fallback_from) == ("yes", "second", "first:m")
    assert reply.attempts == len(first.requests) + 1
    assert second.requests[0].temperature == 0


def test_no_fallback_is_called_if_the_first_engine_answers():
    """If the first engine answers, no fallback is called or mentioned in the reply."""
    first, second = make_engine("first", "yes", END), make_engine("second", "no", END)
    with make_pool(first, second) as pool:
        reply = pool.ask("hi", model="first", fallback=["second"])

    assert (reply.engine, reply.fallback_from, second.requests) == ("first", None, [])


def test_streamed_and_async_calls_fall_back_too():
    """Streamed and async calls also fall back, and yield only chunks of the fallback."""
    first, second = make_engine("first", QuotaError("no")), make_engine("second", "y", "es", END)
    with make_pool(first, second) as pool:
        stream = pool.stream("hi", model="first", fallback="second")
        assert "".join(chunk.text for chunk in stream) == "yes"
        assert stream.reply.fallback_from == "first"

        async def read():
            stream = pool.astream("hi", model="first", fallback="second")
            return [chunk.text async for chunk in stream if chunk.text], stream.reply

        texts, reply = asyncio.run(read())
        assert (texts, reply.engine) == (["y", "es"], "second")
        async_reply = asyncio.run(pool.aask("hi", model="first", fallback="second"))
        assert async_reply.text == "yes"


def test_an_answer_never_mixes_two_engines():
    """After the first chunk no fallback is called; the error contains the partial text."""
    first, second = (
        make_engine("first", "half", ProviderError("no")),
        make_engine("second", "yes", END),
    )
    with make_pool(first, second) as pool, pytest.raises(ProviderError) as caught:
        pool.ask("hi", model="first", fallback="second")

    assert (caught.value.partial, caught.value.engine, second.requests) == ("half", "first", [])


def test_a_missing_key_falls_back(project):
    """A call without a key falls back, so that a notebook runs without all keys."""
    pool = project.pool()

    reply = pool.ask("hi", model="grok", fallback=["anthropic", "mock"])

    assert (reply.text, reply.fallback_from) == ("[mock] hi", "grok")


@pytest.mark.parametrize(("model", "fallback"), [("mock", "moch"), ("moch", "mock")])
def test_an_unknown_engine_does_not_fall_back(project, model, fallback):
    """A misspelled name raises an error immediately, even if another engine could answer."""
    with pytest.raises(EngineNotFoundError, match=r"'moch'.*Did you mean 'mock'"):
        project.pool().ask("hi", model=model, fallback=fallback)


def test_if_all_engines_fail_the_error_contains_all_messages(project):
    """If all engines fail, the first error is raised with the messages of the other errors."""
    with pytest.raises(MissingKeyError, match=r"'grok'.*A fallback failed too: .*'anthropic'"):
        project.pool().ask("hi", model="grok", fallback="anthropic")
    engines = (
        make_engine("first", QuotaError("spent.")),
        make_engine("second", ProviderError("broken.")),
    )
    with make_pool(*engines) as pool, pytest.raises(QuotaError, match=r"spent\..*broken\."):
        pool.ask("hi", model="first", fallback="second")


def test_a_usage_error_does_not_fall_back():
    """An invalid option raises an error without a fallback, because no engine would accept it."""
    first, second = make_engine("first", "yes", END), make_engine("second", "yes", END)
    with make_pool(first, second) as pool, pytest.raises(UsageError, match="temperature"):
        pool.ask("hi", model="first", fallback="second", temperature="hot")

    assert second.requests == []


def test_one_deadline_covers_all_attempts():
    """The deadline covers all engines, so no fallback is called after it."""
    first, second = make_engine("first", 30.0), make_engine("second", "yes", END)
    with make_pool(first, second) as pool, pytest.raises(DeadlineError):
        pool.ask("hi", model="first", fallback="second", timeout=0.2)

    assert second.requests == []


def test_an_unsupported_feature_falls_back():
    """A fallback is called if the first engine lacks a feature, such as images."""

    class ImageEngine(LLMEngine):
        requires_key = False
        features = frozenset({"images"})

        async def generate(self, prompt, **_):
            return "a dot"

    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    text_engine = make_engine("text", "what?", END)
    with make_pool(text_engine, ImageEngine()) as pool:
        reply = pool.ask("what is it?", model="text", fallback="image", images=[png])
        with pytest.raises(UnsupportedFeatureError):
            pool.ask("what is it?", model="text", images=[png])

    assert (reply.text, reply.fallback_from) == ("a dot", "text")


@pytest.mark.parametrize("fallback", [[""], [None], 3])
def test_an_invalid_fallback_raises_an_error(fallback):
    """An invalid `fallback` raises an error before anything is sent."""
    first = make_engine("first", "yes", END)
    with make_pool(first) as pool, pytest.raises(UsageError, match="fallback"):
        pool.ask("hi", model="first", fallback=fallback)

    assert first.requests == []


@pytest.fixture
def plan_calls():
    """Yield a function that plans a call for each script; it returns the calls and a portal."""
    pools = []

    def plan(*scripts):
        engines = [make_engine(f"e{number}", *script) for number, script in enumerate(scripts)]
        pools.append(make_pool(*engines))
        planner = pools[-1]._router._planner
        calls = [planner.plan("hi", {"model": engine.name}, streamed=True) for engine in engines]
        return calls, planner.runtime.shared_portal

    yield plan
    for pool in pools:
        pool.close()


def test_if_no_call_can_be_planned_the_first_error_is_raised(plan_calls):
    """If no call can be planned, the error has the fields of the first error and all messages."""
    _, portal = plan_calls()
    errors = [MissingKeyError("no key.", engine="e0"), QuotaError("spent."), ProviderError("no.")]

    with pytest.raises(MissingKeyError) as caught:
        Failover("e0", errors, portal)

    assert (
        caught.value.message == "no key. A fallback failed too: spent. A fallback failed too: no."
    )
    assert caught.value.engine == "e0"
    assert errors[0].message == "no key."


def test_all_calls_share_one_partial_reply(plan_calls):
    """All calls share a partial reply, which names the engine that is being called."""
    calls, portal = plan_calls([QuotaError("no")], ["y", END])
    failover = Failover("e0:m", calls, portal)
    engines = []

    async def emit(_):
        engines.append((failover.partial.engine, failover.partial.fallback_from))

    reply = portal.run(failover.run(emit))

    assert [call.partial for call in calls] == [failover.partial] * 2
    assert engines == [("e1", "e0:m")] * 2
    assert (reply.text, reply.fallback_from) == ("y", "e0:m")


def test_an_error_instead_of_the_first_call_is_skipped(plan_calls):
    """If the first call cannot be planned, it is skipped, but the reply names its reference."""
    calls, portal = plan_calls(["y", END])
    failover = Failover("grok", [MissingKeyError("no key."), *calls], portal)

    assert portal.run(failover.run()).fallback_from == "grok"
    assert failover.timeout == calls[0].timeout
    assert "e0" in failover.closed_error().message


@pytest.mark.parametrize("kind", [UsageError, TrustError])
def test_an_error_that_the_user_must_fix_does_not_fall_back(plan_calls, kind):
    """An error that the user must fix is raised, even if there is a fallback."""
    calls, portal = plan_calls([kind("no.")], ["y", END])

    with pytest.raises(kind):
        portal.run(Failover("e0", calls, portal).run())
    assert calls[1].partial.attempts == 1


def test_a_tool_call_is_never_requested_twice():
    """A failed attempt that has delivered a tool call is not repeated on any engine."""
    call = Chunk(tool_calls=(ToolCall("1", "send_email", "{}"),))
    first = make_engine("first", call, TransportError("broken."))
    second = make_engine("second", "yes", END)
    with make_pool(first, second) as pool, pytest.raises(TransportError):
        pool.ask("hi", model="first", fallback="second")

    assert (len(first.requests), second.requests) == (1, [])
