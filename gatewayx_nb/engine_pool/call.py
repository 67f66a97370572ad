"""Makes a call to an engine, with a deadline, a budget, retries, parsing and accounting."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import AnswerCleaner, PartialReply, PendingRetry, is_transient, with_retries
from gatewayx_nb.concurrency import is_being_cancelled
from gatewayx_nb.engine_pool.budget import (
    SESSION_REPLY_TOKENS,
    apply_cost_limits,
    cost_of,
    price_per_token,
)
from gatewayx_nb.engine_pool.chunk_check import ChunkChecker
from gatewayx_nb.engine_pool.exception_redaction import redact_exception
from gatewayx_nb.engine_pool.host import closing, typed_errors
from gatewayx_nb.engine_pool.preview import preview
from gatewayx_nb.engine_pool.probe import list_models
from gatewayx_nb.engine_pool.request_preparation import (
    check_features,
    with_model,
    with_schema,
    with_sendable_messages,
)
from gatewayx_nb.engine_pool.structured_output import parse_or_correct
from gatewayx_nb.engine_pool.token_estimates import estimate_request_tokens
from gatewayx_nb.errors import (
    BudgetError,
    DeadlineError,
    GatewayError,
    ModelNotFoundError,
    RateLimitError,
    RequestError,
    TransportError,
    did_you_mean,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import (
    RejectedParameterError,
    check_supported,
    model_token_limit,
    takes,
    without_param,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gatewayx_nb.calls import ChunkHandler
    from gatewayx_nb.engine_pool.congestion import Permit
    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.engine_pool.preview import CallPreview
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.replies import Chunk, Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.secure_config import Limits

_GRACE_PERIOD = 1.0
"""Extra seconds that a caller waits after the deadline, in case an engine blocks its event loop."""

_LISTING_TIMEOUT = 5.0
"""Timeout in seconds for listing a provider's models, used to suggest names in an error message."""


