"""One call: sent, sent again where that can help, watched by its deadline, and added up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.engine_pool import structured
from gatewayx_nb.engine_pool.budget import afford, price
from gatewayx_nb.engine_pool.pace import weigh
from gatewayx_nb.engine_pool.preview import Preview, preview
from gatewayx_nb.engine_pool.scrubbing import scrub, unless_telling
from gatewayx_nb.engine_pool.tally import Waiting
from gatewayx_nb.errors import (
    DeadlineError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    RequestError,
    TransportError,
    TruncatedError,
    UnsupportedFeatureError,
    nearest,
)
from gatewayx_nb.llm_engines import RejectedParameterError, without
from gatewayx_nb.retries import wait_before_retry
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayx_nb.chats import Slot
    from gatewayx_nb.engine_pool.figures import Figures
    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.engine_pool.tally import Tally
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import Chunk, Reply, Request
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.portal import Portal
    from gatewayx_nb.schema import Shape
    from gatewayx_nb.secure_config import Limits

    Emit = Callable[[Chunk], Awaitable[None]]


_GRACE = 1.0
"""Seconds past a deadline after which a caller no longer waits for a loop that is blocked."""

_LISTING = 5.0
"""Seconds for a provider to list its models, before an error goes out without a suggestion."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of which engine, and how far it may go.

    Attributes:
        host: Where the engine runs.
        target: The engine.
        request: What is asked; its model is empty for the engine's own.
        limits: Timeout, concurrency and retries.
        tally: What has arrived.
        figures: The sums that it is added to when it has ended.
        shape: What the answer must look like, where a schema was asked for.
        slot: Its place in a conversation.
    """

    host: EngineHost
    target: Target
    request: Request
    limits: Limits
    tally: Tally
    figures: Figures
    shape: Shape | None = None
    slot: Slot | None = None

    @property
    def portal(self) -> Portal:
        """The loop on which it is run: its engine's."""
        return self.host.portal

    @property
    def patience(self) -> float:
        """Seconds that a caller waits: the deadline, and a little for the engine to keep to it."""
        return self.limits.timeout + _GRACE

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call on its engine's loop, handing each chunk to ``emit``.

        Raises:
            GatewayError: It failed; ``partial`` holds what had arrived.
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
            error = self.too_late()
            self._label(error)
            raise error from None
        except GatewayError as error:
            self._label(error)
            raise
        except asyncio.CancelledError:
            self.figures.add(self.tally, "interrupted")
            raise
        self.figures.add(self.tally)
        reply = self.tally.reply(parsed=parsed)
        if self.slot:
            self.slot.keep(self.request.messages[-1], reply)
        return reply

    async def preview(self) -> Preview:
        """Tell what would be sent, and what it may cost; nothing is sent.

        Raises:
            GatewayError: The engine cannot be made, or does not take the request.
        """
        try:
            async with self.host.borrow(self.target, self.limits.concurrency) as running:
                request = await self._request(running.engine)
                return await preview(running.engine, request)
        except GatewayError as error:
            scrub(error, self.target.key)
            raise

    async def _answer(self, engine: LLMEngine, emit: Emit | None) -> Any:  # noqa: ANN401 - parsed
        """Ask, and where a schema was asked for read the answer; mend it in one further turn."""
        request = await self._request(engine)
        cost = await afford(engine, request, self.limits, lambda: self.figures.spent)
        with self.figures.hold(cost):
            return await self._answered(engine, request, emit)

    async def _answered(self, engine: LLMEngine, request: Request, emit: Emit | None) -> Any:  # noqa: ANN401 - parsed
        await self._attempts(engine, request, emit)
        if self.shape is None:
            return None
        text = "".join(self.tally.text)
        try:
            return self.shape.read(text)
        except ValueError as fault:
            if self.tally.finish_reason == "length":
                raise self._cut() from None
            request = structured.corrected(request, text, fault)
        self.tally.again()
        await self._attempts(engine, request, None)
        return self._read_again()

    def _read_again(self) -> Any:  # noqa: ANN401 - of the type that was asked for
        assert self.shape is not None  # noqa: S101 - only then is an answer mended
        try:
            return self.shape.read("".join(self.tally.text))
        except ValueError as fault:
            raise ProviderError(
                f"the answer of {self.target.name!r} does not fit the schema, twice: {fault}.",
                mend="Run the cell again, or ask another model.",
            ) from None

    async def _attempts(self, engine: LLMEngine, request: Request, emit: Emit | None) -> None:
        """Send until it is answered; once something has arrived, nothing is sent again."""
        sent = 0
        while True:
            sent += 1
            self.tally.attempts += 1
            await self.host.turn(self.target.rates, weigh(request))
            try:
                await self._once(engine, request, emit)
            except RejectedParameterError as error:
                if not request.drop_unsupported or error.code is None:
                    raise
                request = without(request, error.code)
                self.tally.dropped += (error.code,)
                continue
            except GatewayError as error:
                pause = self._pause(error, sent)
                if pause is None:
                    raise
                self.tally.waiting = Waiting(error, time.monotonic() + pause)
            else:
                return
            await asyncio.sleep(pause)
            self.tally.waiting = None

    async def _once(self, engine: LLMEngine, request: Request, emit: Emit | None) -> None:
        add = self.tally.add
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
            raise self._wrapped(error) from None  # the engine's own: nobody cancelled the call
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - it is another's
            raise self._wrapped(error) from unless_telling(error, self.target.key)

    def _pause(self, error: GatewayError, sent: int) -> float | None:
        """Give the seconds to wait before sending again, or ``None`` not to."""
        if self.tally.begun or sent > self.limits.retries:
            return None
        return wait_before_retry(sent, error, random.random)

    async def _request(self, engine: LLMEngine) -> Request:
        """Give the request as the engine takes it, with its own model where none is named."""
        if self.request.images and "images" not in engine.features:
            raise UnsupportedFeatureError(
                f"engine {self.target.name!r} takes no images.",
                mend="Leave them out, or ask an engine that does: `%gatewayx status`.",
            )
        if len(self.request.messages) > 1 and "history" not in engine.features:
            raise UnsupportedFeatureError(
                f"engine {self.target.name!r} takes no conversation.",
                mend="Ask without `--chat`, or ask an engine that does: `%gatewayx status`.",
            )
        self.tally.cost_per_token = engine.get_cost_per_token()
        named = self.request.model or engine.model_name
        self.tally.model = named or await self._first_model(engine)
        request = self.request
        if request.model != self.tally.model:
            request = replace(request, model=self.tally.model)
        shape = self.shape
        if shape is None or shape.schema is None:
            return request
        if "schema" in engine.features and not shape.is_loose:
            return request
        return structured.spelt_out(request, shape.asked)

    async def _first_model(self, engine: LLMEngine) -> str:
        """Give the first model of a server that serves what it was started with."""
        listed = await engine.models()
        return listed[0].model if listed else ""

    async def _suggest(self, engine: LLMEngine, error: ModelNotFoundError) -> None:
        """Add the nearest model of the provider's own list, if it gives one in time."""
        with contextlib.suppress(GatewayError, TimeoutError):
            async with asyncio.timeout(_LISTING):
                known = [model.model for model in await engine.models()]
            error.what += nearest(self.tally.model, known)

    async def _price(self, engine: LLMEngine) -> None:
        """Look up what the tokens cost."""
        tokens = self.tally.billed or self.tally.total
        if tokens is not None:
            asked = time.time() - (time.monotonic() - self.tally.started)
            self.tally.price = await price(engine, self.tally.model, tokens, asked)

    def _cut(self) -> TruncatedError:
        return TruncatedError(
            "the answer was cut at `max_tokens` before its JSON ended.",
            mend="Ask with a larger `max_tokens` (`-n`).",
        )

    def _wrapped(self, error: BaseException) -> ProviderError:
        """Make a typed error of whatever an engine raised."""
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return ProviderError(
            f"engine {self.target.name!r} raised {redact(said, [self.target.key])}.",
            mend=f"Mend {self.target.place}; the next call loads it again.",
        )

    def closed(self) -> TransportError:
        """Make the error of a call whose pool was closed."""
        return TransportError(
            f"the pool was closed while {self.target.name!r} was asked.",
            mend="Ask again: the next call starts anew.",
            engine=self.target.name,
            code="closed",
        )

    def too_late(self) -> DeadlineError:
        """Make the error of a call that took too long."""
        seconds = self.limits.timeout
        return DeadlineError(
            f"{self.target.name!r} took longer than {seconds:g} s.",
            mend=f"Allow more: `timeout={2 * seconds:g}`, or [limits] timeout in the settings.",
        )

    def _label(self, error: GatewayError) -> None:
        """Fill in what the error does not know, and take the key out of what it says."""
        scrub(error, self.target.key)
        error.engine = error.engine or self.target.name
        error.model = error.model or self.tally.model or None
        self.figures.add(self.tally, type(error).__name__, error.what)
        if isinstance(error, RequestError):
            error.partial = "".join(self.tally.text)
