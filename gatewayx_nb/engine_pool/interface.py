"""The object that users hold: engines, and the calls to them."""

from __future__ import annotations

import asyncio
import atexit
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from gatewayx_nb.chats import Chat, Chats
from gatewayx_nb.engine_pool import recorded
from gatewayx_nb.engine_pool.calls import Calls
from gatewayx_nb.engine_pool.figures import Figures, Spending
from gatewayx_nb.engine_pool.freshness import Freshness
from gatewayx_nb.engine_pool.given import ledger, named
from gatewayx_nb.engine_pool.health import DEADLINE, checkup
from gatewayx_nb.engine_pool.inquiry import Inquiry, listening
from gatewayx_nb.engine_pool.plan import Planner
from gatewayx_nb.engine_pool.playback import Player
from gatewayx_nb.engine_pool.runtime import Runtime
from gatewayx_nb.engine_pool.security import SecurityStatus, security_status
from gatewayx_nb.errors import ConfigError, GatewayError, TransportError
from gatewayx_nb.llm_engines import FEATURES, SAMPLING
from gatewayx_nb.model_registry import EngineStatus, ModelRegistry
from gatewayx_nb.portal import cancelling, forbid_here, inside
from gatewayx_nb.secure_config import Config
from gatewayx_nb.store import Ledger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from typing import Self

    from gatewayx_nb.cassettes import Cassette, Mode
    from gatewayx_nb.engine_pool.health import Health
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.secure_config import Imported, Way
    from gatewayx_nb.store import Entry

T = TypeVar("T")

_HEALTH = 1.0
"""Seconds for a server on this machine to say that it is there."""

_LISTING = 10.0
"""Seconds for a provider to list its models."""


