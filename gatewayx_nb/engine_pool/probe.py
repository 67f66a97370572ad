"""Queries engines: whether they work, and which models they offer."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.engine_pool.chunk_check import mask_key
from gatewayx_nb.engine_pool.exception_redaction import redact_exception
from gatewayx_nb.engine_pool.host import typed_errors
from gatewayx_nb.errors import ConfigError, DeadlineError, GatewayError, ProviderError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.text import short_repr
from gatewayx_nb.transport import parse_base_url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Target

T = TypeVar("T")

_MAX_MODELS = 10_000
"""Maximum number of models to list for one engine."""

_CONNECT_TIMEOUT = 0.3
"""Seconds for a server on this machine to accept a connection."""

_GRACE_PERIOD = 0.5
"""Seconds to wait past the deadline, in case an engine blocks its loop."""


@dataclass(frozen=True, slots=True)
class Prober:
    """Queries engines concurrently, each on its own loop and with its own deadline.

    Attributes:
        runtime: Runs the engines.
        timeout: Maximum seconds for each engine to answer.
    """

    runtime: Runtime
    timeout: float

    async def probe_all(
        self, targets: Iterable[Target], query: Callable[[LLMEngine], Awaitable[T]]
    ) -> dict[str, T | GatewayError]:
        """Return each engine's answer or error, by name; a slow engine does not delay others."""
        targets = list(targets)
        answers = await asyncio.gather(
            *(self._probe_with_timeout(target, query) for target in targets)
        )
        return {target.name: answer for target, answer in zip(targets, answers, strict=True)}

    async def _probe_with_timeout(
        self, target: Target, query: Callable[[LLMEngine], Awaitable[T]]
    ) -> T | GatewayError:
        """Query an engine with a timeout on this loop, because the engine may block its own."""
        portal = self.runtime.host(target).portal
        answer = asyncio.wrap_future(portal.submit(self._probe(target, query)))
        try:
            await asyncio.wait([answer], timeout=self.timeout + _GRACE_PERIOD)
            return answer.result() if answer.done() else self._deadline_error(target)
        finally:
            # Cancelling also ends the query on the engine's own loop.
            answer.cancel()

    async def _probe(
        self, target: Target, query: Callable[[LLMEngine], Awaitable[T]]
    ) -> T | GatewayError:
        """Query the engine on its loop and return its answer or a typed error."""
        try:
            async with asyncio.timeout(self.timeout):
                host = self.runtime.host(target)
                async with host.acquire(target) as instance:
                    with typed_errors(target):
                        return await query(instance.engine)
        except GatewayError as error:
            redact_exception(error, target.key)
            return error
        except TimeoutError:
            return self._deadline_error(target)

    def _deadline_error(self, target: Target) -> DeadlineError:
        return DeadlineError(
            f"{target.name!r} did not answer within {self.timeout:g} s.",
            hint=Hint("run_again"),
            engine=target.name,
        )


async def is_healthy(engine: LLMEngine) -> bool:
    """Return whether an engine's health check passes; the check may be a plain ``def``."""
    answer: object = engine.health_check()
    return bool(await answer if inspect.isawaitable(answer) else answer)


async def list_models(engine: LLMEngine) -> list[ModelInfo]:
    """Return an engine's models, with the key masked in case the provider repeats it.

    Raises:
        ProviderError: If the engine does not return a list of models.
    """
    answer: object = engine.models()
    models: Any = await answer if inspect.isawaitable(answer) else answer
    if type(models) in (list, tuple) and all(map(_is_model, islice(models, _MAX_MODELS))):
        key = getattr(engine, "api_key", "")
        return [mask_key(_plain_model(model), key) for model in islice(models, _MAX_MODELS)]
    raise ProviderError(
        f"`models` in engine {engine.name!r} must return a list of ModelInfo,"
        f" got {short_repr(models, 40)}.",
        hint="Fix it in the engine's file, which is reloaded on the next call.",
    )


def _is_model(value: Any) -> bool:  # noqa: ANN401 - whatever the engine returns
    """Return whether a value is a `ModelInfo` whose fields have the declared types."""
    return (
        type(value) is ModelInfo
        and isinstance(value.engine, str)
        and isinstance(value.model, str | None)  # an engine may have set its `model_name` to None
        and type(value.default) is bool
        and type(value.size) in (int, type(None))
    )


def _plain_model(info: ModelInfo) -> ModelInfo:
    """Return a copy with plain strings; a subclass of str may raise anything when it is read."""
    engine, model = (str.__str__(name or "") for name in (info.engine, info.model))
    return ModelInfo(engine, model, info.default, info.size)


async def listening_servers(servers: Mapping[str, str]) -> list[str]:
    """Return the names of the servers that accept connections."""
    are_listening = await asyncio.gather(*map(_is_listening, servers.values()))
    return [name for name, is_listening in zip(servers, are_listening, strict=True) if is_listening]


async def _is_listening(address: str) -> bool:
    # A host may be an invalid domain name, which is a `ValueError`.
    with contextlib.suppress(ConfigError, OSError, TimeoutError, ValueError):
        url_parts = parse_base_url(address, "")
        port = url_parts.port or (443 if url_parts.scheme == "https" else 80)
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(url_parts.hostname, port)
        # Closing is not awaited, because nothing was written.
        writer.close()
        return True
    return False
