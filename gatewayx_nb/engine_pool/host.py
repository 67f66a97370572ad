"""Hosts an engine: owns its event loop, and its instance from creation to clean-up."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard

from gatewayx_nb.concurrency import is_being_cancelled
from gatewayx_nb.engine_pool.exception_redaction import cause_without_key, redact_exception
from gatewayx_nb.engine_pool.governor import Governor
from gatewayx_nb.errors import ConfigError, EngineLoadError, GatewayError, ProviderError
from gatewayx_nb.llm_engines import HTTPEngine, check_keywords
from gatewayx_nb.masking import redact, redact_beginning
from gatewayx_nb.model_registry import location
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gatewayx_nb.concurrency import Portal
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry import LoadedEngine, ModelRegistry, Target
    from gatewayx_nb.replies import Chunk

_MAX_MESSAGE_LENGTH = 500
"""Maximum length in characters of an engine's error message, which may quote the prompt."""

log = logging.getLogger("gatewayx_nb")


class EngineInstance:
    """An instance of an engine, and the tasks of the calls that use it.

    The instance is cleaned up once, in a separate task, so that cancelling a call does not
    interrupt the clean-up.

    Attributes:
        engine: The engine.
        calls: The calls that use the instance, and their tasks.
        is_retired: Whether the instance is cleaned up as soon as no call uses it.
        closed: Set after the clean-up.
        configuration: The key, options, network settings and headers with which the instance was
            created.
        previous: The previous instance, until the first call has waited for its clean-up.
    """

    def __init__(self, engine: LLMEngine, loaded: LoadedEngine | None, target: Target) -> None:
        self.engine = engine
        self.calls: dict[object, asyncio.Task[object] | None] = {}
        self.is_retired = False
        self.closed = asyncio.Event()
        self.previous: EngineInstance | None = None
        self._cleanup_task: asyncio.Task[None] | None = None
        self._loaded, self._target = loaded, target
        if loaded:
            # Keep the engine's modules importable as long as the instance exists.
            loaded.hold()
        self.configuration = _configuration(target)

    def matches(self, target: Target, loaded: LoadedEngine | None) -> bool:
        """Return whether the instance was created from this code, key and configuration."""
        return self._loaded is loaded and self.configuration == _configuration(target)

    def retire(self) -> None:
        """Clean up the instance as soon as no call uses it."""
        self.is_retired = True
        if not self.calls:
            self._begin_cleanup()

    async def close_if_idle(self) -> None:
        """Clean up if the instance is retired and has no calls."""
        if self.is_retired and not self.calls:
            await asyncio.wait([self._begin_cleanup()])

    async def wait_for_previous(self) -> None:
        """Wait until the previous instance is cleaned up, unless calls still use it."""
        old_instance, self.previous = self.previous, None
        if old_instance:
            await old_instance.close_if_idle()

    async def cancel(self) -> None:
        """Cancel the calls, then clean up; in the opposite order, the calls would fail."""
        for task in self.calls.values():
            if task is not None:
                task.cancel()
        await asyncio.wait([self._begin_cleanup()])

    def _begin_cleanup(self) -> asyncio.Task[None]:
        if self._cleanup_task is None:
            self._cleanup_task = asyncio.create_task(self._clean_up())
        return self._cleanup_task

    async def _clean_up(self) -> None:
        try:
            with typed_errors(self._target):
                # An engine file may define `cleanup` with a plain `def`.
                result: object = self.engine.cleanup()
                if inspect.isawaitable(result):
                    await result
        except GatewayError as error:
            redact_exception(error, self._target.key)
            log.warning("engine %r failed to clean up: %s", self._target.name, error.message)
        finally:
            if self._loaded:
                self._loaded.release()
            self.closed.set()


