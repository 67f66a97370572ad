"""Applies cost limits: computes how many tokens a call may use, and what they cost."""

from __future__ import annotations

import asyncio
import functools
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb import pricing
from gatewayx_nb.engine_pool.token_estimates import estimate_tokens, texts_of
from gatewayx_nb.errors import BudgetError, EngineLoadError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.replies import Usage
from gatewayx_nb.text import dollars, short_repr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gatewayx_nb.engine_pool.day_budget import DayLimit
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.secure_config import Limits

_TOKENS_PER_MESSAGE = 16
"""Upper bound on the tokens that frame each message, such as its role and its separators.

OpenAI's chat format uses 4, Llama's 5 and SmolLM2's 5.
"""

_TOKENS_PER_IMAGE = 7_000
"""Upper bound on the tokens in an image: Together counts up to 6,404, Claude Opus up to 4,784.

https://docs.together.ai/docs/vision-overview
https://docs.claude.com/en/docs/build-with-claude/vision
"""

_TOKENS_PER_IMAGE_BY_MODEL = {"gpt-4o-mini": 50_000}
"""Upper bound for models that count more tokens: 2,833 plus 5,667 for each of at most 8 tiles.

https://platform.openai.com/docs/guides/images-vision#calculating-costs
"""

_REPLY_TOKEN_PARAMS = frozenset(
    {
        "best_of",
        "candidateCount",
        "maxOutputTokens",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "n",
    }
)
_NESTED_PARAMS = frozenset({"generationConfig", "generation_config", "extra_body"})

SESSION_REPLY_TOKENS = 16_384
"""Default maximum number of tokens in an answer if a session or day has a cost limit.

Without a maximum, the first of several concurrent calls would reserve all of the remaining budget.
"""

UNLIMITED_TOKENS = 1_000_000
"""A number of tokens that no answer reaches."""


@dataclass(frozen=True, slots=True)
class TokenRange:
    """Lower and upper bounds on the number of tokens in a string; equal if the number is known.

    Attributes:
        low: Lower bound, assuming one token per four characters.
        high: Upper bound, one token per byte of UTF-8, for a tokenizer with byte fallback.
    """

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """The request that a call may send within its cost limits, and its maximum cost.

    Attributes:
        request: The request, with a lower ``max_tokens`` if the limits require it.
        cost: The maximum cost of the request in US dollars; 0 if there is no limit.
        token_cap: The lowered ``max_tokens``; ``None`` if it was not lowered.
    """

    request: Request
    cost: Decimal = Decimal(0)
    token_cap: int | None = None


def price_per_token(engine: LLMEngine) -> float | None:
    """Return an engine's own price in US dollars per token; ``None`` if it has none.

    Raises:
        EngineLoadError: If the engine returns an invalid price.
    """
    price: object = engine.get_cost_per_token()
    if price is None:
        return None
    if not isinstance(price, int | float) or not 0 <= price < math.inf:
        raise EngineLoadError(
            f"`get_cost_per_token` in engine {engine.name!r} must return US dollars per token or"
            f" None, got {short_repr(price, 40)}.",
            hint="Fix it in the engine's file, which is reloaded on the next call.",
            engine=engine.name,
        )
    return price


async def cost_of(engine: LLMEngine, model: str, usage: Usage, sent_at: float) -> Decimal | None:
    """Return the cost of the tokens, or ``None`` if the price is unknown."""
    per_token = price_per_token(engine)
    cost = None if per_token is None else pricing.flat_cost(per_token, usage)
    if cost is not None:
        return cost
    if not (engine.prices and pricing.is_available()):
        return None
    look_up = functools.partial(pricing.price, engine.prices, model, usage, sent_at)
    # Loading genai-prices would block the loop; afterwards, a lookup is cheaper than a thread.
    return look_up() if pricing.is_loaded() else await asyncio.to_thread(look_up)


def input_tokens(request: Request) -> TokenRange:
    """Return the range of the request's input tokens."""
    request_texts = texts_of(request)
    # The provider adds a schema and parameters to the prompt.
    added_objects = (extra for extra in (request.schema, request.params) if extra)
    added_texts = [json.dumps(extra, default=repr) for extra in added_objects]
    part_count = sum(max(1, len(message.parts)) for message in request.messages)
    framing_tokens = _TOKENS_PER_MESSAGE * (part_count + bool(request.system))
    byte_count = sum(len(text.encode(errors="replace")) for text in (*request_texts, *added_texts))
    tokens_per_image = next(
        (tokens for name, tokens in _TOKENS_PER_IMAGE_BY_MODEL.items() if name in request.model),
        _TOKENS_PER_IMAGE,
    )
    return TokenRange(
        estimate_tokens(request_texts),
        byte_count + framing_tokens + tokens_per_image * len(request.images),
    )


def most_expensive_usage(
    engine: LLMEngine, request: Request, tokens: int, reply_tokens: int
) -> Usage:
    """Return the most expensive usage that a request can have."""
    # Anthropic and OpenAI charge 25 % more for tokens that they write to their caches.
    cache_write_tokens = tokens if engine.may_write_cache(request) else None
    return Usage(tokens, reply_tokens, cache_write_tokens=cache_write_tokens)


def _price_hint(engine: LLMEngine) -> Hint:
    """Return the hint that explains how to define an engine's prices."""
    if engine.prices and not pricing.is_available():
        return Hint("install", extra="prices")
    return as_hint("An engine file sets a price with `get_cost_per_token`.")


