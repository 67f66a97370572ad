"""The rate limits of `[engines.<name>]` apply to all callers."""

import asyncio
import time

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.engine_pool.rate_limits import RateLimiter, estimate_request_tokens
from gatewayx_nb.errors import ConfigError, DeadlineError
from gatewayx_nb.messages import Message, Request, ToolCall, ToolResult
from gatewayx_nb.secure_config import Rates


class Clock:
    """Event loop whose clock is advanced by waiting, so that a minute takes no time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        loop = asyncio.new_event_loop()
        monkeypatch.setattr(loop, "time", lambda: self.now)
        select = loop._selector.select

        def skip(timeout):
            self.now += max(timeout or 0.0, 1e-6)  # a clock always advances
            return select(0)

        monkeypatch.setattr(loop._selector, "select", skip)
        self.loop = loop

    def run(self, coroutine):
        try:
            return self.loop.run_until_complete(coroutine)
        finally:
            self.loop.close()


@pytest.mark.parametrize("rate", [2, 10, 60, 600])
def test_no_minute_exceeds_the_request_rate(monkeypatch, rate):
    """No minute has more requests than the rate limit: a burst first, then evenly spaced.

    At least half of the limit is used in some minute.
    """
    clock = Clock(monkeypatch)
    start_times = []

    async def ask_for_three_minutes():
        limiter = RateLimiter(Rates(requests=rate))
        while clock.now < 180:
            await limiter.acquire(1)
            start_times.append(clock.now)

    clock.run(ask_for_three_minutes())

    maximum = max(
        sum(start <= time_ < start + 60 for time_ in start_times) for start in start_times
    )
    assert 0.5 * rate <= maximum <= rate
    assert start_times[max(1, rate // 10) - 1] < 0.01


def test_estimated_tokens_are_limited(monkeypatch):
    """Half of the tokens per minute may be sent at once; further requests wait.

    A request larger than the burst counts as one of the burst's size.
    """
    clock = Clock(monkeypatch)

    async def ask():
        limiter = RateLimiter(Rates(tokens=1000))
        await limiter.acquire(500)
        burst_time = clock.now
        await limiter.acquire(100)
        wait_time = clock.now
        await limiter.acquire(10**9)
        return burst_time, wait_time

    burst_time, wait_time = clock.run(ask())

    assert burst_time < 0.01
    assert wait_time == pytest.approx(12, abs=0.1)
    assert clock.now == pytest.approx(72, abs=0.5)


def test_the_estimate_of_a_request_includes_its_answer():
    """The estimate is one token per four characters of the prompt, plus `max_tokens` if set."""
    request = Request((Message("user", "x" * 10),), "m", system="y" * 6, max_tokens=7)

    assert estimate_request_tokens(request) == 4 + 7


def test_the_estimate_of_a_request_includes_tool_calls_and_results():
    """The IDs, names and arguments of tool calls and their results are tokens of the input."""
    call, result = ToolCall("1", "f", "x" * 19), ToolResult("1", "y" * 20)
    request = Request((Message("assistant", [call]), Message("tool", [result])), "m")

    assert estimate_request_tokens(request) == 11


def test_a_changed_rate_limit_applies_to_the_next_call(project):
    """A call waits for the rate limit until its timeout, and the next call uses new settings."""
    project.engine("slow", says="yes")
    project.settings("[engines.slow]\nrequests_per_minute = 1")
    pool = project.pool()
    pool.ask("one", model="slow")

    with pytest.raises(DeadlineError):
        pool.ask("two", model="slow", timeout=0.1)
    project.settings("")
    pool.refresh()
    assert pool.ask("three", model="slow").text == "yes"


def test_retries_count_towards_the_rate_limit(project):
    """A retry counts as a request, so it waits for the rate limit."""
    project.engine(
        "failing",
        body="    tries = 0\n\n    async def generate(self, prompt, **kwargs):\n"
        "        from gatewayx_nb.errors import ProviderError\n"
        "        Engine.tries += 1\n"
        "        raise ProviderError('no', status=503)\n",
    )
    project.settings("[engines.failing]\nrequests_per_minute = 1")
    pool = project.pool()
    start = time.monotonic()

    with pytest.raises(DeadlineError):
        pool.ask("one", model="failing", timeout=2)

    assert time.monotonic() - start >= 2


@pytest.mark.parametrize("value", ['"many"', "0", "-1", "true", "nan"])
def test_an_invalid_rate_limit_raises_an_error(project, value):
    """An invalid rate limit raises an error with the setting's name and file."""
    project.settings(f"[engines.mock]\ntokens_per_minute = {value}")

    with pytest.raises(ConfigError, match=r"tokens_per_minute.*gatewayx\.toml"):
        EnginePool(home=project.root, env={})