class EngineHost:
    """A named engine and the event loop on which it runs.

    All coroutines here run on ``portal``'s loop, so the state needs no thread lock.

    Attributes:
        portal: The event loop.
        registry: Provides the engine's code.
        governor: Admits the requests of all calls.
    """

    def __init__(self, portal: Portal, registry: ModelRegistry) -> None:
        self.portal = portal
        self.registry = registry
        self._instance: EngineInstance | None = None
        # Includes the replaced instances that are still in use.
        self._instances: weakref.WeakSet[EngineInstance] = weakref.WeakSet()
        self._is_closed = False
        self._creation_lock = asyncio.Lock()  # held while one call loads the code for all calls
        self.governor = Governor(portal.loop)

    @property
    def is_started(self) -> bool:
        """Whether an instance exists."""
        return self._instance is not None

    @contextlib.asynccontextmanager
    async def acquire(self, target: Target) -> AsyncIterator[EngineInstance]:
        """Yield the instance, after replacing it if its file, key or settings have changed.

        The instance stays open until the ``with`` block ends.
        """
        instance = await self._current_instance(target)
        call = object()  # not the task, which may use the same engine several times
        # Register the call before the next await, so that the instance is not cleaned up.
        instance.calls[call] = asyncio.current_task()
        try:
            # The replaced instance may hold resources that the new one needs, such as memory.
            await instance.wait_for_previous()
            yield instance
        finally:
            del instance.calls[call]
            await instance.close_if_idle()

    async def retire(self) -> None:
        """Clean up an engine that was removed, after its last call."""
        while True:  # a call that was planned earlier may create another instance
            async with self._creation_lock:  # held by a call that is creating an instance
                old_instance, self._instance = self._instance, None
            if old_instance is None:
                return
            old_instance.retire()
            # Running calls close the instance when they end.
            await old_instance.closed.wait()

    async def close(self) -> None:
        """Cancel the running calls and clean up."""
        cleanups = [instance.cancel() for instance in self._instances]
        self._is_closed, self._instance = True, None
        await asyncio.gather(*cleanups)

    async def _current_instance(self, target: Target) -> EngineInstance:
        # This check takes no lock, because nearly every call finds the instance up to date.
        loaded = self.registry.current(target)
        if self._instance and self._instance.matches(target, loaded):
            return self._instance
        async with self._creation_lock:
            # Many calls may have waited for the lock; the first one loads the engine's code.
            loaded = self.registry.current(target)
            if target.source and loaded is None:
                loaded = await asyncio.to_thread(self.registry.load, target)
            if self._instance and self._instance.matches(target, loaded):
                return self._instance
            new_instance = EngineInstance(self._create(target, loaded), loaded, target)
            self._replace(new_instance)
        return new_instance

    def _replace(self, new_instance: EngineInstance) -> None:
        """Make an instance the current instance, and retire the previous one."""
        self._instances.add(new_instance)
        if self._is_closed:  # a call that began before the closing is cancelled when the loop stops
            new_instance.is_retired = True
            return
        new_instance.previous, self._instance = self._instance, new_instance
        if new_instance.previous:
            if new_instance.configuration != new_instance.previous.configuration:
                self.governor.forget()  # another key or address has other limits
            new_instance.previous.retire()

    def _create(self, target: Target, loaded: LoadedEngine | None) -> LLMEngine:
        """Create an instance."""
        if loaded is None:
            assert target.instance is not None  # noqa: S101 - a target has a file or an instance
            return target.instance
        try:
            check_keywords(loaded.engine, target.options, target.name)
            engine = _with_settings(loaded.engine(target.key, **target.options), target)
        except BaseException as error:
            # Python raises KeyboardInterrupt only in the main thread, so the engine itself raised
            # it here.
            if not _is_complete(error):
                self._raise_load_error(target, error)
            redact_exception(error, target.key)
            self.registry.note_instance_failure(target, error.message)
            raise
        self.registry.clear_instance_failure(target)
        return engine

    def _raise_load_error(self, target: Target, error: BaseException) -> NoReturn:
        failure = EngineLoadError(
            f"engine {target.name!r} cannot be created: {_describe(error, target)}.",
            hint=f"Fix `__init__` in {target.code_location}.",
            engine=target.name,
        )
        self.registry.note_instance_failure(target, failure.message)
        raise failure from cause_without_key(error, target.key)


