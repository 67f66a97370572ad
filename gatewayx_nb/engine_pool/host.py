"""Keeps an engine running: its loop, its instance, and when that is made anew or closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.pace import Pace
from gatewayx_nb.engine_pool.scrubbing import scrub, unless_telling
from gatewayx_nb.errors import EngineLoadError, GatewayError
from gatewayx_nb.llm_engines import check_keywords
from gatewayx_nb.secure_config import Rates, redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import Loaded, ModelRegistry, Target
    from gatewayx_nb.portal import Portal

log = logging.getLogger("gatewayx_nb")


class Running:
    """One instance of an engine, and the tasks of the calls that use it."""

    def __init__(
        self, engine: LLMEngine, loaded: Loaded | None, target: Target, slots: int
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

    def fits(self, target: Target, loaded: Loaded | None, slots: int) -> bool:
        """Tell whether an instance made now would be made of the same."""
        made_of = (target.key, dict(target.options), target.network, slots)
        return self._loaded is loaded and self._made_of == made_of

    async def close_if_idle(self) -> None:
        """Clean a retired instance up after its last call."""
        if self.retired and not self.calls:
            await self._close()

    async def cancel(self) -> None:
        """Cancel its calls and clean up: in this order, or they take it for a broken connection."""
        for task in self.calls.values():
            if task is not None:
                task.cancel()
        await self._close()

    async def _close(self) -> None:
        try:
            await self.engine.cleanup()
        except Exception as error:  # noqa: BLE001 - an engine of the user's may raise anything
            log.warning("engine %r failed to clean up: %s", self.engine.name, error)
        if self._loaded:
            self._loaded.release()
        self.closed.set()


class EngineHost:
    """One engine by name, on the loop where it runs.

    Every coroutine here runs on ``portal``'s loop.
    """

    def __init__(self, portal: Portal, registry: ModelRegistry) -> None:
        self.portal = portal
        self._registry = registry
        self._running: Running | None = None
        self._making = asyncio.Lock()
        self._pace = Pace(Rates())

    @property
    def started(self) -> bool:
        """Whether there is an instance."""
        return self._running is not None

    @contextlib.asynccontextmanager
    async def use(self, target: Target, slots: int) -> AsyncIterator[LLMEngine]:
        """Give the instance for a call; the call waits while ``slots`` others run on it."""
        async with self.borrow(target, slots) as running, running.slots:
            yield running.engine

    @contextlib.asynccontextmanager
    async def borrow(self, target: Target, slots: int) -> AsyncIterator[Running]:
        """Give the instance, made anew where its file, key or settings changed.

        It stays open meanwhile, and takes none of the slots.
        """
        running = await self._instance(target, slots)
        call = object()  # a task may use an engine within a use of it
        running.calls[call] = asyncio.current_task()
        try:
            yield running
        finally:
            del running.calls[call]
            await running.close_if_idle()

    async def turn(self, rates: Rates, tokens: int) -> None:
        """Wait until a request of so many tokens may be sent."""
        if rates != self._pace.rates:
            self._pace = Pace(rates)
        await self._pace.turn(tokens)

    async def leave(self) -> None:
        """Clean up once the last call has ended: the engine is gone."""
        stale, self._running = self._running, None
        if stale:
            stale.retired = True
            await stale.close_if_idle()
            await stale.closed.wait()

    async def close(self) -> None:
        """Cancel the calls that still run, and clean up."""
        running, self._running = self._running, None
        if running:
            await running.cancel()

    async def _instance(self, target: Target, slots: int) -> Running:
        loaded = self._registry.current(target)
        if self._running and self._running.fits(target, loaded, slots):
            return self._running
        async with self._making:
            # Many calls may have been planned before the code was run: the first of them runs it.
            loaded = self._registry.current(target)
            if target.source and loaded is None:
                loaded = await asyncio.to_thread(self._registry.load, target)
            if self._running and self._running.fits(target, loaded, slots):
                return self._running
            fresh = Running(self._build(target, loaded), loaded, target, slots)
            stale, self._running = self._running, fresh
        if stale:
            stale.retired = True
            await stale.close_if_idle()
        return fresh

    def _build(self, target: Target, loaded: Loaded | None) -> LLMEngine:
        """Make an instance; what the user set holds over what the constructor sets."""
        if loaded is None:
            assert target.given is not None  # noqa: S101 - a target has a file or an engine
            return target.given
        try:
            check_keywords(loaded.engine, target.options, target.name)
            engine = loaded.engine(target.key, **target.options)
        except GatewayError as error:
            scrub(error, target.key)
            self._registry.note_unmade(target, error.what)
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001 - the user's code
            why = f"{type(error).__name__}: {error}"
            failure = EngineLoadError(
                f"engine {target.name!r} cannot be made: {redact(why, [target.key])}.",
                mend=f"Mend `__init__` in {target.place}.",
                engine=target.name,
            )
            self._registry.note_unmade(target, failure.what)
            raise failure from unless_telling(error, target.key)
        self._registry.note_made(target)
        engine.name = target.name
        engine.network = target.network
        engine.model_name = str(target.options.get("model") or engine.model_name)
        engine.base_url = str(target.options.get("base_url") or engine.base_url)
        return engine
