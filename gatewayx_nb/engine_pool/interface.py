"""The user-facing pool: engines and the calls to them."""

from __future__ import annotations

import asyncio
import atexit
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from gatewayx_nb.concurrency import forbid_blocking_call, is_being_cancelled, on_portal_thread
from gatewayx_nb.conversations import Chat, ChatStore
from gatewayx_nb.engine_pool import replay_catalog
from gatewayx_nb.engine_pool.calls import Calls
from gatewayx_nb.engine_pool.freshness import ThrottledCheck
from gatewayx_nb.engine_pool.given import ledger, named
from gatewayx_nb.engine_pool.health import DEADLINE, checkup
from gatewayx_nb.engine_pool.plan import Planner
from gatewayx_nb.engine_pool.probe import Prober, is_listening
from gatewayx_nb.engine_pool.router import CallRouter
from gatewayx_nb.engine_pool.runtime import Runtime
from gatewayx_nb.engine_pool.security import SecurityStatus, security_status
from gatewayx_nb.engine_pool.usage import ModelUsage, UsageTracker
from gatewayx_nb.errors import ConfigError, GatewayError, TransportError
from gatewayx_nb.llm_engines import FEATURES, SAMPLING
from gatewayx_nb.model_registry import EngineStatus, ModelRegistry
from gatewayx_nb.secure_config import Config
from gatewayx_nb.storage import Ledger

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping
    from typing import Self

    from gatewayx_nb.cassettes import Cassette, Mode
    from gatewayx_nb.engine_pool.health import EngineHealth
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.secure_config import KeyDestination, KeyImport
    from gatewayx_nb.storage import LedgerEntry

T = TypeVar("T")

_HEALTH = 1.0
"""Seconds for a server on this machine to answer a health check."""

_LISTING = 10.0
"""Seconds for a provider to list its models."""