class EnginePool(Calls):
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
    ``chat``
        A conversation, or the name of one: what was said there is sent along, and this turn joins
        it; see `chats.Chat`.
    ``max_cost``, ``allow_unpriced``
        US dollars that the call may cost, by an estimate: a token for every four characters, and an
        answer of ``max_tokens``, or 1,024. A price that is not known stops it too, unless allowed.
        ``[limits] max_cost`` bounds all calls of the pool.
    ``fallback``
        References that are asked, in this order, where the call fails before any of its answer has
        come; ``reply.fallback_from`` then names the first. An answer never mixes two.
    ``fresh``
        Whether to ask past the `cassette` that is open.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        engines: Iterable[LLMEngine] = (),
    ) -> None:
        self._config = Config(Path(home) if home is not None else None, env)
        self._registry = ModelRegistry(self._config, named(engines))
        self._figures = Figures(Ledger(ledger(self._config)))
        self._freshness = Freshness(self._look)
        self._runtime = Runtime(self._registry)
        self.chats = Chats(self)
        self._player = Player(
            Planner(self._config, self._registry, self._runtime, self.chats, self._figures)
        )
        atexit.register(_close_at_exit, weakref.ref(self))

    @property
    def config(self) -> Config:
        """The settings and keys that this pool goes by."""
        return self._config

    def chat(self, model: str | None = None, *, system: str | None = None, name: str = "") -> Chat:
        """Begin a conversation, or go on with the one of a name.

        Args:
            model: The reference that answers; the default model, or the one that answered before.
            system: The system prompt.
            name: Its name, as ``--chat`` and ``chat=`` know it; without one it is yours alone.
        """
        chat = self.chats.get(name) if name else Chat(self)
        chat.model, chat.system = model or chat.model, system or chat.system
        return chat

    def cassette(
        self, path: str | Path, mode: Mode = "auto", *, speed: float | None = None
    ) -> Cassette:
        """Open a file of recorded replies; closing it, as leaving its ``with`` does, ends that.

        Calls that fail are not recorded. Those that are played back cost nothing, and count neither
        in `usage` nor towards a budget.

        Args:
            path: The file, JSON lines; made by the first reply.
            mode: ``"auto"`` plays back what is recorded and records the rest. ``"record"`` asks
                again and renews. ``"replay"`` plays back alone: no engine is started, no socket is
                opened, no key is needed, and `status` and `models` tell of the cassette.
                ``"off"`` does nothing. ``GATEWAYX_CASSETTE_MODE`` in the environment wins.
            speed: Play back so many times as fast as was recorded; at once where it is left out.

        Raises:
            ConfigError: The file does not serve.
            UsageError: There is no such mode.
        """
        return self._player.open(path, mode, speed)

    @property
    def opened(self) -> Cassette | None:
        """The `cassette` that is open."""
        return self._player.cassette

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
        if replaying := self._player.replaying:
            return recorded.models(replaying, engine)
        if engine is not None:
            self._registry.known(engine)
        if not live:
            listed = self._registry.models()
            return [model for model in listed if engine in (None, model.engine)]
        targets = self._registry.targets(engine)
        asking = self._inquiry(_LISTING).ask(targets, lambda asked: asked.models())
        answers = self._inquire(asking)
        if engine is not None:
            for answer in answers.values():
                if isinstance(answer, GatewayError):
                    raise answer
        lists = [answer for answer in answers.values() if not isinstance(answer, GatewayError)]
        return [model for listed in lists for model in listed]

    def status(self, *, probe: bool = True) -> list[EngineStatus]:
        """List every engine known, the unusable ones too, with what is wrong.

        While a `cassette` is played back alone, its engines are listed, and none of this machine's.

        Args:
            probe: Whether to ask servers on this machine if they answer; else they stand as they
                did the last time.
        """
        self._freshness.check()
        if replaying := self._player.replaying:
            return recorded.rows(replaying)
        if probe:
            self._registry.note_answering(self._answering())
        return [self._figures.on(row) for row in self._registry.rows()]

    @property
    def ledger(self) -> Path:
        """The file in which calls are noted."""
        return self._figures.ledger.path

    def usage(self) -> list[Spending]:
        """Tell what this pool's calls took and cost, by engine and model; `history` has each."""
        return self._figures.spending()

    def history(self, count: int = 20) -> list[Entry]:
        """Give the last calls of the project, those of other kernels too; the latest first.

        Figures alone are kept, in ``.gatewayx/store.sqlite``: no prompt and no answer.

        Raises:
            ConfigError: The file cannot be read.
        """
        try:
            return self._figures.ledger.last(count)
        except OSError as error:
            place = self._figures.ledger.path
            raise ConfigError(
                f"the ledger {str(place)!r} cannot be read: {error}.",
                mend=f"Move it away: `mv {place} {place}.off`; the next call makes a new one.",
            ) from None

    def security_status(self) -> SecurityStatus:
        """Tell where keys come from, and who may read and change the files; no part of a key.

        Git is asked whether it ignores or has the key files, for two seconds at most.
        """
        self._freshness.check()
        rows, started = self._registry.rows(), self._runtime.started()
        return security_status(self._config, rows, self._registry.problems, started)

    def health(self, *names: str) -> list[Health]:
        """Ask engines whether they work, all at once; each has 10 s to answer.

        Args:
            *names: Engines; every one that has its key, or needs none, where there are none. Of the
                servers that may run on this machine those that listen are asked.

        Returns:
            A row for each engine, the ones that fail too.

        Raises:
            EngineNotFoundError: A name is no engine's.
        """
        forbid_here("ahealth")
        if replaying := self._player.replaying:
            return recorded.health(replaying, names)
        return self._inquire(self._checkup(names))

    async def ahealth(self, *names: str) -> list[Health]:
        """Ask engines whether they work; see `health`."""
        if replaying := self._player.replaying:
            return recorded.health(replaying, names)
        try:
            return await self._runtime.shared.arun(self._checkup(names))
        except asyncio.CancelledError:
            if cancelling():
                raise
            raise _closed() from None

    @property
    def problems(self) -> list[str]:
        """What of the user's files cannot be read or written, a line each.

        While a `cassette` is played back alone, what is wrong with that alone.
        """
        if replaying := self._player.replaying:
            return list(filter(None, [replaying.problem]))
        opened = self._player.cassette
        others = [opened.problem, opened.warning] if opened else []
        return [
            *self._registry.problems,
            *filter(None, [self._figures.ledger.problem, *others]),
        ]

    def features(self, reference: str) -> frozenset[str]:
        """Tell what a model can be asked for: ``system``, ``images``, ``temperature``, ``seed`` ….

        It is what the engine's class declares, which is run for that if it was not yet; no
        provider is asked. While a `cassette` is played back alone, everything that it may hold.

        Raises:
            GatewayError: The engine cannot be used.
        """
        self._freshness.check_if_due()
        if self._player.replaying:
            return FEATURES | SAMPLING
        target = self._registry.resolve(reference)
        engine = target.given or self._registry.load(target).engine
        return frozenset(engine.features) | SAMPLING.difference(engine.lacks)

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
        if replaying := self._player.replaying:
            return recorded.default(replaying, self._registry.default)
        return self._registry.default_reference()

    def use(self, reference: str, *, save: bool = False) -> None:
        """Make a reference the default model, for this pool or, saved, for the project.

        Raises:
            GatewayError: It cannot be called.
        """
        self._freshness.check()
        replaying = self._player.replaying
        if not replaying or not replaying.knows(self._registry.meant(reference).engine):
            self._registry.resolve(reference)
        self._registry.default = reference
        if save:
            self._config.save_default(reference)

    def doubtful(self) -> dict[str, list[Way]]:
        """Give the engines that do not get your key, as the project would send it elsewhere.

        Returns:
            By engine, the addresses, files and network settings of the project in question.
        """
        self._freshness.check()
        return self._registry.doubtful()

    def trust(self, ways: Mapping[str, Iterable[Way]]) -> None:
        """Let the project have your own keys, by engine and these ways; see `doubtful`.

        It is remembered in the user folder, for this project.
        """
        if self._config.project:
            self._config.trusted.add(self._config.project.root, ways)

    def import_keys(self, source: str | Path, *, user: bool = False) -> Imported:
        """Take keys out of a ``.env`` or llm's ``keys.json``; what is set stays.

        Args:
            source: The file; it is neither changed nor narrowed.
            user: Whether they are for all projects of the user's.

        Raises:
            ConfigError: A file cannot be read or written.
        """
        self._freshness.check()
        return self._config.import_keys(Path(source), self._registry.names(), user=user)

    def check(self) -> None:
        """Look at once whether keys, settings or engine files have changed."""
        self._freshness.check()

    def close(self) -> None:
        """Cancel what runs and close every connection; the next call starts anew.

        What calls took is on the disk then.
        """
        self._runtime.close()
        self._figures.ledger.flush()

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

        heard = self._inquire(knock())
        there = [name for name, hears in zip(servers, heard, strict=True) if hears]
        targets = [self._registry.resolve(name) for name in there]
        asking = self._inquiry(_HEALTH).ask(targets, lambda asked: asked.health_check())
        answers = self._inquire(asking)
        return [name for name, answer in answers.items() if answer is True]

    def _inquiry(self, patience: float) -> Inquiry:
        return Inquiry(self._runtime, self._config.settings.limits.concurrency, patience)

    def _inquire(self, asking: Coroutine[Any, Any, T]) -> T:
        """Wait for what engines say of themselves."""
        try:
            return self._runtime.shared.run(asking)
        except asyncio.CancelledError:
            raise _closed() from None

    def _checkup(self, names: tuple[str, ...]) -> Coroutine[Any, Any, list[Health]]:
        self._freshness.check()
        return checkup(self._inquiry(DEADLINE), self._registry, names)


def _closed() -> TransportError:
    return TransportError("the pool was closed while engines were asked.", mend="Ask again.")


def _close_at_exit(reference: weakref.ref[EnginePool]) -> None:
    pool = reference()
    if pool is not None:
        pool.close()
