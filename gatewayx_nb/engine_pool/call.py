"""One call: sent, sent again where that can help, watched by its deadline, and added up."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import (
    DeadlineError,
    GatewayError,
    ProviderError,
    RequestError,
    TruncatedError,
    UnsupportedFeatureError,
)
from gatewayx_nb.messages import Chunk, FinishReason, Reply, Request, Usage
from gatewayx_nb.retries import wait_before_retry
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.secure_config import Limits

    Emit = Callable[[Chunk], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a call waits before it is sent again, and until when on the monotonic clock."""

    error: GatewayError
    until: float


@dataclass(slots=True)
class Tally:
    """What has arrived of an answer so far.

    Written on the engine's loop and read from anywhere: each field is set whole.
    """

    engine: str
    model: str
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    request_id: str | None = None
    attempts: int = 0
    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    waiting: Waiting | None = None
    cost_per_token: float | None = None

    def add(self, chunk: Chunk) -> None:
        """Add a chunk; of usage and model the last word holds."""
        if chunk.text or chunk.reasoning:
            if self.first is None:
                self.first = time.monotonic()
            self.text.append(chunk.text)
            self.reasoning.append(chunk.reasoning)
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.usage = chunk.usage or self.usage
        self.model = chunk.model or self.model
        self.request_id = chunk.request_id or self.request_id

    @property
    def begun(self) -> bool:
        """Whether some of the answer has arrived, so that it must not be asked for again."""
        return self.first is not None

    def reply(self, *, interrupted: bool = False, parsed: Any = None) -> Reply:  # noqa: ANN401
        """Give what has arrived as a reply."""
        return Reply(
            text="".join(self.text),
            engine=self.engine,
            model=self.model,
            reasoning="".join(self.reasoning),
            finish_reason=self.finish_reason or ("other" if interrupted else "stop"),
            usage=self.usage or Usage(),
            cost=self._cost(),
            latency=time.monotonic() - self.started,
            time_to_first=None if self.first is None else self.first - self.started,
            attempts=self.attempts,
            interrupted=interrupted,
            parsed=parsed,
            request_id=self.request_id,
        )

    def _cost(self) -> Decimal | None:
        usage = self.usage
        if self.cost_per_token is None or usage is None:
            return None
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        return Decimal(str(self.cost_per_token)) * (usage.input_tokens + usage.output_tokens)


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked of which engine, and how far it may go.

    Attributes:
        host: Where the engine runs.
        target: The engine.
        request: What is asked; its model is empty for the engine's own.
        limits: Timeout, concurrency and retries.
        tally: What has arrived.
    """

    host: EngineHost
    target: Target
    request: Request
    limits: Limits
    tally: Tally

    async def run(self, emit: Emit | None = None) -> Reply:
        """Make the call on its engine's loop, handing each chunk to ``emit``.

        Raises:
            GatewayError: It failed; ``partial`` holds what had arrived.
        """
        try:
            async with asyncio.timeout(self.limits.timeout):
                async with self.host.use(self.target, self.limits.concurrency) as engine:
                    await self._attempts(engine, emit)
            return self.tally.reply(parsed=self._parsed())
        except TimeoutError:
            error = self._too_late()
            self._label(error)
            raise error from None
        except GatewayError as error:
            self._label(error)
            raise

    async def _attempts(self, engine: LLMEngine, emit: Emit | None) -> None:
        """Send until it is answered; once something has arrived, nothing is sent again."""
        request = self._request(engine)
        while True:
            self.tally.attempts += 1
            try:
                await self._once(engine, request, emit)
            except GatewayError as error:
                pause = self._pause(error)
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
        except Exception as error:  # an engine of the user's may raise anything
            raise self._wrapped(error) from error

    def _pause(self, error: GatewayError) -> float | None:
        """Give the seconds to wait before sending again, or ``None`` not to."""
        if self.tally.begun or self.tally.attempts > self.limits.retries:
            return None
        return wait_before_retry(self.tally.attempts, error, random.random)

    def _request(self, engine: LLMEngine) -> Request:
        """Give the request with the engine's own model filled in."""
        if self.request.schema is not None and "schema" not in engine.features:
            raise UnsupportedFeatureError(
                f"engine {self.target.name!r} cannot hold an answer to a schema.",
                mend="Leave the schema out, or ask an engine that can: `%gatewayx status`.",
            )
        self.tally.cost_per_token = engine.get_cost_per_token()
        model = self.request.model or engine.model_name
        self.tally.model = model
        return replace(self.request, model=model)

    def _parsed(self) -> Any:  # noqa: ANN401 - JSON
        """Read the answer as JSON where a schema was asked for."""
        if self.request.schema is None:
            return None
        text = "".join(self.tally.text)
        try:
            return json.loads(text)
        except ValueError:
            if self.tally.finish_reason == "length":
                raise TruncatedError(
                    "the answer was cut at `max_tokens` before its JSON ended.",
                    mend="Ask with a larger `max_tokens` (`-n`).",
                ) from None
            raise ProviderError(
                f"the answer of {self.target.name!r} is not the JSON that the schema asks for.",
                mend="Run the cell again, or ask another model.",
            ) from None

    def _wrapped(self, error: Exception) -> ProviderError:
        """Make a typed error of whatever an engine raised."""
        said = " ".join(f"{type(error).__name__}: {error}".split())
        where = self.target.file.path if self.target.file else self.target.name
        return ProviderError(
            f"engine {self.target.name!r} raised {redact(said, [self.target.key])}.",
            mend=f"Mend {where}; the next call loads it again.",
        )

    def _too_late(self) -> DeadlineError:
        seconds = self.limits.timeout
        return DeadlineError(
            f"{self.target.name!r} took longer than {seconds:g} s.",
            mend=f"Allow more: `timeout={2 * seconds:g}`, or [limits] timeout in the settings.",
        )

    def _label(self, error: GatewayError) -> None:
        """Fill in what the error does not know: engine, model and what had arrived."""
        error.engine = error.engine or self.target.name
        error.model = error.model or self.tally.model or None
        if isinstance(error, RequestError):
            error.partial = "".join(self.tally.text)
