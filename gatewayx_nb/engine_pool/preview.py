"""Previews of calls (the request and its cost), and the methods that return them."""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.arguments import check_keywords
from gatewayx_nb.calls import (
    OPTIONS,
    AskOptions,
    run_async,
    run_blocking,
    select_prompt,
    show_options,
)
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.engine_pool.budget import (
    TokenRange,
    cost_of,
    input_tokens,
    limit_params,
    most_expensive_usage,
)
from gatewayx_nb.engine_pool.dry_run import DryRun
from gatewayx_nb.errors import ConfigError, EngineLoadError
from gatewayx_nb.llm_engines import HTTPEngine
from gatewayx_nb.replies import Usage
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from typing_extensions import Unpack

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.engine_pool.live_planner import LiveCall
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Messages, Prompt, Request

_PREVIEW_KEYWORDS = frozenset({*OPTIONS, "prompt", "messages"})


@dataclass(frozen=True, slots=True, repr=False)
class CallPreview:
    """The request that a call would send; it is displayed like the output of `--dry-run`.

    Attributes:
        engine: Name of the engine that would answer.
        model: Name of the model, as the provider spells it.
        where: URL of the request; empty if nothing leaves this process.
        prompt: The system prompt and the messages, as text.
        body: The JSON body of the request, or the arguments for an engine that does not use HTTP.
        input_tokens: The lowest and the highest number of input tokens; equal if the engine counts
            them itself.
        max_tokens: The maximum number of tokens in the answer; ``None`` if there is no maximum.
        lowest_cost: The cost, in US dollars, of the fewest input tokens and no answer; ``None`` if
            the price is unknown.
        highest_cost: The cost of the most input tokens and the longest answer; ``None`` if the
            price is unknown or the answer has no maximum.
    """

    engine: str
    model: str
    where: str
    prompt: str
    body: Mapping[str, Any]
    input_tokens: TokenRange
    max_tokens: int | None
    lowest_cost: Decimal | None
    highest_cost: Decimal | None

    @property
    def tokens(self) -> tuple[int, int]:
        """The lowest and the highest number of input tokens."""
        return self.input_tokens.low, self.input_tokens.high

    @property
    def costs(self) -> tuple[Decimal | None, Decimal | None]:
        """The lowest and the highest cost."""
        return self.lowest_cost, self.highest_cost

    @override
    def __repr__(self) -> str:
        return repr(DryRun.of([self]))

    def _repr_html_(self) -> str:
        return DryRun.of([self])._repr_html_()


async def preview(engine: LLMEngine, request: Request) -> CallPreview:
    """Return the preview of a request; must run on the engine's loop."""
    where, body = "", {"prompt": request.prompt, **request.keywords()}
    if isinstance(engine, HTTPEngine):
        dialect = engine.dialect(request)
        where = f"{engine.base_url.rstrip('/')}/{dialect.route(request).lstrip('/')}"
        body = dialect.payload(request)
    tokens = await _input_tokens(engine, request)
    now, max_tokens = time.time(), _max_tokens(engine, request)
    lowest_cost = await cost_of(engine, request.model, Usage(tokens.low, 0), now)
    # An answer from a free model costs nothing, whatever its length.
    highest_cost = lowest_cost if lowest_cost == 0 else None
    if max_tokens is not None:
        usage = most_expensive_usage(engine, request, tokens.high, max_tokens)
        highest_cost = await cost_of(engine, request.model, usage, now)
    return CallPreview(
        engine.name,
        request.model,
        where,
        _prompt_text(request),
        body,
        tokens,
        max_tokens,
        lowest_cost,
        highest_cost,
    )


def _max_tokens(engine: LLMEngine, request: Request) -> int | None:
    """Return the maximum number of tokens of the answer; ``None`` if there is none."""
    # `params` may set the maximum under the provider's own name, which replaces the default.
    default_max = None if any(limit_params(request.params)) else engine.default_max_tokens
    return request.max_tokens or default_max


async def _input_tokens(engine: LLMEngine, request: Request) -> TokenRange:
    try:
        answer: object = engine.count_tokens(request)
        token_count: object = await answer if inspect.isawaitable(answer) else answer
    except (ConfigError, EngineLoadError):  # for example, the weights are not on this machine
        token_count = None
    if token_count is None:
        return input_tokens(request)
    if not isinstance(token_count, int) or token_count < 0:
        raise EngineLoadError(
            f"`count_tokens` in engine {engine.name!r} must return a number of tokens or None,"
            f" got {short_repr(token_count, 40)}.",
            hint="Fix it in the engine's file, which is reloaded on the next call.",
        )
    return TokenRange(token_count, token_count)


def _prompt_text(request: Request) -> str:
    """Return the system prompt and the messages as text, with roles if there are several."""
    turns = [("system", request.system)] if request.system else []
    turns += [(message.role, message.content) for message in request.messages]
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{role}:\n{text}" for role, text in turns)


class Previewer(ABC):
    """Methods of a pool that return a preview of a call, without sending anything."""

    @abstractmethod
    def _plan_live(self, prompt: Prompt, options: CallOptions) -> LiveCall:
        """Plan a call to an engine, even if a cassette is open."""

    @show_options(AskOptions)
    def preview(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> CallPreview:
        """Return the request that `ask` would send, and its cost; nothing is sent.

        The preview describes the live call, even if a `cassette` is open.

        Raises:
            GatewayError: If the call cannot be made.
        """
        forbid_blocking_call("apreview")
        check_keywords(options, _PREVIEW_KEYWORDS)
        call_options: CallOptions = {**options, "model": model, "schema": schema}
        call = self._plan_live(select_prompt(prompt, messages), call_options)
        return run_blocking(call, call.preview())

    @show_options(AskOptions)
    async def apreview(
        self,
        prompt: Prompt | None = None,
        model: str | None = None,
        *,
        messages: Messages | None = None,
        schema: object = None,
        **options: Unpack[AskOptions],
    ) -> CallPreview:
        """Return the request that `aask` would send; see `preview`."""
        check_keywords(options, _PREVIEW_KEYWORDS)
        call_options: CallOptions = {**options, "model": model, "schema": schema}
        call = self._plan_live(select_prompt(prompt, messages), call_options)
        return await run_async(call, call.preview())
