"""Embeddings: concurrent batches, returned in the order of the texts."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import wait_before_retry
from gatewayx_nb.engine_pool.engine_errors import redact_exception
from gatewayx_nb.engine_pool.rate_limit import estimate_tokens
from gatewayx_nb.errors import ConfigError, DeadlineError, GatewayError, ProviderError, UsageError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import ModuleType

    import numpy as np
    import numpy.typing as npt

    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.secure_config import Limits

    Vectors = npt.NDArray[np.float32]
    Batch = list[list[float]]

_AT_ONCE = 8
"""Maximum number of concurrent batches; providers limit tokens per minute long before requests."""


def checked(texts: Iterable[str]) -> list[str]:
    """Return the texts as a list.

    Raises:
        UsageError: If one is not a string, or is empty, which providers reject.
    """
    listed = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(listed):
        if not isinstance(text, str) or not text:
            raise UsageError(
                f"text {number} is {text!r}; expected a text that is not empty.",
                hint="Leave it out of the texts.",
            )
    return listed


async def embed(host: EngineHost, target: Target, limits: Limits, texts: list[str]) -> Vectors:
    """Return a float32 array of shape (texts, dimensions).

    Raises:
        GatewayError: If a batch fails after its retries.
    """
    try:
        async with asyncio.timeout(limits.timeout):
            async with host.use(target, limits.concurrency) as engine:
                job = _Job(host, target, engine, limits.retries, asyncio.Semaphore(_AT_ONCE))
                size = engine.embedding_batch
                batches = [texts[start : start + size] for start in range(0, len(texts), size)]
                answers = await _gathered([job.embed(batch) for batch in batches])
                vectors = [vector for batch in answers for vector in batch]
    except GatewayError as error:
        redact_exception(error, target.key)
        raise
    except TimeoutError:
        raise DeadlineError(
            f"{target.name!r} took longer than {limits.timeout:g} s.",
            hint="Embed fewer texts at once, or allow more: [limits] timeout in the settings.",
        ) from None
    return _array(vectors, target.name)


@dataclass(frozen=True, slots=True)
class _Job:
    """State shared by all batches of a call."""

    host: EngineHost
    target: Target
    engine: LLMEngine
    retries: int
    gate: asyncio.Semaphore

    async def embed(self, texts: list[str]) -> Batch:
        """Embed one batch, with retries."""
        model = self.target.model or self.engine.embedding_model
        attempt = 0
        async with self.gate:
            while True:
                attempt += 1
                await self.host.wait_for_rate(self.target.rates, estimate_tokens(texts))
                try:
                    return _complete(await self.engine.embed(texts, model), texts, self.engine.name)
                except GatewayError as error:
                    pause = wait_before_retry(attempt, error, random.random)
                    if pause is None or attempt > self.retries:
                        raise
                await asyncio.sleep(pause)


async def _gathered(work: list[Coroutine[Any, Any, Batch]]) -> list[Batch]:
    """Await all batches; the first failure cancels the others, to save their cost."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _complete(vectors: Batch, texts: list[str], engine: str) -> Batch:
    if len(vectors) != len(texts):
        raise ProviderError(
            f"{engine!r} gave {len(vectors)} vectors for {len(texts)} texts.",
            hint="Run the cell again.",
        )
    return vectors


def numpy() -> ModuleType:
    """Return the numpy module.

    Raises:
        ConfigError: If numpy is not installed.
    """
    try:
        import numpy as np
    except ImportError:
        raise ConfigError(
            "embeddings are numpy arrays, and numpy is not installed.",
            hint='`pip install "gatewayx-nb[data]"`',
        ) from None
    return np


def _array(vectors: list[list[float]], engine: str) -> Vectors:
    np = numpy()
    try:
        array: Vectors = np.asarray(vectors, dtype=np.float32)
    except ValueError:
        raise ProviderError(
            f"{engine!r} gave vectors of different lengths.", hint="Run the cell again."
        ) from None
    return array.reshape(len(vectors), -1) if vectors else array.reshape(0, 0)
