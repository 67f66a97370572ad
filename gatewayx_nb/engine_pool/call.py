"""One call: retries, deadline and usage accounting."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import PendingRetry, wait_before_retry
from gatewayx_nb.engine_pool import structured
from gatewayx_nb.engine_pool.budget import check_budget, price
from gatewayx_nb.engine_pool.engine_errors import cause_without_key, redact_exception
from gatewayx_nb.engine_pool.preview import CallPreview, preview
from gatewayx_nb.engine_pool.rate_limit import estimate_request_tokens
from gatewayx_nb.errors import (
    DeadlineError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    RequestError,
    TransportError,
    TruncatedError,
    UnsupportedFeatureError,
    did_you_mean,
)
from gatewayx_nb.llm_engines import RejectedParameterError, without_param
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayx_nb.calls import PartialReply
    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.conversations import ChatSlot
    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Request
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.replies import Chunk, Reply
    from gatewayx_nb.schema import ResponseSchema
    from gatewayx_nb.secure_config import Limits

    Emit = Callable[[Chunk], Awaitable[None]]


_GRACE = 1.0
"""Seconds after a deadline until a caller stops waiting for a blocked loop."""

_LISTING = 5.0
"""Seconds to wait for a provider's model list, which suggests a model in an error."""


@dataclass(frozen=True, slots=True)
class EngineCall:
    """A prompt for one engine, with the limits of the call.

    Attributes:
        host: Runs the engine.
        target: The engine.
        request: The request; its model is empty for the engine's default.
        limits: Timeout, concurrency and retries.
        tally: The partial answer.
        figures: The totals to which the finished call is added.
        shape: How the reply is parsed, if a schema was requested.
        slot: Its position in a conversation.
    """

    host: EngineHost
    target: Target
    request: Request
    limits: Limits
    partial: PartialReply
    figures: UsageTracker
    shape: ResponseSchema | None = None
    slot: ChatSlot | None = None

    @property
    def portal(self) -> Portal:
        """The engine's event loop, on which the call runs."""
        return self.host.portal

    @property
    def timeout(self) -> float:
        """Seconds that a caller waits: the timeout plus a grace period."""
        return self.limits.timeout + _GRACE

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call on its engine's loop, passing each chunk to ``emit``.

        Raises:
            GatewayError: If the call fails; ``partial`` holds the text received so far.
        """
        try:
            async with asyncio.timeout(self.limits.timeout):
                async with self.host.use(self.target, self.limits.concurrency) as engine:
                    try:
                        parsed = await self._answer(engine, emit)
                    except ModelNotFoundError as unknown:
                        await self._suggest(engine, unknown)
                        raise
                    await self._price(engine)
        except TimeoutError:
            error = self.deadline_error()
            self._label(error)
            raise error from None
        except GatewayError as error:
            self._label(error)
            raise
        except asyncio.CancelledError:
            self.figures.add(self.partial, "interrupted")
            raise
        self.figures.add(self.partial)
        reply = self.partial.reply(parsed=parsed)
        if self.slot:
            self.slot.keep(self.request.messages[-1], reply)
        return reply

    async def preview(self) -> CallPreview:
        """Return what would be sent and its maximum cost, without sending anything.

        Raises:
            GatewayError: If the engine cannot be created or rejects the request.
        """
        try:
            async with self.host.acquire(self.target, self.limits.concurrency) as running:
                request = await self._request(running.engine)
                return await preview(running.engine, request)
        except GatewayError as error:
            redact_exception(error, self.target.key)
            raise

    async def _answer(self, engine: LLMEngine, emit: Emit | None) -> Any:  # noqa: ANN401 - parsed
        """Call the model and parse the reply if a schema is set; correct it in one more turn."""
        request = await self._request(engine)
        cost = await check_budget(engine, request, self.limits, lambda: self.figures.spent)
        with self.figures.hold(cost):
            return await self._answered(engine, request, emit)

    async def _answered(self, engine: LLMEngine, request: Request, emit: Emit | None) -> Any:  # noqa: ANN401 - parsed
        await self._attempts(engine, request, emit)
        if self.shape is None:
            return None
        text = "".join(self.partial.text)
        try:
            return self.shape.parse(text)
        except ValueError as fault:
            if self.partial.finish_reason == "length":
                raise self._cut() from None
            request = structured.with_correction(request, text, fault)
        self.partial.reset_for_correction()
        await self._attempts(engine, request, None)
        return self._read_again()

    def _read_again(self) -> Any:  # noqa: ANN401 - depends on the schema
        assert self.shape is not None  # noqa: S101 - only parsed replies are corrected
        try:
            return self.shape.parse("".join(self.partial.text))
        except ValueError as fault:
            raise ProviderError(
                f"the answer of {self.target.name!r} does not fit the schema, twice: {fault}.",
                hint="Run the cell again, or ask another model.",
            ) from None

    async def _attempts(self, engine: LLMEngine, request: Request, emit: Emit | None) -> None:
        """Send the request with retries; there are none once any chunk has arrived."""
        sent = 0
        while True:
            sent += 1
            self.partial.attempts += 1
            await self.host.wait_for_rate(self.target.rates, estimate_request_tokens(request))
            try:
                await self._once(engine, request, emit)
            except RejectedParameterError as error:
                if not request.drop_unsupported or error.code is None:
                    raise
                request = without_param(request, error.code)
                self.partial.dropped += (error.code,)
                continue
            except GatewayError as error:
                pause = self._pause(error, sent)
                if pause is None:
                    raise
                self.partial.pending_retry = PendingRetry(error, time.monotonic() + pause)
            else:
                return
            await asyncio.sleep(pause)
            self.partial.pending_retry = None

    async def _once(self, engine: LLMEngine, request: Request, emit: Emit | None) -> None:
        add = self.partial.add
        try:
            async for chunk in engine.stream(request):
                add(chunk)
                if emit is not None:
                    await emit(chunk)
        except GatewayError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._wrapped(error) from None  # raised by the engine: nobody cancelled the call
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - external code
            raise self._wrapped(error) from cause_without_key(error, self.target.key)

    def _pause(self, error: GatewayError, sent: int) -> float | None:
        """Return the seconds to wait before the next retry, or ``None`` not to retry."""
        if self.partial.has_begun or sent > self.limits.retries:
            return None
        return wait_before_retry(sent, error, random.random)

    async def _request(self, engine: LLMEngine) -> Request:
        """Return the request for the engine, with the engine's default model if none is set."""
        if self.request.images and "images" not in engine.features:
            raise UnsupportedFeatureError(
                f"engine {self.target.name!r} takes no images.",
                hint="Leave them out, or ask an engine that does: `%gatewayx status`.",
            )
        if len(self.request.messages) > 1 and "history" not in engine.features:
            raise UnsupportedFeatureError(
                f"engine {self.target.name!r} takes no conversation.",
                hint="Ask without `--chat`, or ask an engine that does: `%gatewayx status`.",
            )
        self.partial.cost_per_token = engine.get_cost_per_token()
        named = self.request.model or engine.model_name
        self.partial.model = named or await self._first_model(engine)
        request = self.request
        if request.model != self.partial.model:
            request = replace(request, model=self.partial.model)
        shape = self.shape
        if shape is None or shape.schema is None:
            return request
        if "schema" in engine.features and not shape.is_loose:
            return request
        return structured.with_schema_instructions(request, shape.instructions)

    async def _first_model(self, engine: LLMEngine) -> str:
        """Return the first model of a server that serves the models it was started with."""
        listed = await engine.models()
        return listed[0].model if listed else ""

    async def _suggest(self, engine: LLMEngine, error: ModelNotFoundError) -> None:
        """Add the nearest model in the provider's list to the error, if it arrives in time."""
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(_LISTING):
                known = [model.model for model in await engine.models()]
            error.message += did_you_mean(self.partial.model, known)

    async def _price(self, engine: LLMEngine) -> None:
        """Look up the cost of the tokens."""
        tokens = self.partial.billed or self.partial.total_usage
        if tokens is not None:
            asked = time.time() - (time.monotonic() - self.partial.started)
            self.partial.price = await price(engine, self.partial.model, tokens, asked)

    def _cut(self) -> TruncatedError:
        return TruncatedError(
            "the answer was cut at `max_tokens` before its JSON ended.",
            hint="Ask with a larger `max_tokens` (`-n`).",
        )

    def _wrapped(self, error: BaseException) -> ProviderError:
        """Return a typed error for any exception raised by an engine."""
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return ProviderError(
            f"engine {self.target.name!r} raised {redact(said, [self.target.key])}.",
            hint=f"Mend {self.target.place}; the next call loads it again.",
        )

    def closed_error(self) -> TransportError:
        """Return the error for a call whose pool was closed."""
        return TransportError(
            f"the pool was closed while {self.target.name!r} was asked.",
            hint="Ask again: the next call starts anew.",
            engine=self.target.name,
            code="closed",
        )

    def deadline_error(self) -> DeadlineError:
        """Return the error for a call that timed out."""
        seconds = self.limits.timeout
        return DeadlineError(
            f"{self.target.name!r} took longer than {seconds:g} s.",
            hint=f"Allow more: `timeout={2 * seconds:g}`, or [limits] timeout in the settings.",
        )

    def _label(self, error: GatewayError) -> None:
        """Fill in missing fields of the error and remove the key from its message."""
        redact_exception(error, self.target.key)
        error.engine = error.engine or self.target.name
        error.model = error.model or self.partial.model or None
        self.figures.add(self.partial, type(error).__name__, error.message)
        if isinstance(error, RequestError):
            error.partial = "".join(self.partial.text)
