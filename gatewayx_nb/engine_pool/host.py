"""Host of an engine: its loop and its instance, and when that is replaced or closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.engine_errors import cause_without_key, redact_exception
from gatewayx_nb.engine_pool.rate_limit import RateLimiter
from gatewayx_nb.errors import EngineLoadError, GatewayError
from gatewayx_nb.llm_engines import check_keywords
from gatewayx_nb.secure_config import Rates, redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import LoadedEngine, ModelRegistry, Target

log = logging.getLogger("gatewayx_nb")


class EngineInstance:
    """An instance of an engine, and the tasks of the calls that use it."""

    def __init__(
        self, engine: LLMEngine, loaded: LoadedEngine | None, target: Target, slots: int
    ) -> None:
        self.engine = engine
        self.calls: dict[object, asyncio.Task[object] | None] = {}
        self.retired = False
        self.closed = asyncio.Event()
        self.slots = asyncio.Semaphore(slots)
        self._loaded = loaded
        if loaded:
            loaded.hold()
        self._made_of = (target.key, dict(target.options), target.network, slots)

    def fits(self, target: Target, loaded: LoadedEngine | None, slots: int) -> bool:
        """Return whether the instance still matches its file, key and settings."""
        made_of = (target.key, dict(target.options), target.network, slots)
        return self._loaded is loaded and self._made_of == made_of

    async def close_if_idle(self) -> None:
        """Clean up a retired instance after its last call."""
        if self.retired and not self.calls:
            await self._close()

    async def cancel(self) -> None:
        """Cancel the calls, then clean up; in reverse order they would see a broken connection."""
        for task in self.calls.values():
            if task is not None:
                task.cancel()
        await self._close()

    async def _close(self) -> None:
        try:
            await self.engine.cleanup()
        except Exception as error:  # noqa: BLE001 - a user's engine may raise anything
            log.warning("engine %r failed to clean up: %s", self.engine.name, error)
        if self._loaded:
            self._loaded.release()
        self.closed.set()


class EngineHost:
    """A named engine and the event loop on which it runs.

    Every coroutine here runs on ``portal``'s loop.
    """

    def __init__(self, portal: Portal, registry: ModelRegistry) -> None:
        self.portal = portal
        self._registry = registry
        self._running: EngineInstance | None = None
        self._making = asyncio.Lock()
        self._pace = RateLimiter(Rates())

    @property
    def started(self) -> bool:
        """Whether an instance exists."""
        return self._running is not None

    @contextlib.asynccontextmanager
    async def use(self, target: Target, slots: int) -> AsyncIterator[LLMEngine]:
        """Yield the instance for a call, waiting while all ``slots`` are taken."""
        async with self.acquire(target, slots) as running, running.slots:
            yield running.engine

    @contextlib.asynccontextmanager
    async def acquire(self, target: Target, slots: int) -> AsyncIterator[EngineInstance]:
        """Yield the instance, which is replaced if its file, key or settings have changed.

        It stays open in the meantime; the caller does not take a slot.
        """
        running = await self._instance(target, slots)
        call = object()  # one task may use an engine several times, nested
        running.calls[call] = asyncio.current_task()
        try:
            yield running
        finally:
            del running.calls[call]
            await running.close_if_idle()

    async def wait_for_rate(self, rates: Rates, tokens: int) -> None:
        """Wait until a request of ``tokens`` tokens may be sent."""
        if rates != self._pace.rates:
            self._pace = RateLimiter(rates)
        await self._pace.acquire(tokens)

    async def retire(self) -> None:
        """Clean up after the last call, because the engine was removed."""
        stale, self._running = self._running, None
        if stale:
            stale.retired = True
            await stale.close_if_idle()
            await stale.closed.wait()

    async def close(self) -> None:
        """Cancel the running calls and clean up."""
        running, self._running = self._running, None
        if running:
            await running.cancel()

    async def _instance(self, target: Target, slots: int) -> EngineInstance:
        loaded = self._registry.current(target)
        if self._running and self._running.fits(target, loaded, slots):
            return self._running
        async with self._making:
            # Many calls may be planned before the engine's code is loaded; the first one loads it.
            loaded = self._registry.current(target)
            if target.source and loaded is None:
                loaded = await asyncio.to_thread(self._registry.load, target)
            if self._running and self._running.fits(target, loaded, slots):
                return self._running
            fresh = EngineInstance(self._build(target, loaded), loaded, target, slots)
            stale, self._running = self._running, fresh
        if stale:
            stale.retired = True
            await stale.close_if_idle()
        return fresh

    def _build(self, target: Target, loaded: LoadedEngine | None) -> LLMEngine:
        """Create an instance; the user's settings override attributes set by the constructor."""
        if loaded is None:
            assert target.given is not None  # noqa: S101 - has a file or an engine
            return target.given
        try:
            check_keywords(loaded.engine, target.options, target.name)
            engine = loaded.engine(target.key, **target.options)
        except GatewayError as error:
            redact_exception(error, target.key)
            self._registry.note_unusable(target, error.message)
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - user code
            why = f"{type(error).__name__}: {error}"
            failure = EngineLoadError(
                f"engine {target.name!r} cannot be made: {redact(why, [target.key])}.",
                hint=f"Mend `__init__` in {target.place}.",
                engine=target.name,
            )
            self._registry.note_unusable(target, failure.message)
            raise failure from cause_without_key(error, target.key)
        self._registry.note_usable(target)
        engine.name = target.name
        engine.network = target.network
        engine.model_name = str(target.options.get("model") or engine.model_name)
        engine.base_url = str(target.options.get("base_url") or engine.base_url)
        return engine
