"""The object that users hold: engines, and the calls to them."""

from __future__ import annotations

import asyncio
import atexit
import re
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.engine_pool.call import Call
from gatewayx_nb.engine_pool.embedding import checked, embed
from gatewayx_nb.engine_pool.figures import Figures
from gatewayx_nb.engine_pool.freshness import Freshness
from gatewayx_nb.engine_pool.inquiry import ask_each, listening
from gatewayx_nb.engine_pool.options import CallOptions, build, limits, shape_of
from gatewayx_nb.engine_pool.runtime import Runtime
from gatewayx_nb.engine_pool.streams import AsyncReplyStream, ReplyStream
from gatewayx_nb.engine_pool.tally import Tally
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.model_registry import EngineStatus, ModelRegistry
from gatewayx_nb.portal import forbid_here, inside
from gatewayx_nb.secure_config import Config

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from typing import Self

    from typing_extensions import Unpack

    from gatewayx_nb.engine_pool.embedding import Vectors
    from gatewayx_nb.engine_pool.host import EngineHost
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import ModelInfo, Reply


_HEALTH = 1.0
"""Seconds for a server on this machine to say that it is there."""

_LISTING = 10.0
"""Seconds for a provider to list its models."""


class EnginePool:
    """Owns engines and makes calls to them: from a script, a cell, a thread or an event loop.

    All I/O runs on background loops, so that a pool works the same everywhere and outlives any
    number of event loops. Keys, settings and engine files are looked at again before a call, at
    most once a second.

    Args:
        home: The project folder; found from the current one upwards where it is left out.
        env: The environment; the process's own where it is left out.
        engines: Engines, besides those that are found as files; an engine's name is its ``name``,
            or made of its class's name.

    Every call takes these keywords:

    ``model``
        A reference, ``"engine"`` or ``"engine:model"``; the default model where it is left out.
    ``system``, ``temperature``, ``top_p``, ``max_tokens``, ``stop``, ``seed``
        Sent where they are set, and only then.
    ``images``
        Paths, bytes, https addresses, matplotlib figures or PIL images; see `images.load`.
    ``schema``
        What the answer must look like: a JSON Schema, a pydantic model, a dataclass or a
        TypedDict; ``reply.parsed`` is the answer as data. An engine that cannot hold a model to it
        asks in words, and once more where the answer does not fit.
    ``params``
        Further parameters, sent as they are. ``{"drop_unsupported": True}`` leaves out what the
        model rejects, and asks again; ``reply.dropped`` names it.
    ``timeout``
        Seconds for the whole call, instead of ``[limits] timeout`` (600).
    """

    def __init__(
        self,
        home: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        engines: Iterable[LLMEngine] = (),
    ) -> None:
        self._config = Config(Path(home) if home is not None else None, env)
        self._registry = ModelRegistry(self._config, _named(engines))
        self._figures = Figures()
        self._freshness = Freshness(self._look)
        self._runtime = Runtime(self._registry)
        atexit.register(_close_at_exit, weakref.ref(self))

    @property
    def config(self) -> Config:
        """The settings and keys that this pool goes by."""
        return self._config

    def ask(self, prompt: str, /, **options: Unpack[CallOptions]) -> Reply:
        """Ask a model and wait for its whole answer.

        Raises:
            GatewayError: The call failed; its class says who can mend that.
        """
        forbid_here("aask")
        call = self._call(prompt, options, streamed=False)
        try:
            return call.host.portal.run(call.run(), call.patience)
        except TimeoutError:
            raise call.too_late() from None
        except asyncio.CancelledError:
            raise call.closed() from None

    async def aask(self, prompt: str, /, **options: Unpack[CallOptions]) -> Reply:
        """Ask a model and await its whole answer; see `ask`."""
        call = self._call(prompt, options, streamed=False)
        try:
            return await call.host.portal.arun(call.run(), call.patience)
        except TimeoutError:
            raise call.too_late() from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise call.closed() from None

    def stream(self, prompt: str, /, **options: Unpack[CallOptions]) -> ReplyStream:
        """Ask a model and read its answer as it comes; ``.reply`` after the end.

        Raises:
            GatewayError: The call cannot be made; a failure on the way is raised while reading.
        """
        forbid_here("astream")
        return ReplyStream(self._call(prompt, options, streamed=True))

    def astream(self, prompt: str, /, **options: Unpack[CallOptions]) -> AsyncReplyStream:
        """Ask a model and read its answer as it comes, with ``async for``; see `stream`."""
        return AsyncReplyStream(self._call(prompt, options, streamed=True))

    def embed(self, texts: Iterable[str], *, model: str) -> Vectors:
        """Give vectors for texts, as a float32 array of shape (texts, dimensions).

        Args:
            texts: The texts; none may be empty.
            model: A reference; the engine's own embedding model where it names none.

        Raises:
            GatewayError: A batch failed.
        """
        forbid_here("aembed")
        host, work = self._embedding(texts, model)
        return host.portal.run(work)

    async def aembed(self, texts: Iterable[str], *, model: str) -> Vectors:
        """Give vectors for texts; see `embed`."""
        host, work = self._embedding(texts, model)
        return await host.portal.arun(work)

    def models(self, engine: str | None = None, *, live: bool = False) -> list[ModelInfo]:
        """List what can be called now.

        Args:
            engine: One engine, instead of all.
            live: Whether to ask the providers, which spends no tokens.

        Raises:
            EngineNotFoundError: There is no such engine.
            GatewayError: The engine named cannot be asked.
        """
        self._freshness.check()
        if engine is not None:
            self._registry.known(engine)
        if not live:
            listed = self._registry.models()
            return [model for model in listed if engine in (None, model.engine)]
        targets = self._registry.targets(engine)
        answers = ask_each(self._runtime, targets, lambda asked: asked.models(), _LISTING)
        if engine is not None:
            for answer in answers.values():
                if isinstance(answer, GatewayError):
                    raise answer
        lists = [answer for answer in answers.values() if not isinstance(answer, GatewayError)]
        return [model for listed in lists for model in listed]

    def status(self) -> list[EngineStatus]:
        """List every engine known, the unusable ones too, with what is wrong.

        Servers on this machine are asked whether they answer.
        """
        self._freshness.check()
        self._registry.note_answering(self._answering())
        return [self._figures.on(row) for row in self._registry.rows()]

    @property
    def problems(self) -> list[str]:
        """What of the user's files cannot be read, a line each."""
        return self._registry.problems

    def reload(self) -> list[EngineStatus]:
        """Look at all files again, and forget which engines failed; give the `status`."""
        self._registry.forget_failures()
        return self.status()

    def default_model(self) -> str:
        """Give the reference that is asked where a call names none.

        Raises:
            ConfigError: There is no default.
        """
        self._freshness.check()
        return self._registry.default_reference()

    def use(self, reference: str, *, save: bool = False) -> None:
        """Make a reference the default model, for this pool or, saved, for the project.

        Raises:
            GatewayError: It cannot be called.
        """
        self._freshness.check()
        self._registry.resolve(reference)
        self._registry.default = reference
        if save:
            self._config.save_default(reference)

    def check(self) -> None:
        """Look at once whether keys, settings or engine files have changed."""
        self._freshness.check()

    def close(self) -> None:
        """Cancel what runs and close every connection; the next call starts anew."""
        self._runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @override
    def __repr__(self) -> str:
        project = self._config.project
        return f"EnginePool({str(project.root) if project else 'no project'!r})"

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        project = self._config.project
        return (EnginePool, (project.root if project else None,))

    def _look(self) -> None:
        """Look at the user's files; let go of engines that are gone."""
        if self._registry.refresh():
            self._runtime.sweep()

    def _answering(self) -> list[str]:
        """Give the servers of this machine that answer; most of them do not even listen."""
        servers = self._registry.servers()
        if inside():  # an engine that asks: its loop, perhaps the shared one, must not wait
            return []

        async def knock() -> list[bool]:
            return await asyncio.gather(*map(listening, servers.values()))

        heard = self._runtime.shared.run(knock())
        there = [name for name, hears in zip(servers, heard, strict=True) if hears]
        targets = [self._registry.resolve(name) for name in there]
        answers = ask_each(self._runtime, targets, lambda asked: asked.health_check(), _HEALTH)
        return [name for name, answer in answers.items() if answer is True]

    def _embedding(
        self, texts: Iterable[str], model: str
    ) -> tuple[EngineHost, Coroutine[Any, Any, Vectors]]:
        self._freshness.check_if_due()
        listed = checked(texts)
        target = self._registry.resolve(model)
        host = self._runtime.host(target)
        return host, embed(host, target, self._config.settings.limits, listed)

    def _call(self, prompt: str, options: CallOptions, *, streamed: bool) -> Call:
        """Check what is asked and find who answers; nothing is sent."""
        self._freshness.check_if_due()
        target = self._registry.resolve(options.get("model"))
        model, shape = target.model or "", shape_of(options)
        return Call(
            host=self._runtime.host(target),
            target=target,
            request=build(prompt, model, options, shape, streamed=streamed),
            limits=limits(options, self._config.settings.limits),
            tally=Tally(target.name, model),
            figures=self._figures,
            shape=shape,
        )


def _named(engines: Iterable[LLMEngine]) -> dict[str, LLMEngine]:
    named: dict[str, LLMEngine] = {}
    for engine in engines:
        if named.setdefault(_name(engine), engine) is not engine:
            raise UsageError(
                f"two engines are called {engine.name!r}.", mend="Give one of them another `name`."
            )
    return named


def _name(engine: LLMEngine) -> str:
    """Give a passed engine its name: its own, or ``GrokEngine`` makes ``grok``."""
    if not engine.name:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(engine).__name__.removesuffix("Engine"))
        engine.name = words.lower()
    return engine.name


def _close_at_exit(reference: weakref.ref[EnginePool]) -> None:
    pool = reference()
    if pool is not None:
        pool.close()
