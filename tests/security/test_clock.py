"""A wall clock that jumps by a day does not change any wait."""

import time

import pytest

from gatewayx_nb.errors import DeadlineError
from gatewayx_nb.testing import CHAT, Send, Server, Stall, reply

DAY = 86_400


@pytest.fixture(params=[DAY, -DAY], ids=["forward", "back"])
def jumping_clock(monkeypatch, request):
    """Move the wall clock by a day at every other reading, as an adjustment of the time would."""
    real, looks = time.time, []

    def jump():
        looks.append(None)
        return real() + request.param * (len(looks) % 2)

    monkeypatch.setattr(time, "time", jump)
    return looks


def test_waits_do_not_follow_the_wall_clock(project, jumping_clock):
    """A retry, a rate limit and a deadline take their normal time."""
    project.settings("engines.grok.requests_per_minute = 600")
    script = [
        [Send(reply(b"{}", 429, retry_after="0.2"))],
        CHAT.answer,
        CHAT.answer,
        [Stall()],
    ]
    with Server(*script) as server:
        project.set_keys(f"GATEWAYX_GROK_API_KEY=k\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n")
        with project.pool() as pool:
            first = pool.ask("hi", "grok:m", timeout=30)
            second = pool.ask("hi", "grok:m", timeout=30)
            with pytest.raises(DeadlineError):
                pool.ask("hi", "grok:m", timeout=0.3)

    assert (first.attempts, second.attempts) == (2, 1)
    assert server.requests[1].arrived - server.requests[0].arrived >= 0.2
    assert jumping_clock
    assert 0 <= first.latency < DAY / 2
    assert 0 <= second.latency < DAY / 2
