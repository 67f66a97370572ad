"""The rate limits of `[engines.<name>]` apply to all callers."""

import asyncio
import time

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.engine_pool.limits import RateLimiter, estimate_request_tokens
from gatewayx_nb.errors import ConfigError, DeadlineError
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.secure_config import Rates


class Clock:
    """Event loop clock that sleeping advances, so that a minute takes no time."""

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

    def run(self, work):
        try:
            return self.loop.run_until_complete(work)
        finally:
            self.loop.close()


@pytest.mark.parametrize("rate", [2, 10, 60, 600])
def test_no_minute_exceeds_the_request_rate(monkeypatch, rate):
    """No minute has more requests than the rate limit: a burst first, then evenly spaced.

    At least half of the limit is used in some minute.
    """
    clock = Clock(monkeypatch)
    begun = []

    async def ask_for_three_minutes():
        pace = RateLimiter(Rates(requests=rate))
        while clock.now < 180:
            await pace.acquire(1)
            begun.append(clock.now)

    clock.run(ask_for_three_minutes())

    most = max(sum(start <= other < start + 60 for other in begun) for start in begun)
    assert 0.5 * rate <= most <= rate
    assert begun[max(1, rate // 10) - 1] < 0.01


def test_tokens_are_counted_before_they_are_sent(monkeypatch):
    """Estimated tokens are limited: half a minute's may be sent at once.

    A request above that uses its whole share.
    """
    clock = Clock(monkeypatch)

    async def ask():
        pace = RateLimiter(Rates(tokens=1000))
        await pace.acquire(500)
        at_once = clock.now
        await pace.acquire(100)
        spread = clock.now
        await pace.acquire(10**9)
        return at_once, spread

    at_once, spread = clock.run(ask())

    assert at_once < 0.01
    assert spread == pytest.approx(12, abs=0.1)
    assert clock.now == pytest.approx(72, abs=0.5)


def test_the_estimate_of_a_request_includes_its_answer():
    """A request's estimate is four characters per token, plus `max_tokens` if set."""
    request = Request((Message("user", "x" * 10),), "m", system="y" * 6, max_tokens=7)

    assert estimate_request_tokens(request) == 4 + 7


def test_a_changed_rate_applies_to_the_next_call(project):
    """The rate limit follows the settings; a call waits for it until its timeout at most."""
    project.engine("slow", says="yes")
    project.settings("[engines.slow]\nrequests_per_minute = 1")
    pool = project.pool()
    pool.ask("one", model="slow")

    with pytest.raises(DeadlineError):
        pool.ask("two", model="slow", timeout=0.1)
    project.settings("")
    pool.refresh()
    assert pool.ask("three", model="slow").text == "yes"


def test_retries_count_towards_the_rate(project):
    """Retries count as requests."""
    project.engine(
        "shaky",
        body="    tries = 0\n\n    async def generate(self, prompt, **kwargs):\n"
        "        from gatewayx_nb.errors import ProviderError\n"
        "        Engine.tries += 1\n"
        "        raise ProviderError('no', status=503)\n",
    )
    project.settings("[engines.shaky]\nrequests_per_minute = 1")
    pool = project.pool()
    start = time.monotonic()

    with pytest.raises(DeadlineError):
        pool.ask("one", model="shaky", timeout=2)

    assert time.monotonic() - start >= 2


@pytest.mark.parametrize("value", ['"many"', "0", "-1", "true", "nan"])
def test_an_invalid_rate_raises_an_error(project, value):
    """An invalid rate limit raises an error with the setting's name and file."""
    project.settings(f"[engines.mock]\ntokens_per_minute = {value}")

    with pytest.raises(ConfigError, match=r"tokens_per_minute.*gatewayx\.toml"):
        EnginePool(home=project.root, env={})