@dataclass(frozen=True, slots=True)
class _RemainingBudget:
    """The remainder of each limit in US dollars; ``None`` if the limit is not set."""

    call: Decimal | None
    session: Decimal | None
    day: Decimal | None
    day_limit: DayLimit | None

    @classmethod
    def of(
        cls, limits: Limits, spent: Callable[[], Decimal], day: DayLimit | None
    ) -> _RemainingBudget:
        session = None if limits.max_cost is None else limits.max_cost - spent()
        return cls(limits.max_call_cost, session, None if day is None else day.left, day)

    @property
    def lowest(self) -> Decimal | None:
        amounts = (self.call, self.session, self.day)
        return min((amount for amount in amounts if amount is not None), default=None)

    @property
    def is_shared(self) -> bool:
        """Whether the call shares a limit with other calls."""
        return (self.session, self.day) != (None, None)

    def error(self, input_cost: Decimal, limits: Limits) -> BudgetError:
        """Return the error that states the lowest remaining limit."""
        if self.day_limit is not None and self.day is not None and self.day == self.lowest:
            return self.day_limit.error(self.day, input_cost)
        return _budget_error(input_cost, limits, self.session)


async def apply_cost_limits(
    engine: LLMEngine,
    request: Request,
    limits: Limits,
    spent: Callable[[], Decimal],
    lowest_day_limit: Callable[[], DayLimit | None] = lambda: None,
) -> Allowance:
    """Limit a call so that it cannot exceed its cost limits.

    If the answer could exceed a limit, ``max_tokens`` is lowered accordingly.

    Args:
        engine: The engine.
        request: The request.
        limits: Cost limits of the call and the session.
        spent: Returns the cost of the session so far, including running calls.
        lowest_day_limit: Returns the daily limit with the smallest remaining amount; ``None`` if
            there is no daily limit.

    Raises:
        BudgetError: If the input alone may exceed a limit, or the price is unknown.
    """
    if (limits.max_cost, limits.max_call_cost, lowest_day_limit()) == (None, None, None):
        return Allowance(request)
    for name in limit_params(request.params):
        raise BudgetError(
            f"params must not contain {name!r} if a cost limit is set; nothing was sent.",
            hint=Hint("set_option", option="max_tokens", value=500),
        )
    tokens, now = input_tokens(request).high, time.time()

    async def cost(reply_tokens: int) -> Decimal | None:
        usage = most_expensive_usage(engine, request, tokens, reply_tokens)
        return await cost_of(engine, request.model, usage, now)

    input_cost = await cost(0)
    if input_cost is None:
        if limits.allow_unpriced:
            return Allowance(request)
        raise BudgetError(
            f"the price of {engine.name}:{request.model} is unknown, and a cost limit is set;"
            " nothing was sent.",
            hint=Hint("allow_unpriced") | _price_hint(engine),
        )
    if not await cost(UNLIMITED_TOKENS):  # free of charge
        return Allowance(request)
    remaining = _RemainingBudget.of(limits, spent, lowest_day_limit())
    if remaining.lowest is None:  # the settings have just changed and no longer contain a limit
        return Allowance(request)
    default_tokens = SESSION_REPLY_TOKENS if remaining.is_shared else UNLIMITED_TOKENS
    reply_tokens = await _affordable_tokens(
        cost, request.max_tokens or default_tokens, remaining.lowest
    )
    if reply_tokens < 1:
        raise remaining.error(input_cost, limits)
    max_cost = await cost(reply_tokens) or Decimal(0)
    if reply_tokens in (request.max_tokens, UNLIMITED_TOKENS):
        return Allowance(request, max_cost)
    return Allowance(replace(request, max_tokens=reply_tokens), max_cost, reply_tokens)


def limit_params(params: object) -> Iterator[str]:
    """Yield the names of parameters that determine the number of reply tokens."""
    if isinstance(params, Mapping):
        for name, value in params.items():
            if name in _REPLY_TOKEN_PARAMS:
                yield name
            elif name in _NESTED_PARAMS:
                yield from limit_params(value)


async def _affordable_tokens(
    cost: Callable[[int], Awaitable[Decimal | None]], wanted_tokens: int, max_cost: Decimal
) -> int:
    """Return the largest affordable number of reply tokens, at most ``wanted_tokens``.

    The number is found by bisection, because some models' price per token depends on the number of
    tokens.
    """
    low, high = 0, wanted_tokens + 1
    if (await cost(wanted_tokens) or 0) <= max_cost:
        return wanted_tokens
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if (await cost(middle) or 0) <= max_cost else (low, middle)
    return low


def _budget_error(input_cost: Decimal, limits: Limits, session_left: Decimal | None) -> BudgetError:
    """Return the error that states the lower of the limits of the call and the session."""
    call_limit = limits.max_call_cost
    if (
        limits.max_cost is None
        or session_left is None
        or (call_limit is not None and call_limit <= session_left)
    ):
        assert call_limit is not None  # noqa: S101 - one of the limits is set
        reason = ", which is not enough for an answer" if input_cost < call_limit else ""
        return BudgetError(
            f"the prompt alone may cost {_dollars(input_cost)}, and max_cost is"
            f" {_dollars(call_limit)}{reason}; nothing was sent.",
            hint=Hint("raise_option", option="max_cost") | "Shorten the prompt.",
        )
    return BudgetError(
        "the session, including running calls, has used"
        f" {_dollars(limits.max_cost - session_left)} of its {_dollars(limits.max_cost)}, and the"
        f" prompt alone may cost {_dollars(input_cost)}; nothing was sent.",
        hint="Raise [limits] max_cost in config/gatewayx.toml. If your user folder also sets it,"
        " the lower limit applies.",
    )


def _dollars(amount: Decimal) -> str:
    rounded = amount.quantize(Decimal("0.000001"))
    return dollars(rounded or amount)  # a tiny amount is not shown as $0