def _configuration(target: Target) -> tuple[object, ...]:
    return (target.key, target.options, target.network, target.headers)


def _with_settings(engine: LLMEngine, target: Target) -> LLMEngine:
    """Set the attributes that the settings override."""
    engine.name = target.name
    engine.network = target.network
    engine.model_name = str(target.options.get("model") or engine.model_name)
    engine.base_url = str(target.options.get("base_url") or engine.base_url)
    if target.headers:
        if not isinstance(engine, HTTPEngine):
            raise ConfigError(
                f"engine {target.name!r} is not an HTTP engine, so the headers of"
                f" [engines.{target.name}] have no effect.",
                hint="Delete that setting.",
                engine=target.name,
            )
        engine.extra_headers = target.headers
    return engine


@contextlib.asynccontextmanager
async def closing(chunks: AsyncIterator[Chunk]) -> AsyncIterator[AsyncIterator[Chunk]]:
    """Close a stream when the block ends, so that an error does not leave its connection open."""
    try:
        yield chunks
    finally:
        # An iterator of another type may lack these methods, and a coroutine has only `close`.
        close = getattr(chunks, "aclose", None) or getattr(chunks, "close", None)
        result: object = close() if close else None
        if inspect.isawaitable(result):
            await result


@contextlib.contextmanager
def typed_errors(target: Target) -> Iterator[None]:
    """Convert exceptions to `ProviderError`, except a `GatewayError` and the call's cancellation.

    Raises:
        ProviderError: If the engine raises anything except a `GatewayError`.
    """
    task = _running_task()
    try:
        yield
    except GatewayError as error:
        if _is_complete(error):
            raise
        raise _engine_error(target, error) from None
    except asyncio.CancelledError as error:
        if is_being_cancelled():
            raise
        raise _engine_error(target, error) from None  # the engine raised it; nothing was cancelled
    except GeneratorExit as error:
        # Unless its own task is running, this coroutine is closed because its loop has ended.
        if task is None or _running_task() is not task:
            raise
        raise _engine_error(target, error) from None
    except BaseException as error:  # noqa: BLE001 - external code may raise anything
        raise _engine_error(target, error) from cause_without_key(error, target.key)


def _is_complete(error: BaseException) -> TypeGuard[GatewayError]:
    """Return whether an error is a `GatewayError` that has its message and its hint."""
    try:
        has_hint = isinstance(error, GatewayError) and "hint" in vars(error)
        return has_hint and isinstance(vars(error).get("message"), str)
    except BaseException:  # noqa: BLE001 - reading an engine's exception may raise anything
        return False


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return None


def _describe(error: BaseException, target: Target) -> str:
    """Return the class, message and place of an exception in one line, without the key."""
    name = _text_or("an exception", lambda: type(error).__name__)
    message = _text_or("its text cannot be shown", lambda: str(error))
    place = _text_or("", lambda: location(error, target.folder))
    text = shorten(f"{name}: {redact_beginning(message, target.key)}", _MAX_MESSAGE_LENGTH)
    return text + redact(place, [target.key])


def _text_or(default: str, read: Callable[[], str]) -> str:
    """Return the result of ``read``, or the default if it raises."""
    try:
        return str.__str__(read())
    except BaseException:  # noqa: BLE001 - reading an engine's exception may raise anything
        return default


def _engine_error(target: Target, error: BaseException) -> ProviderError:
    return ProviderError(
        f"engine {target.name!r} raised {_describe(error, target)}.",
        hint=f"Fix {target.code_location}; it is reloaded on the next call.",
        topic="engine-raised",
        engine=target.name,
    )
