"""A pool's calls are paced together, and may wait until a rate limit allows them."""

import asyncio
import itertools
import time

import pytest

from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.errors import QuotaError, RateLimitError
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.secure_config import Limits
from gatewayx_nb.testing import CHAT, Send, Server, reply

MODEL = "grok:m"
TEXT = "Hello."
REFUSAL = [Send(reply(b"{}", 429, retry_after="0.05"))]


@pytest.fixture
def make_pool(project):
    """Yield a function that returns a pool whose engine sends requests to a server."""
    pools = []

    def make(server, settings=""):
        project.settings(settings)
        project.set_keys(f"GATEWAYX_GROK_API_KEY=k\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n")
        pools.append(project.pool())
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def make_call(pool, prompt="hi", **limits):
    """Return a call that waits out rate limits, as the rows of a map do."""
    target = pool._registry.resolve(MODEL)
    request = Request((Message("user", prompt),), "m")
    return EngineCall(
        pool._runtime.host(target),
        target,
        request,
        Limits(**limits),
        pool._usage,
        waits_out_rate_limits=True,
    )


def run_calls(*calls):
    """Run calls at the same time; return their replies or errors."""

    async def run():
        runs = (call.portal.arun(call.run()) for call in calls)
        return await asyncio.gather(*runs, return_exceptions=True)

    return asyncio.run(run())


def governor_of(pool):
    """Return the governor of the engine."""
    return pool._runtime.host(pool._registry.resolve(MODEL)).governor


def test_a_refusal_that_was_waited_out_is_not_an_attempt(make_pool):
    """The request is sent again until it is accepted, even without retries."""
    with Server(*[REFUSAL] * 5, CHAT.answer) as server:
        pool = make_pool(server)
        (answer,) = run_calls(make_call(pool, retries=0))

    assert (answer.text, answer.attempts) == (TEXT, 1)
    assert len(server.requests) == 6
    assert governor_of(pool).pace.refusals == 5


def test_no_row_is_lost_to_refusals(make_pool):
    """If a server refuses every third request, all calls are answered."""
    numbers = itertools.count()

    def answer(request):
        return REFUSAL if next(numbers) % 3 == 0 else CHAT.answer(request)

    with Server(answer) as server:
        pool = make_pool(server)
        answers = run_calls(*(make_call(pool, retries=0) for _ in range(12)))

    assert [answer.text for answer in answers] == [TEXT] * 12
    assert {answer.attempts for answer in answers} == {1}


def test_nothing_but_refusals_ends_a_call_after_its_timeout(make_pool):
    """A provider without quota is not asked forever; the error is the provider's own."""
    with Server(REFUSAL) as server:
        pool = make_pool(server)
        start = time.monotonic()
        (error,) = run_calls(make_call(pool, timeout=2))

    assert type(error) is RateLimitError
    assert error.status == 429
    assert len(server.requests) >= 3
    assert server.requests[-1].arrived - start >= 0.4


def test_an_exhausted_quota_is_final(make_pool):
    """Waiting does not help if the account has no credit."""
    body = b'{"error": {"code": "insufficient_quota", "message": "no credit"}}'
    with Server([Send(reply(body, 429))]) as server:
        (error,) = run_calls(make_call(make_pool(server)))

    assert type(error) is QuotaError
    assert len(server.requests) == 1


def test_waiting_for_admission_does_not_count_towards_the_timeout(make_pool):
    """Calls that wait out rate limits have their whole timeout after they were admitted."""
    with Server(CHAT.answer) as server:
        pool = make_pool(server, "engines.grok.requests_per_minute = 15")
        start = time.monotonic()
        # The second call waits for 4 s. The timeout is long because the machine may be busy.
        answers = run_calls(*(make_call(pool, timeout=3) for _ in range(2)))

    assert [answer.text for answer in answers] == [TEXT] * 2
    assert server.requests[1].arrived - start > 3


def test_retry_after_pauses_other_calls(make_pool):
    """A pause that is requested of one call also applies to the engine's other calls."""
    with Server([Send(reply(b"{}", 429, retry_after="0.6"))], CHAT.answer) as server:
        pool = make_pool(server)
        first = pool.ask("one", MODEL)
        with pytest.raises(RateLimitError), governor_of(pool).try_admit():
            raise RateLimitError("slow down.", retry_after=0.6)
        second = pool.ask("two", MODEL)

    assert (first.attempts, second.attempts) == (2, 1)
    arrived = [request.arrived for request in server.requests]
    assert arrived[1] - arrived[0] >= 0.6
    assert arrived[2] - arrived[1] >= 0.55


def test_a_reported_limit_paces_the_next_calls(make_pool):
    """The limits in the headers are applied to all calls, as soon as they are known."""
    headers = {"x_ratelimit_limit_requests": "120", "x_ratelimit_remaining_requests": "119"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = [Send(reply(CHAT.whole, **names))]
    with Server(answer) as server:
        pool = make_pool(server)
        pool.ask("one", MODEL)
        pace = governor_of(pool).pace
        pool.compare("two", [MODEL])
        pool.ask("three", MODEL)

    assert pace.rate == pytest.approx(2 * 0.98)
    assert server.requests[2].arrived - server.requests[1].arrived > 0.4


def test_another_key_has_its_own_limits(make_pool, project):
    """What was learned with a key does not slow calls with another key."""
    limited = [Send(reply(CHAT.whole, **{"x-ratelimit-limit-requests": "1"}))]
    with Server(limited, CHAT.answer) as server:
        pool = make_pool(server)
        pool.ask("one", MODEL)
        limited_rate = governor_of(pool).pace.rate
        keys = f"GATEWAYX_GROK_API_KEY=other\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n"
        project.set_keys(keys)
        pool.refresh()
        pool.ask("two", MODEL, timeout=30)

    assert limited_rate == pytest.approx(0.98 / 60)
    assert governor_of(pool).pace.rate is None


def test_a_request_larger_than_the_limit_is_not_sent(make_pool):
    """Such a request fails with a hint instead of blocking the queue."""
    with Server(CHAT.answer) as server:
        pool = make_pool(server, "engines.grok.tokens_per_minute = 100")
        with pytest.raises(RateLimitError, match="at most 100 tokens"):
            pool.ask("x" * 1000, MODEL)

    assert server.requests == []


def test_a_cancelled_call_leaves_the_line(make_pool):
    """A call that is cancelled while it waits is neither sent nor counted."""
    with Server(CHAT.answer) as server:
        pool = make_pool(server, "engines.grok.requests_per_minute = 1")

        async def ask():
            await pool.aask("one", MODEL)
            waiting = asyncio.ensure_future(pool.aask("two", MODEL))
            while governor_of(pool).pace.waiting == 0:
                await asyncio.sleep(0.01)
            waiting.cancel()
            while governor_of(pool).pace.waiting:
                await asyncio.sleep(0.01)
            return governor_of(pool).pace.in_flight

        assert asyncio.run(ask()) == 0

    assert len(server.requests) == 1
