"""`fallback=`: another engine replies if the first one fails before its first chunk."""

import asyncio

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.engine_pool.failover import Failover
from gatewayx_nb.errors import (
    AuthenticationError,
    DeadlineError,
    MissingKeyError,
    ProviderError,
    QuotaError,
    TruncatedError,
    TrustError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, LLMEngine
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop")


def engine(name, *script):
    """Return an engine that plays one script."""
    made = ScriptedEngine(list(script))
    made.name = name
    return made


def pool_of(*engines):
    """Return a pool that has only these engines."""
    return EnginePool(env={}, engines=engines)


@pytest.mark.parametrize(
    "failure",
    [AuthenticationError("no"), QuotaError("no"), ProviderError("no"), TruncatedError("no")],
    ids=lambda error: type(error).__name__,
)
def test_another_engine_answers_and_the_reply_names_the_first(failure):
    """The reply names the model that was called first; its figures include the failed call."""
    first, second = engine("first", failure), engine("second", "yes", END)
    with pool_of(first, second) as pool:
        reply = pool.ask("hi", model="first:m", fallback="second", temperature=0)

    assert (reply.text, reply.engine, reply.fallback_from) == ("yes", "second", "first:m")
    assert reply.attempts == len(first.requests) + 1
    assert second.requests[0].temperature == 0


def test_no_fallback_is_called_if_the_first_engine_answers():
    """If the first engine replies, the others are not called or mentioned."""
    first, second = engine("first", "yes", END), engine("second", "no", END)
    with pool_of(first, second) as pool:
        reply = pool.ask("hi", model="first", fallback=["second"])

    assert (reply.engine, reply.fallback_from, second.requests) == ("first", None, [])


def test_a_stream_and_an_awaited_call_fall_back_too():
    """Streamed and awaited calls fall back too, with chunks from the replying engine only."""
    first, second = engine("first", QuotaError("no")), engine("second", "y", "es", END)
    with pool_of(first, second) as pool:
        stream = pool.stream("hi", model="first", fallback="second")
        assert "".join(chunk.text for chunk in stream) == "yes"
        assert stream.reply.fallback_from == "first"

        async def read():
            stream = pool.astream("hi", model="first", fallback="second")
            return [chunk.text async for chunk in stream if chunk.text], stream.reply

        pieces, reply = asyncio.run(read())
        assert (pieces, reply.engine) == (["y", "es"], "second")
        awaited = asyncio.run(pool.aask("hi", model="first", fallback="second"))
        assert awaited.text == "yes"


def test_an_answer_never_mixes_two_engines():
    """After the first chunk there is no fallback; the error holds the partial text."""
    first, second = engine("first", "half", ProviderError("no")), engine("second", "yes", END)
    with pool_of(first, second) as pool, pytest.raises(ProviderError) as caught:
        pool.ask("hi", model="first", fallback="second")

    assert (caught.value.partial, caught.value.engine, second.requests) == ("half", "first", [])


def test_a_missing_key_or_an_unknown_engine_falls_back(project):
    """An unknown engine or a missing key falls back, so that a notebook runs without all keys."""
    pool = project.pool()

    reply = pool.ask("hi", model="grok", fallback=["nonesuch", "mock"])

    assert (reply.text, reply.fallback_from) == ("[mock] hi", "grok")


def test_if_all_engines_fail_the_first_error_names_the_others(project):
    """If all engines fail, the first error is raised; it names the other engines."""
    with pytest.raises(
        MissingKeyError, match=r"'grok'.*A fallback failed too: no engine 'nonesuch'"
    ):
        project.pool().ask("hi", model="grok", fallback="nonesuch")
    engines = engine("first", QuotaError("spent.")), engine("second", ProviderError("broken."))
    with pool_of(*engines) as pool, pytest.raises(QuotaError, match=r"spent\..*broken\."):
        pool.ask("hi", model="first", fallback="second")


def test_a_usage_error_does_not_fall_back():
    """An invalid option raises an error without fallback: no other engine would accept it."""
    first, second = engine("first", "yes", END), engine("second", "yes", END)
    with pool_of(first, second) as pool, pytest.raises(UsageError, match="temperature"):
        pool.ask("hi", model="first", fallback="second", temperature="hot")

    assert second.requests == []


def test_one_deadline_covers_all_attempts():
    """The deadline covers all engines; a call that exceeded it does not fall back."""
    first, second = engine("first", 30.0), engine("second", "yes", END)
    with pool_of(first, second) as pool, pytest.raises(DeadlineError):
        pool.ask("hi", model="first", fallback="second", timeout=0.2)

    assert second.requests == []


def test_an_unsupported_feature_falls_back():
    """A missing feature, such as images, falls back to an engine that has it."""

    class Seeing(LLMEngine):
        requires_key = False
        features = frozenset({"images"})

        async def generate(self, prompt, **_):
            return "a dot"

    png = b"\x89PNG\r\n\x1a\n" + bytes(8)
    blind = engine("blind", "what?", END)
    with pool_of(blind, Seeing()) as pool:
        reply = pool.ask("what is it?", model="blind", fallback="seeing", images=[png])
        with pytest.raises(UnsupportedFeatureError):
            pool.ask("what is it?", model="blind", images=[png])

    assert (reply.text, reply.fallback_from) == ("a dot", "blind")


@pytest.mark.parametrize("wrong", [[""], [None], 3])
def test_an_invalid_fallback_raises_an_error(wrong):
    """An invalid value raises an error before anything is sent."""
    first = engine("first", "yes", END)
    with pool_of(first) as pool, pytest.raises(UsageError, match="fallback"):
        pool.ask("hi", model="first", fallback=wrong)

    assert first.requests == []


@pytest.fixture
def planned():
    """Yield a function that plans calls to scripted engines, one for each script."""
    pools = []

    def plan(*scripts):
        engines = [engine(f"e{number}", *script) for number, script in enumerate(scripts)]
        pools.append(pool_of(*engines))
        planner = pools[-1]._router._planner
        calls = [planner.plan("hi", {"model": one.name}, streamed=True) for one in engines]
        return calls, planner.runtime.shared

    yield plan
    for pool in pools:
        pool.close()


def test_without_a_call_the_first_error_is_raised_with_the_others(planned):
    """If no call can be made, planning fails; the fields are those of the first error."""
    _, portal = planned()
    errors = [MissingKeyError("no key.", engine="e0"), QuotaError("spent."), ProviderError("no.")]

    with pytest.raises(MissingKeyError) as caught:
        Failover("e0", errors, portal)

    assert (
        caught.value.message == "no key. A fallback failed too: spent. A fallback failed too: no."
    )
    assert caught.value.engine == "e0"
    assert errors[0].message == "no key."


def test_calls_share_one_partial_answer(planned):
    """A reader of the partial answer sees the engine that is being called."""
    calls, portal = planned([QuotaError("no")], ["y", END])
    failover = Failover("e0:m", calls, portal)
    engines = []

    async def emit(_):
        engines.append((failover.partial.engine, failover.partial.fallback_from))

    reply = portal.run(failover.run(emit))

    assert [call.partial for call in calls] == [failover.partial] * 2
    assert engines == [("e1", "e0:m")] * 2
    assert (reply.text, reply.fallback_from) == ("y", "e0:m")


def test_a_call_that_cannot_be_made_counts_as_the_first(planned):
    """An error in the first place is skipped, and the reply still names the first reference."""
    calls, portal = planned(["y", END])
    failover = Failover("grok", [MissingKeyError("no key."), *calls], portal)

    assert portal.run(failover.run()).fallback_from == "grok"
    assert failover.timeout == calls[0].timeout
    assert "e0" in failover.closed_error().message


@pytest.mark.parametrize("kind", [UsageError, TrustError])
def test_a_final_error_is_not_hidden_by_another_engine(planned, kind):
    """An error that the user must fix is raised even if another engine could answer."""
    calls, portal = planned([kind("no.")], ["y", END])

    with pytest.raises(kind):
        portal.run(Failover("e0", calls, portal).run())
    assert calls[1].partial.attempts == 1
