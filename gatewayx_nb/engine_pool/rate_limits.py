"""Rate limits of calls, and the estimates of tokens that they count."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiolimiter import AsyncLimiter

    from gatewayx_nb.messages import Request
    from gatewayx_nb.secure_config import Rates

_CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text; other text has more tokens.

https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
"""


_MAX_CARRIED_TEXT = 50_000
"""Maximum number of characters to count in each carried string, which may be an image."""


def estimate_request_tokens(request: Request) -> int:
    """Estimate the tokens in a request, plus ``max_tokens`` for its reply if set."""
    return estimate_tokens(texts_of(request)) + (request.max_tokens or 0)


def texts_of(request: Request) -> list[str]:
    """Return all text in a request: prompts, tool calls, tool results and carried data."""
    texts = [request.system or "", *(message.content for message in request.messages)]
    calls = (call for message in request.messages for call in message.tool_calls)
    results = (result for message in request.messages for result in message.tool_results)
    texts += [f"{call.id}{call.name}{call.arguments}" for call in calls]
    texts += [f"{result.id}{result.name}" for result in results]
    carried = (message.carried for message in request.messages if message.carried)
    return texts + [text for turn in carried for text in _strings(turn.data)]


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in JSON, cut to `_MAX_CARRIED_TEXT`: long ones are images or encrypted."""
    match value:
        case str():
            yield value[:_MAX_CARRIED_TEXT]
        case Mapping():
            for item in value.values():
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)


def estimate_tokens(texts: Iterable[str]) -> int:
    """Estimate the number of tokens in English text."""
    return math.ceil(sum(map(len, texts)) / _CHARACTERS_PER_TOKEN)


class RateLimiter:
    """Rate limiter for calls on one event loop.

    A tenth of a minute's requests, or half of its tokens, may start at once. The rest is spread
    evenly, so that no minute exceeds the rate.
    """

    def __init__(self, rates: Rates) -> None:
        self.rates = rates
        self._requests = _limiter(rates.requests, 0.1)
        self._tokens = _limiter(rates.tokens, 0.5)

    async def acquire(self, tokens: int) -> None:
        """Wait until a call of ``tokens`` tokens may start."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            # A call larger than the bucket would otherwise never start.
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))


def _limiter(per_minute: float | None, burst_share: float) -> AsyncLimiter | None:
    """Return a leaky bucket that lets this share of a minute's rate start at once."""
    if per_minute is None:
        return None
    from aiolimiter import AsyncLimiter

    burst = max(1.0, per_minute * burst_share)
    # The first minute has the burst and 60 s of refill; together they must not exceed the rate.
    refill = max(per_minute - burst, per_minute / 2) / 60
    return AsyncLimiter(burst, burst / refill)
