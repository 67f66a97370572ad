"""Computes embeddings in concurrent batches."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import prompts
from gatewayx_nb.calls import with_retries
from gatewayx_nb.engine_pool.exception_redaction import redact_exception
from gatewayx_nb.engine_pool.host import typed_errors
from gatewayx_nb.engine_pool.token_estimates import estimate_tokens
from gatewayx_nb.errors import DeadlineError, GatewayError, ProviderError, UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.tabulation import import_data_package

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    import numpy as np
    import numpy.typing as npt

    from gatewayx_nb.engine_pool.governor import Governor
    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Target
    from gatewayx_nb.secure_config import Limits

    Vectors = npt.NDArray[np.float32]
    RawVectors = list[list[float]]

_GRACE_PERIOD = 1.0
"""Seconds to wait past the deadline, in case an engine blocks its loop."""

_MAX_CONCURRENT_BATCHES = 8
"""Maximum number of concurrent batches; more would only reach the provider's token limit sooner."""


def check_texts(texts: Iterable[str]) -> list[str]:
    """Return the texts as a list; a single str becomes a list of one text.

    Raises:
        UsageError: If an input is not a str or is empty; providers reject empty input.
    """
    # Iterating over a DataFrame would embed the names of its columns.
    if prompts.table_kind(texts) == "DataFrame":
        raise UsageError(
            "texts must be a list or a column, got a DataFrame.", hint="For example, `df['text']`."
        )
    text_list = [texts] if isinstance(texts, str) else list(texts)
    for number, text in enumerate(text_list):
        if not isinstance(text, str) or not text:
            raise UsageError(
                f"text {number} must be a non-empty str, got {text!r}.",
                hint="Remove it from the texts.",
            )
    return text_list


async def embed(host: EngineHost, target: Target, limits: Limits, texts: list[str]) -> Vectors:
    """Return the embeddings of texts as a float32 array of shape (texts, dimensions).

    The coroutine must not run on the engine's own loop, which the engine may block.

    Raises:
        GatewayError: If a batch fails after its retries.
    """
    answer = asyncio.wrap_future(host.portal.submit(_embed(host, target, limits, texts)))
    try:
        await asyncio.wait([answer], timeout=limits.timeout + _GRACE_PERIOD)
        if answer.done():
            return answer.result()
        raise _deadline_error(target, limits)
    finally:
        answer.cancel()


async def _embed(host: EngineHost, target: Target, limits: Limits, texts: list[str]) -> Vectors:
    try:
        async with asyncio.timeout(limits.timeout):
            async with host.acquire(target) as instance:
                with typed_errors(target):
                    engine = instance.engine
                    embedder = _BatchEmbedder(host.governor, target, engine, limits)
                    vectors = await embedder.embed(texts)
    except GatewayError as error:
        redact_exception(error, target.key)
        raise
    except TimeoutError:
        raise _deadline_error(target, limits) from None
    return _to_array(vectors, target.name)


def _deadline_error(target: Target, limits: Limits) -> DeadlineError:
    return DeadlineError(
        f"{target.name!r} took longer than {limits.timeout:g} s.",
        hint="Embed fewer texts at once, or raise [limits] timeout in config/gatewayx.toml.",
    )


@dataclass(frozen=True, slots=True)
class _BatchEmbedder:
    """Embeds texts in concurrent batches."""

    governor: Governor
    target: Target
    engine: LLMEngine
    limits: Limits
    slots: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_MAX_CONCURRENT_BATCHES)
    )

    async def embed(self, texts: list[str]) -> RawVectors:
        """Embed all texts; the first failure cancels the other batches to save their cost."""
        batch_size = self.engine.embedding_batch
        batches = [texts[start : start + batch_size] for start in range(0, len(texts), batch_size)]
        tasks: list[asyncio.Task[RawVectors]] = []
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks += [group.create_task(self._embed_batch(batch)) for batch in batches]
        except BaseExceptionGroup as failures:
            failure = failures.exceptions[0]  # callers expect the error of one call
        if failure is not None:
            # The failure is raised outside the handler. Otherwise, the group would be its context,
            # and IPython would show the group's whole traceback.
            raise failure
        return [vector for task in tasks for vector in task.result()]

    async def _embed_batch(self, texts: list[str]) -> RawVectors:
        model = self.target.model or self.engine.embedding_model

        ticket, tokens = self.governor.ticket(), estimate_tokens(texts)

        async def attempt() -> RawVectors:
            self.governor.configure(self.target.rates, self.limits.concurrency)
            permit = self.governor.try_admit(tokens) or await self.governor.admit(ticket, tokens)
            with permit, typed_errors(self.target):
                answer: Any = self.engine.embed(texts, model)
                vectors: RawVectors = await answer if inspect.isawaitable(answer) else answer
                vector_count = len(vectors)
            if vector_count != len(texts):
                raise ProviderError(
                    f"{self.engine.name!r} returned {vector_count} vectors for {len(texts)} texts.",
                    hint=Hint("run_again"),
                )
            return vectors

        async with self.slots:
            return await with_retries(attempt, self.limits.retries)


def import_numpy() -> ModuleType:
    """Return the numpy module.

    Raises:
        ConfigError: If numpy is not installed.
    """
    return cast("ModuleType", import_data_package("numpy", "embeddings require"))


def _to_array(vectors: RawVectors, engine: str) -> Vectors:
    np = import_numpy()
    try:
        array: Vectors = np.asarray(vectors, dtype=np.float32)
    except Exception:  # noqa: BLE001 - an engine's vectors may be anything
        raise ProviderError(
            f"{engine!r} must return vectors of numbers, all of the same length.",
            hint=Hint("run_again"),
        ) from None
    # An empty list would become a one-dimensional array.
    return array.reshape(len(vectors), -1) if vectors else array.reshape(0, 0)