class EnginePool(Calls):
    """Owns engines and makes calls to them: from a script, a cell, a thread or an event loop.

    All I/O runs on background event loops, so a pool works the same everywhere and outlives any
    event loop. Before a call, at most once a second, keys, settings and engine files are checked
    for changes.

    Args:
        home: The project folder; if omitted, searched from the current folder upwards.
        env: The environment; if omitted, that of the process.
        engines: Engine instances, in addition to those found as files. An engine is named by its
            ``name``, or after its class.

    Every call takes these keywords:

    ``model``
        A reference, ``"engine"`` or ``"engine:model"``; the default model if omitted.
    ``system``, ``temperature``, ``top_p``, ``max_tokens``, ``stop``, ``seed``
        Sent only if set.
    ``images``
        Paths, bytes, https URLs, matplotlib figures or PIL images; see `images.load`.
    ``schema``
        The structure of the reply: a JSON Schema, a pydantic model, a dataclass or a TypedDict;
        ``reply.parsed`` is the parsed reply. An engine without native support for schemas asks
        for it in the prompt. If the reply does not match, the call asks once more.
    ``params``
        Further parameters, sent unchanged. ``{"drop_unsupported": True}`` removes parameters that
        the model rejects and sends the request again; ``reply.dropped`` lists them.
    ``timeout``
        Seconds for the whole call, instead of ``[limits] timeout`` (600).
    ``chat``
        A conversation or its name: its earlier turns are sent along, and this turn is added to
        it; see `chats.Chat`.
    ``max_cost``, ``allow_unpriced``
        Maximum cost of the call in US dollars. The estimate assumes a token per four characters,
        and ``max_tokens`` (or 1,024) tokens of reply. An unknown price stops the call too, unless
        allowed. ``[limits] max_cost`` limits the total cost of the pool's calls.
    ``fallback``
        References to try in order if the call fails before any of its reply has arrived;
        ``reply.fallback_from`` then names the first. A reply never mixes two engines.
    ``fresh``
        Whether to bypass the open `cassette`.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        engines: Iterable[LLMEngine] = (),
    ) -> None:
        self._config = Config(Path(home) if home is not None else None, env)
        self._registry = ModelRegistry(self._config, named(engines))
        self._figures = UsageTracker(Ledger(ledger(self._config)))
        self._freshness = ThrottledCheck(self._look)
        self._runtime = Runtime(self._registry)
        self.chats = ChatStore(self)
        self._player = CallRouter(
            Planner(self._config, self._registry, self._runtime, self.chats, self._figures)
        )
        atexit.register(_close_at_exit, weakref.ref(self))

    @property
    def config(self) -> Config:
        """The pool's settings and keys."""
        return self._config

    def chat(self, model: str | None = None, *, system: str | None = None, name: str = "") -> Chat:
        """Start a conversation, or continue the named one.

        Args:
            model: Reference of the model; if omitted, the conversation's or the default model.
            system: The system prompt.
            name: Its name, for ``--chat`` and ``chat=``; if omitted, the conversation is private.
        """
        chat = self.chats.get(name) if name else Chat(self)
        chat.model, chat.system = model or chat.model, system or chat.system
        return chat

    def cassette(
        self, path: str | Path, mode: Mode = "auto", *, speed: float | None = None
    ) -> Cassette:
        """Open a file of recorded replies, until it is closed or its ``with`` block ends.

        Failed calls are not recorded. Replayed calls cost nothing and count neither in `usage` nor
        towards a budget.

        Args:
            path: The file, in JSON lines; created with the first reply.
            mode: ``"auto"`` replays recorded calls and records the others. ``"record"`` repeats
                every call and replaces its recording. ``"replay"`` only replays: it starts no
                engine, opens no socket and needs no key, and `status` and `models` describe the
                cassette. ``"off"`` does nothing. The environment variable
                ``GATEWAYX_CASSETTE_MODE`` takes precedence.
            speed: Replay speed relative to the recording; immediate if omitted.

        Raises:
            ConfigError: If the file is missing, unreadable or invalid.
            UsageError: If the mode is invalid.
        """
        return self._player.open(path, mode, speed)

    @property
    def active_cassette(self) -> Cassette | None:
        """The open `cassette`."""
        return self._player.cassette

    def models(self, engine: str | None = None, *, live: bool = False) -> list[ModelInfo]:
        """Return the models that can be called.

        Args:
            engine: An engine's name, to list only its models.
            live: Whether to query the providers, which uses no tokens.

        Raises:
            EngineNotFoundError: If the engine is unknown.
            GatewayError: If the named engine cannot be queried.
        """
        self._freshness.run()
        if replaying := self._player.replaying:
            return replay_catalog.models(replaying, engine)
        if engine is not None:
            self._registry.require_engine(engine)
        if not live:
            listed = self._registry.models()
            return [model for model in listed if engine in (None, model.engine)]
        targets = self._registry.targets(engine)
        asking = self._inquiry(_LISTING).probe_all(targets, lambda asked: asked.models())
        answers = self._inquire(asking)
        if engine is not None:
            for answer in answers.values():
                if isinstance(answer, GatewayError):
                    raise answer
        lists = [answer for answer in answers.values() if not isinstance(answer, GatewayError)]
        return [model for listed in lists for model in listed]

    def status(self, *, probe: bool = True) -> list[EngineStatus]:
        """Return the status of every known engine, including unusable ones with their problem.

        In replay mode, the engines are those of the `cassette` instead of this machine's.

        Args:
            probe: Whether to check which servers on this machine answer; otherwise their last known
                state is used.
        """
        self._freshness.run()
        if replaying := self._player.replaying:
            return replay_catalog.rows(replaying)
        if probe:
            self._registry.note_answering(self._answering())
        return [self._figures.on(row) for row in self._registry.rows()]

    @property
    def ledger(self) -> Path:
        """Path of the file that records the calls."""
        return self._figures.ledger.path

    def usage(self) -> list[ModelUsage]:
        """Return the usage and cost of this pool's calls by engine and model; see `history`."""
        return self._figures.spending()

    def history(self, count: int = 20) -> list[LedgerEntry]:
        """Return the project's latest calls, including those of other kernels; latest first.

        ``.gatewayx/store.sqlite`` stores only figures: no prompts and no replies.

        Raises:
            ConfigError: If the file cannot be read.
        """
        try:
            return self._figures.ledger.last(count)
        except OSError as error:
            place = self._figures.ledger.path
            raise ConfigError(
                f"the ledger {str(place)!r} cannot be read: {error}.",
                hint=f"Move it away: `mv {place} {place}.off`; the next call makes a new one.",
            ) from None

    def security_status(self) -> SecurityStatus:
        """Return where keys come from and who can access the files, without any part of a key.

        Queries git, for at most two seconds, whether it ignores or tracks the key files.
        """
        self._freshness.run()
        rows, started = self._registry.rows(), self._runtime.started()
        return security_status(self._config, rows, self._registry.problems, started)

    def health(self, *names: str) -> list[EngineHealth]:
        """Check that engines work, concurrently; each has 10 s to answer.

        Args:
            *names: Engines; if omitted, every engine that has its key or needs none. Of the servers
                that may run on this machine, only those that accept connections are checked.

        Returns:
            A row for each engine, including those that fail.

        Raises:
            EngineNotFoundError: If a name is unknown.
        """
        forbid_blocking_call("ahealth")
        if replaying := self._player.replaying:
            return replay_catalog.health(replaying, names)
        return self._inquire(self._checkup(names))

    async def ahealth(self, *names: str) -> list[EngineHealth]:
        """Check that engines work; see `health`."""
        if replaying := self._player.replaying:
            return replay_catalog.health(replaying, names)
        try:
            return await self._runtime.shared.arun(self._checkup(names))
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise _closed() from None

    @property
    def problems(self) -> list[str]:
        """Problems with reading or writing the user's files, one line each.

        In replay mode, only those of the open `cassette`.
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
        """Return what a model supports: ``system``, ``images``, ``temperature``, ``seed`` ….

        These are the features declared by the engine's class, which is loaded if necessary; the
        provider is not queried. In replay mode, all features are returned.

        Raises:
            GatewayError: If the engine cannot be used.
        """
        self._freshness.run_if_due()
        if self._player.replaying:
            return FEATURES | SAMPLING
        target = self._registry.resolve(reference)
        engine = target.given or self._registry.load(target).engine
        return frozenset(engine.features) | SAMPLING.difference(engine.lacks)

    def reload(self) -> list[EngineStatus]:
        """Check all files again, forget which engines failed, and return the `status`."""
        self._registry.forget_failures()
        return self.status()

    def default_model(self) -> str:
        """Return the reference used if a call names none.

        Raises:
            ConfigError: If there is no default model.
        """
        self._freshness.run()
        if replaying := self._player.replaying:
            return replay_catalog.default(replaying, self._registry.default)
        return self._registry.default_reference()

    def use(self, reference: str, *, save: bool = False) -> None:
        """Set the default model for this pool or, with ``save``, for the project.

        Raises:
            GatewayError: If the model cannot be called.
        """
        self._freshness.run()
        replaying = self._player.replaying
        if not replaying or not replaying.knows(self._registry.parse_reference(reference).engine):
            self._registry.resolve(reference)
        self._registry.default = reference
        if save:
            self._config.save_default(reference)

    def untrusted_engines(self) -> dict[str, list[KeyDestination]]:
        """Return the engines denied your key, because the project would send it elsewhere.

        Returns:
            The addresses, files and network settings of the project that cause this, by engine.
        """
        self._freshness.run()
        return self._registry.untrusted_engines()

    def trust(self, ways: Mapping[str, Iterable[KeyDestination]]) -> None:
        """Allow the project to use your own keys, by engine and in these ways; see `doubtful`.

        The permission is saved in the user folder, for this project only.
        """
        if self._config.project:
            self._config.trusted.add(self._config.project.root, ways)

    def import_keys(self, source: str | Path, *, user: bool = False) -> KeyImport:
        """Import keys from a ``.env`` file or llm's ``keys.json``; existing keys are kept.

        Args:
            source: The file; its content and permissions are left unchanged.
            user: Whether to import them for all of the user's projects.

        Raises:
            ConfigError: If a file cannot be read or written.
        """
        self._freshness.run()
        return self._config.import_keys(Path(source), self._registry.names(), user=user)

    def refresh(self) -> None:
        """Check immediately whether keys, settings or engine files have changed."""
        self._freshness.run()

    def close(self) -> None:
        """Cancel running calls and close every connection; the next call opens new ones.

        The usage of all calls is flushed to disk.
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
        """Check the user's files for changes, and release engines that were removed."""
        if self._registry.refresh():
            self._runtime.retire_removed()

    def _answering(self) -> list[str]:
        """Return the local servers that answer; most of them do not even accept connections."""
        servers = self._registry.servers()
        if (
            on_portal_thread()
        ):  # called from an engine: its loop, maybe the shared one, must not block
            return []

        async def knock() -> list[bool]:
            return await asyncio.gather(*map(is_listening, servers.values()))

        heard = self._inquire(knock())
        there = [name for name, hears in zip(servers, heard, strict=True) if hears]
        targets = [self._registry.resolve(name) for name in there]
        asking = self._inquiry(_HEALTH).probe_all(targets, lambda asked: asked.health_check())
        answers = self._inquire(asking)
        return [name for name, answer in answers.items() if answer is True]

    def _inquiry(self, patience: float) -> Prober:
        return Prober(self._runtime, self._config.settings.limits.concurrency, patience)

    def _inquire(self, asking: Coroutine[Any, Any, T]) -> T:
        """Wait for the engines' answers to a query."""
        try:
            return self._runtime.shared.run(asking)
        except asyncio.CancelledError:
            raise _closed() from None

    def _checkup(self, names: tuple[str, ...]) -> Coroutine[Any, Any, list[EngineHealth]]:
        self._freshness.run()
        return checkup(self._inquiry(DEADLINE), self._registry, names)


def _closed() -> TransportError:
    return TransportError("the pool was closed while engines were asked.", hint="Ask again.")


def _close_at_exit(reference: weakref.ref[EnginePool]) -> None:
    pool = reference()
    if pool is not None:
        pool.close()
