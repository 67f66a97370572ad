"""The rate limits of `[engines.<name>]` apply to all callers."""

import time

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.engine_pool.token_estimates import estimate_request_tokens
from gatewayx_nb.errors import ConfigError, DeadlineError
from gatewayx_nb.messages import Message, Request, ToolCall, ToolResult


def test_a_requests_estimate_is_that_of_its_text():
    """The estimate is one token per four characters of the prompt, without its answer."""
    request = Request((Message("user", "x" * 10),), "m", system="y" * 6, max_tokens=7)

    assert estimate_request_tokens(request) == 4


def test_the_estimate_of_a_request_includes_tool_calls_and_results():
    """The IDs, names and arguments of tool calls and their results count as input tokens."""
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