class EngineCall:
    """A call to one engine; implements `PlannedCall`.

    Args:
        host: Runs the engine.
        target: The engine.
        request: The request; an empty model means the engine's default.
        limits: Timeout, concurrency, retries and cost.
        usage: The totals to which the finished call is added.
        schema: Parses the answer, if a schema was requested.
        add_turn: Adds the reply to the call's conversation, if any.
        waits_out_rate_limits: Whether to resend a request that the provider refuses because of a
            rate limit as often as needed, without counting these attempts. The time that the call
            waits to be sent then does not count towards the timeout, but the call fails if the
            engine refuses every request for as long as the timeout.

    Attributes:
        portal: The engine's event loop, on which the call runs.
        timeout: Seconds that a caller waits: the deadline plus a grace period.
        partial: The partial answer; the calls of one failover share it.
    """

    caller_thread = None

    def __init__(  # noqa: PLR0913 - a call uses all of them
        self,
        host: EngineHost,
        target: Target,
        request: Request,
        limits: Limits,
        usage: UsageTracker,
        *,
        schema: ResponseSchema | None = None,
        add_turn: Callable[[Reply], object] | None = None,
        waits_out_rate_limits: bool = False,
    ) -> None:
        self.target, self.limits = target, limits
        self.portal, self.timeout = host.portal, limits.timeout + _GRACE_PERIOD
        if waits_out_rate_limits:
            self.timeout = math.inf
        self.partial = PartialReply(target.name, target.model or "")
        self._host, self._request, self._usage = host, request, usage
        self._schema, self._add_turn = schema, add_turn
        self._allowed_cost: Decimal | None = None
        self._waits_out_rate_limits = waits_out_rate_limits
        self._deadline = asyncio.Timeout(None)
        self._requested_model = ""
        self._ticket: int | None = None
        self._reservations = contextlib.ExitStack()

    async def run(self, emit: ChunkHandler | None = None) -> Reply:
        """Make the call on its engine's loop, passing each chunk to ``emit``.

        Raises:
            GatewayError: If the call fails; ``partial`` holds the text received so far.
        """
        # Without reservations, concurrent calls could exceed a limit together. A reservation is
        # kept until the cost has been counted.
        with self._reservations:
            return await self._run(emit)

    async def _run(self, emit: ChunkHandler | None) -> Reply:
        try:
            # The deadline includes the wait for admission, unless the call waits out rate limits.
            async with asyncio.timeout(self.limits.timeout) as self._deadline:
                async with self._host.acquire(self.target) as instance:
                    with typed_errors(self.target):
                        parsed = await self._send_and_parse(instance.engine, emit)
        except TimeoutError:
            error = self.deadline_error()
            self._record_failure(error)
            raise error from None
        except (GatewayError, asyncio.CancelledError) as error:
            if isinstance(error, GatewayError) and not is_being_cancelled():
                self._record_failure(error)
                raise
            # Providers bill the tokens that they generated before the connection was closed.
            self._usage.add(self.partial, "interrupted")
            # asyncio would log the message of any other exception, because nobody retrieves it.
            raise asyncio.CancelledError from None
        self._usage.add(self.partial)
        partial = self.partial
        # A session limit sets this cap for every answer, so report it only if it was reached.
        if partial.token_cap == SESSION_REPLY_TOKENS and partial.finish_reason != "length":
            partial.token_cap = None
        reply = self.partial.reply(parsed=parsed)
        if self._add_turn:
            self._add_turn(reply)
        return reply

    async def preview(self) -> CallPreview:
        """Return what the call would send and its maximum cost, without sending it.

        Raises:
            GatewayError: If the engine cannot be created or rejects the request.
        """
        try:
            async with self._host.acquire(self.target) as instance:
                with typed_errors(self.target):
                    return await self._preview(instance.engine)
        except GatewayError as error:
            redact_exception(error, self.target.key)
            raise

    async def request_to_send(self, engine: LLMEngine) -> Request:
        """Return the request as the engine would send it, without sending it.

        Raises:
            GatewayError: If the engine does not support the request.
        """
        request = await self._prepare(engine)
        check_supported(engine, request)
        return request

    async def _preview(self, engine: LLMEngine) -> CallPreview:
        request = await self._prepare(engine, asks_for_model=False)
        check_supported(engine, request)
        spent = self._usage.spent
        day_budget = self._usage.day_budget
        await day_budget.refresh()
        allowance = await apply_cost_limits(
            engine, request, self.limits, lambda: spent, day_budget.lowest
        )
        return await preview(engine, allowance.request)

    async def _send_and_parse(self, engine: LLMEngine, emit: ChunkHandler | None) -> Any:  # noqa: ANN401 - the type depends on the schema
        """Send the request; return the parsed answer, or ``None`` if there is no schema."""
        self.partial.cost_per_token = price_per_token(engine)
        try:
            request = await self._prepare(engine)
            self.partial.model = self._requested_model = request.model
            await self._send_within_limits(engine, request, emit)
            # The schema does not apply to an answer that requests tool calls.
            schema = None if request.tools and self.partial.tool_calls else self._schema
            parsed = schema and await parse_or_correct(
                schema,
                request,
                self.partial,
                # Without `emit`, because the reader of a stream would see two answers in a row.
                (lambda correction: self._send_within_limits(engine, correction, None))
                if "history" in engine.features and takes(engine, "messages")
                else None,
            )
        except ModelNotFoundError as error:
            model_names = await self._list_models_if_possible(engine)
            suggestion = did_you_mean(self.partial.model, model_names)
            raise error.with_appended_text(suggestion) from error.__cause__
        self.partial.looked_up_cost = await self._cost_so_far(engine)
        return parsed

    async def _cost_so_far(self, engine: LLMEngine) -> Decimal | None:
        tokens = self.partial.billed_usage or self.partial.total_usage
        if tokens is None:
            return None
        # Prices change over time; a call is billed at the price at the time it was sent.
        sent_at = time.time() - (time.monotonic() - self.partial.started)
        reported_model, requested_model = self.partial.model, self._requested_model
        cost = await cost_of(engine, reported_model, tokens, sent_at)
        # Otherwise, a server that reports a model without a price would bypass every limit.
        if cost is None and requested_model not in ("", reported_model):
            cost = await cost_of(engine, requested_model, tokens, sent_at)
        return cost

    async def _send_within_limits(
        self, engine: LLMEngine, request: Request, emit: ChunkHandler | None
    ) -> None:
        """Send the request, with retries until the first chunk has arrived.

        Before the first attempt, the maximum cost is reserved, which fails if it could exceed a
        limit. A call that is waiting to be sent has no reservation, because it would block others.
        """
        is_reserved = False

        async def attempt() -> None:
            nonlocal request, is_reserved  # a retry must not send the dropped parameters again
            while True:
                self.partial.begin_attempt()
                with await self._admit(request) as permit:
                    if not is_reserved:
                        request = await self._reserve(engine, request)
                        is_reserved = True
                    try:
                        await self._receive(engine, request, emit)
                    except RejectedParameterError as error:
                        request = self._without_rejected_param(request, error)
                    else:
                        permit.usage = self.partial.usage
                        return

        def set_pending_retry(pending: PendingRetry | None) -> None:
            self.partial.pending_retry = pending

        await with_retries(
            functools.partial(self._retry_while_rate_limited, attempt)
            if self._waits_out_rate_limits
            else attempt,
            self.limits.retries,
            may_retry=lambda: not (self.partial.has_begun or self._has_been_refused_too_long),
            on_wait=set_pending_retry,
        )

    async def _reserve(self, engine: LLMEngine, request: Request) -> Request:
        """Reserve the maximum cost of a request; return it with an affordable ``max_tokens``.

        For a correction, the cost of the first answer counts too. The answer to a row of a map is
        not shortened, because the next run would use the stored answer, not repeat the row.

        Raises:
            BudgetError: If the request could exceed a limit.
        """
        reservations = self._reservations
        reservations.close()
        limits, cost_so_far = self.limits, await self._cost_so_far(engine)
        # The cost of an answer without usage is unknown, so the maximum is assumed.
        if cost_so_far is None:
            cost_so_far = self._allowed_cost
        if cost_so_far is not None:
            reservations.enter_context(self._usage.reserve(cost_so_far))
            if limits.max_call_cost is not None:
                remaining_cost = max(Decimal(0), limits.max_call_cost - cost_so_far)
                limits = replace(limits, max_call_cost=remaining_cost)
        usage, day_budget = self._usage, self._usage.day_budget
        await day_budget.refresh()
        allowance = await apply_cost_limits(
            engine, request, limits, lambda: usage.spent, day_budget.lowest
        )
        if self._waits_out_rate_limits and allowance.token_cap not in (None, SESSION_REPLY_TOKENS):
            raise BudgetError(
                "the answer could cost more than what is left of a cost limit; nothing was sent.",
                hint=Hint("set_option", option="max_tokens", value=500)
                | Hint("raise_option", option="max_cost"),
                engine=self.target.name,
                model=request.model,
            )
        self._allowed_cost = allowance.cost
        if allowance.cost:
            reservations.enter_context(self._usage.reserve(allowance.cost))
            # A call on another engine's loop may have reserved the rest of the budget since.
            if (limit := day_budget.lowest()) is not None and limit.left < 0:
                raise limit.error(limit.left + allowance.cost, allowance.cost)
        self.partial.token_cap = allowance.token_cap
        return allowance.request

    def _without_rejected_param(self, request: Request, error: RejectedParameterError) -> Request:
        """Return the request without the parameter that the provider rejected.

        Raises:
            RejectedParameterError: If the parameter must not be dropped.
        """
        token_cap = self.partial.token_cap
        if token_cap and (model_limit := model_token_limit(error, token_cap)):
            # The model's own limit is lower than what the cost limit allows.
            self.partial.token_cap = None
            return replace(request, max_tokens=model_limit)
        if token_cap and error.code == "max_tokens":
            raise error  # without the parameter, the call could exceed its cost limit
        if not request.drop_unsupported or error.code is None:
            raise error
        self.partial.dropped_parameters += (error.code,)
        return without_param(request, error.code)

    async def _retry_while_rate_limited(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Call ``attempt`` until the provider does not refuse it because of a rate limit."""
        while True:
            try:
                return await attempt()
            except RateLimitError as error:
                if (
                    self.partial.has_begun
                    or self._has_been_refused_too_long
                    or not is_transient(error)
                ):
                    raise
                self.partial.attempts -= 1
                now = asyncio.get_running_loop().time()
                self._deadline.reschedule(now + self.limits.timeout)

    @property
    def _has_been_refused_too_long(self) -> bool:
        timeout = self.limits.timeout
        return self._waits_out_rate_limits and self._host.governor.refused_for(timeout)

    async def _admit(self, request: Request) -> Permit:
        """Wait until the engine's governor permits sending the request."""
        governor = self._host.governor
        governor.configure(self.target.rates, self.limits.concurrency)
        if self._ticket is None:
            self._ticket = governor.ticket()
        prompt_tokens = estimate_request_tokens(request) if governor.counts_tokens else 0
        max_output_tokens = request.max_tokens or 0
        permit = governor.try_admit(prompt_tokens, max_output_tokens)
        if permit is None and self._waits_out_rate_limits:
            loop, deadline = asyncio.get_running_loop(), self._deadline.when()
            seconds_left = math.inf if deadline is None else deadline - loop.time()
            self._deadline.reschedule(None)
            permit = await governor.admit(
                self._ticket, prompt_tokens, max_output_tokens, self.limits.timeout
            )
            self._deadline.reschedule(loop.time() + seconds_left)
        elif permit is None:
            permit = await governor.admit(self._ticket, prompt_tokens, max_output_tokens)
        if self._waits_out_rate_limits and self.partial.attempts <= 1:
            # A row may have waited in line for minutes, which is not the provider's latency.
            self.partial.started = time.monotonic()
        self.partial.on_rate_limits = functools.partial(governor.note_limits, permit)
        return permit

    async def _prepare(self, engine: LLMEngine, *, asks_for_model: bool = True) -> Request:
        """Return the request as the engine accepts it; see `request_preparation`."""
        name, registry = self.target.name, self._host.registry
        request = with_sendable_messages(self._request, name)
        check_features(request, engine, name, registry, is_chat=self._add_turn is not None)
        request = await with_model(request, engine, asks_for_model=asks_for_model)
        return with_schema(request, self._schema, engine)

    async def _receive(
        self, engine: LLMEngine, request: Request, emit: ChunkHandler | None
    ) -> None:
        check_supported(engine, request)
        cleaner, checker = AnswerCleaner(), ChunkChecker(engine.name, self.target.key)
        partial = self.partial
        partial.mask = checker.mask_answer  # set now, because the call may be stopped at any time
        try:
            async with closing(engine.stream(request)) as chunks:
                async for chunk in chunks:
                    checked_chunk = checker.check(chunk)
                    if checked_chunk is None:
                        async for part in checker.check_large(chunk):
                            cleaned = checker.check_cleaned(part, cleaner.feed(part))
                            await self._add_all(cleaned, cleaner, emit)
                    # Nearly all chunks take this branch.
                    elif cleaner.is_plain(checked_chunk) and not checker.was_cleaned:
                        partial.add(checked_chunk)
                        if emit is not None:
                            await emit(checked_chunk)
                    else:
                        cleaned = checker.check_cleaned(checked_chunk, cleaner.feed(checked_chunk))
                        await self._add_all(cleaned, cleaner, emit)
                    if checker.characters_until_pause < 0:
                        await checker.check_length_and_yield()
            await self._add_all(checker.check_cleaned(None, cleaner.close()), cleaner, emit)
        finally:
            await checker.mask(partial)

    async def _add_all(
        self, chunks: Iterable[Chunk], cleaner: AnswerCleaner, emit: ChunkHandler | None
    ) -> None:
        for chunk in chunks:
            if cleaner.opening_tag_is_missing:
                cleaner.opening_tag_is_missing = False
                self.partial.treat_text_as_reasoning()
            self.partial.add(chunk)
            if emit is not None:
                await emit(chunk)

    async def _list_models_if_possible(self, engine: LLMEngine) -> list[str]:
        """Return the names of the provider's models, or an empty list if the query fails."""
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(_LISTING_TIMEOUT):
                with typed_errors(self.target):
                    return [model.model for model in await list_models(engine)]
        return []

    def closed_error(self) -> TransportError:
        """Return the error to raise if the pool is closed during the call."""
        return TransportError(
            f"the pool was closed during a call to {self.target.name!r}.",
            hint=Hint("run_again"),
            engine=self.target.name,
            code="closed",
        )

    def deadline_error(self) -> DeadlineError:
        """Return the error to raise if the call exceeds its deadline."""
        seconds = self.limits.timeout
        return DeadlineError(
            f"{self.target.name!r} took longer than {seconds:g} s.",
            hint=Hint("set_option", option="timeout", value=2 * seconds)
            | "Set [limits] timeout in config/gatewayx.toml. If your user folder also sets it, the"
            " lower limit applies.",
        )

    def _record_failure(self, error: GatewayError) -> None:
        """Add the engine and model to the error, redact it, and add the call to the totals."""
        redact_exception(error, self.target.key)
        error.engine = error.engine or self.target.name
        error.model = error.model or self.partial.model or None
        self._usage.add(self.partial, type(error).__name__, error.message)
        if isinstance(error, RequestError):
            error.partial = "".join(self.partial.text)
