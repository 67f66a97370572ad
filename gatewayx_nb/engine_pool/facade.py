"""Defines `EnginePool`, which owns engines and makes calls to them."""

from __future__ import annotations

import atexit
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import override

from gatewayx_nb.batch import RowCaller
from gatewayx_nb.calls import Caller, Table, ToolCaller, check_options
from gatewayx_nb.comparisons import Comparer
from gatewayx_nb.concurrency import forbid_blocking_call
from gatewayx_nb.conversations import Chat, ChatStore
from gatewayx_nb.engine_pool.catalog import LiveCatalog, ReplayCatalog
from gatewayx_nb.engine_pool.day_budget import DayBudget
from gatewayx_nb.engine_pool.health import check_names
from gatewayx_nb.engine_pool.live_planner import LivePlanner
from gatewayx_nb.engine_pool.pool_map_host import PoolMapHost
from gatewayx_nb.engine_pool.preview import Previewer
from gatewayx_nb.engine_pool.router import CallRouter, cassette_path
from gatewayx_nb.engine_pool.runtime import Runtime, close_at_exit, close_runtime
from gatewayx_nb.engine_pool.security import SecurityStatus, security_status
from gatewayx_nb.engine_pool.usage import HISTORY_COLUMNS, ModelUsage, UsageTracker
from gatewayx_nb.files import existing_folder
from gatewayx_nb.mcp_client import MCPServers, close_servers_at_exit
from gatewayx_nb.mcp_server import MCPServer
from gatewayx_nb.model_registry import EngineStatus, ModelRegistry
from gatewayx_nb.secure_config import Config
from gatewayx_nb.storage import Ledger, ledger_path
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from gatewayx_nb.calls import CallOptions, PlannedCall
    from gatewayx_nb.cassettes import Cassette, Mode
    from gatewayx_nb.engine_pool.catalog import Catalog
    from gatewayx_nb.engine_pool.embeddings import Vectors
    from gatewayx_nb.engine_pool.health import EngineHealth
    from gatewayx_nb.engine_pool.live_planner import LiveCall
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.mcp_client import MCPServerStatus
    from gatewayx_nb.messages import ModelInfo, Prompt
    from gatewayx_nb.replies import Reply
    from gatewayx_nb.secure_config import ConfirmImport, KeyImport, Permission
    from gatewayx_nb.storage import LedgerEntry, UsageKey, UsageTotals


_FLUSH_TIMEOUT = 0.2
"""Seconds that closing a pool waits for daily costs to be written; writing continues later."""


def _passed_arguments(env: object, engines: object) -> list[str]:
    """Return the names of the passed arguments, which a worker process cannot read from a file."""
    is_passed_by_name = {"env=": env is not None, "engines=": engines not in ((), [])}
    return [name for name, is_passed in is_passed_by_name.items() if is_passed]


class EnginePool(Caller, ToolCaller, Comparer, Previewer, RowCaller):
    """Owns engines and makes calls to them, from a script, a cell, a thread or an event loop.

    All I/O runs on background event loops, so a pool works the same everywhere and outlives any
    event loop. Keys, settings and engine files are checked for changes before a call, at most once
    a second.

    Args:
        home: The project folder, which must exist; by default, the nearest one at or above the
            current folder.
        env: The environment variables; by default, those of the process.
        engines: Engine instances, in addition to those found as files. An engine's name is its
            ``name`` or is derived from its class.

    Raises:
        UsageError: If ``home`` is not an existing folder, or ``engines`` contains anything but
            engines.
        ConfigError: If the settings are invalid.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        engines: LLMEngine | Iterable[LLMEngine] = (),
    ) -> None:
        folder = None if home is None else existing_folder(home, "home")
        self._config = config = Config(folder, env)
        self._registry = registry = ModelRegistry(config, engines)
        self._usage = usage = UsageTracker(Ledger(ledger_path(config)), DayBudget(config))
        self._runtime = runtime = Runtime(registry)
        self._live_catalog = LiveCatalog(config, registry, runtime, usage)
        self._servers = MCPServers(config)
        self._create_router(_passed_arguments(env, engines))
        self._close_at_exit()

    def _create_router(self, passed_arguments: list[str]) -> None:
        # Pass a function, because the router does not exist yet: creating it requires the store.
        self.chats = chats = ChatStore(lambda: self._router)
        config, registry, runtime = self._config, self._registry, self._runtime
        planner = LivePlanner(config, registry, runtime, chats, self._usage, self._servers)
        refresh = self._live_catalog.refresh_if_due
        self._router = router = CallRouter(planner, refresh)
        self._map_host = PoolMapHost(router, planner, refresh, passed_arguments, type(self))

    def _close_at_exit(self) -> None:
        """Register callbacks that close the pool when it is garbage-collected, or at exit."""
        # Calls of a garbage-collected pool still finish. No callback may keep the pool alive.
        runtime, servers = self._runtime, self._servers
        weakref.finalize(self, runtime.retire).atexit = False
        atexit.register(close_at_exit, weakref.ref(runtime), weakref.ref(self._usage.ledger))
        weakref.finalize(self, servers.close, wait=False).atexit = False
        atexit.register(close_servers_at_exit, weakref.ref(servers))

    def embed(self, texts: Iterable[str], model: str) -> Vectors:
        """Return the embeddings of texts as a float32 array of shape (texts, dimensions).

        If there are 100 or more texts, equal texts are embedded once, and embeddings are stored as
        they arrive. A second call, even after an error or a restart, requests only the missing
        embeddings.

        Args:
            texts: The texts, such as a list or a column of a DataFrame; no text may be empty.
            model: Reference of the model; if it names only an engine, the default embedding model
                of the engine is used.

        Raises:
            GatewayError: If a request fails.
        """
        forbid_blocking_call("aembed")
        return self._runtime.run(self._router.embed(texts, model, self._map_host.results))

    async def aembed(self, texts: Iterable[str], model: str) -> Vectors:
        """Return the embeddings of texts; see `embed`.

        Args:
            texts: The texts; no text may be empty.
            model: Reference of the model; if it names only an engine, the default embedding model
                of the engine is used.
        """
        return await self._runtime.arun(self._router.embed(texts, model, self._map_host.results))

    def chat(self, model: str | None = None, *, system: str | None = None, name: str = "") -> Chat:
        """Start a conversation, or continue the named one.

        See also: the guide ``conversations``.

        Args:
            model: Reference of the model; if omitted, the conversation's model or the default
                model.
            system: The system prompt.
            name: Name of the conversation, for ``--chat`` and ``chat=``; if omitted, only the
                returned object can continue the conversation.

        Raises:
            UsageError: If an argument is not a str.
            EngineNotFoundError: If the model's engine does not exist.
        """
        check_options({"model": model, "system": system})
        if model is not None:
            self._live_catalog.refresh_if_due()
            self._router.check_reference(model)
        chat = self.chats.get(name) if name else self.chats.create()
        chat.model, chat.system = model or chat.model, system or chat.system
        return chat

    def cassette(
        self, path: str | Path, mode: Mode | None = None, *, speed: float | None = None
    ) -> Cassette:
        """Use a file of recorded replies until it is closed or the ``with`` block ends.

        See also: the guides ``cassettes`` and ``testing-notebooks``.

        Failed calls are not recorded. Replayed calls cost nothing, and count neither in `usage` nor
        towards a budget.

        Args:
            path: The file, in JSON Lines format; created when the first reply is recorded.
            mode: ``"auto"``, the default, replays recorded calls and records the others.
                ``"record"`` repeats every call and replaces its recording if the answer differs.
                ``"replay"``, the default if the environment variable ``CI`` is set, only replays:
                it starts no engine, opens no socket and needs no key, and `status` and `models`
                describe the cassette. ``"off"`` does nothing. The environment variable
                ``GATEWAYX_CASSETTE_MODE`` takes precedence.
            speed: Replay speed relative to the recording; if omitted, replies are immediate.

        Raises:
            ConfigError: If the file is missing, unreadable or invalid.
            UsageError: If the path or the mode is invalid.
        """
        return self._router.open(cassette_path(path), mode, speed)

    @property
    def active_cassette(self) -> Cassette | None:
        """The open `cassette`, or ``None``."""
        return self._router.cassette

    @property
    def config(self) -> Config:
        """The pool's settings and keys."""
        return self._config

    def models(self, engine: str | None = None, *, live: bool = False) -> Table[ModelInfo]:
        """Return the models that can currently be called.

        Args:
            engine: Name of an engine; if omitted, the models of all engines are returned.
            live: Whether to query the providers, which spends no tokens.

        Raises:
            EngineNotFoundError: If the engine does not exist.
            GatewayError: If the named engine cannot be queried.
        """
        self.refresh()
        return self._catalog.models(engine, live=live)

    def status(self, *, probe: bool = True) -> Table[EngineStatus]:
        """Return a row for each known engine; the row of an unusable engine states its problem.

        While a `cassette` is replayed, the rows describe the recorded engines.

        Args:
            probe: Whether to query servers on this machine; if false, their last known state is
                returned.
        """
        self.refresh()
        return self._catalog.status(probe=probe)

    def mcp_servers(self, name: str | MCPServer | None = None) -> list[MCPServerStatus]:
        """Return the MCP servers in the settings, and those that calls have used.

        See also: the guide ``mcp-servers``.

        Args:
            name: A server or its name, to start it and list its tools; if omitted, all servers are
                returned, and none is started.

        Raises:
            GatewayError: If the server is unknown, not allowed or cannot be started.
        """
        if name is None:
            self.refresh()
            return self._servers.states()
        server = name if isinstance(name, MCPServer) else self._named_server(name)
        return [self._runtime.run(self._router.list_server(server))]

    def _named_server(self, name: str) -> MCPServer:
        used_servers = (
            state.server for state in self._servers.states() if state.server.name == name
        )
        return next(used_servers, MCPServer(name.removeprefix("mcp:")))

    def health(self, *names: str) -> Table[EngineHealth]:
        """Check concurrently that engines work; each has 10 seconds to answer.

        Args:
            *names: Names of engines; if omitted, every engine that has its key or needs no key.
                Local servers are checked only if they are running.

        Returns:
            A row for each engine, including failing ones.

        Raises:
            EngineNotFoundError: If an engine does not exist.
        """
        forbid_blocking_call("ahealth")
        return self._runtime.run(self._catalog.health(check_names(names)))

    async def ahealth(self, *names: str) -> Table[EngineHealth]:
        """Check that engines work; see `health`.

        Args:
            *names: Names of engines; if omitted, every engine that has its key or needs no key.
        """
        return await self._runtime.arun(self._catalog.health(check_names(names)))

    @property
    def problems(self) -> list[str]:
        """Problems with the user's files, each a one-line message.

        While a `cassette` is replayed, only the cassette's problem is returned.
        """
        cassette = self.active_cassette
        problems = self._catalog.problems
        if cassette is not None and self._router.replayed_cassette is None:
            problems = [*problems, *filter(None, [cassette.problem, cassette.warning])]
        return list(map(plain, problems))  # problems may quote a file

    def features(self, reference: str) -> frozenset[str]:
        """Return the features of a model, such as ``system``, ``images`` and ``temperature``.

        These are declared by the engine's class, which is loaded if necessary; the provider is not
        queried. While a `cassette` is replayed, every feature is returned.

        Raises:
            GatewayError: If the engine cannot be used.
        """
        self._live_catalog.refresh_if_due()
        return self._catalog.features(reference)

    def reload(self) -> Table[EngineStatus]:
        """Check all files again, including those of failed engines, and return the `status`."""
        self._registry.forget_failures()
        return self.status()

    def refresh(self) -> None:
        """Check now whether keys, settings or engine files have changed."""
        self._live_catalog.refresh()

    def default_model(self, *, to_call: bool = False) -> str:
        """Return the reference that is used for calls without one.

        Args:
            to_call: Whether the reference will be passed to calls; it then needs the same
                permission as calls without a reference.

        Raises:
            ConfigError: If there is no default model, or ``to_call`` is true and the default model
                cannot be called.
        """
        self.refresh()
        if to_call:
            self._catalog.check_default()
        return self._catalog.default_model()

    @property
    def chosen_default(self) -> str | None:
        """The default model set by `use` or the settings; ``None`` if it depends on the keys."""
        return self._registry.references.default or self._config.settings.default_model

    def use(self, reference: str, *, save: bool = False) -> None:
        """Make a reference this pool's default model.

        Args:
            reference: ``"engine"`` or ``"engine:model"``.
            save: Whether to save the default model in the settings as well.

        Raises:
            GatewayError: If the reference cannot be called.
        """
        self.refresh()
        self._catalog.check_reference(reference)
        self._registry.references.default = reference
        if save:
            self._config.save_default(reference)
            self._registry.allow_default()

    @overload
    def usage(self, by: None = None, *, days: None = None) -> Table[ModelUsage]: ...

    @overload
    def usage(
        self, by: UsageKey | None = None, *, days: int | None = None
    ) -> Table[UsageTotals]: ...

    def usage(
        self, by: UsageKey | None = None, *, days: int | None = None
    ) -> Table[ModelUsage] | Table[UsageTotals]:
        """Return the totals of this pool's calls by engine and model, or of all past calls.

        See also: the guide ``costs-and-budgets``.

        With an argument, the totals are computed from the `ledger`, which contains all of the
        project's calls, including those of other kernels and earlier sessions. Each request of a
        map counts as a call. `history` lists individual calls.

        Args:
            by: The field by which past calls are grouped: ``"day"``, ``"engine"``, ``"model"`` or
                ``"job"``. Days are in local time.
            days: Number of days to include, counting today; all if omitted.

        Raises:
            UsageError: If an argument is invalid.
            ConfigError: If the ledger cannot be read.
        """
        if by is None and days is None:
            return self._usage.totals()
        return self._usage.past_totals("model" if by is None else by, days)

    def history(self, count: int = 20) -> Table[LedgerEntry]:
        """Return the project's last calls, including those from other kernels, newest first.

        The `ledger` contains usage and cost, but neither prompts nor answers.

        Args:
            count: Maximum number of calls.

        Raises:
            UsageError: If ``count`` is not an int >= 0.
            ConfigError: If the ledger cannot be read.
        """
        return Table(self._usage.history(count), HISTORY_COLUMNS)

    @property
    def ledger(self) -> Path:
        """The file in which calls are recorded, ``.gatewayx/store.sqlite``."""
        return self._usage.ledger.path

    def security_status(self) -> SecurityStatus:
        """Return where keys are set, and who can read and change the files that contain keys.

        The result contains no keys.

        Git is queried for at most two seconds, to find out whether it ignores or tracks key files.
        """
        self.refresh()
        engine_rows, started_engines = (
            self._registry.engines.rows(),
            self._runtime.started_engines(),
        )
        return security_status(self._config, engine_rows, self._registry.problems, started_engines)

    def untrusted_engines(self) -> dict[str, list[Permission]]:
        """Return the permissions that the project's files need and the user has not granted.

        Returns:
            The hosts, files and network settings that need permission, keyed by the name of the
            engine or by ``[cassettes] redact``.
        """
        self.refresh()
        return self._registry.missing_permissions()

    def trust(self, permissions: Mapping[str, Iterable[Permission]]) -> None:
        """Grant permissions that `untrusted_engines` or `key_destinations` returned.

        Permissions are saved in the user folder and apply to this project only. They remain valid
        if a file is edited; another name, path or host needs a new permission.
        """
        self._config.allow(permission for group in permissions.values() for permission in group)
        self.refresh()

    def key_destinations(
        self, *engines: str, untrusted: bool = False, named: bool = False
    ) -> dict[str, list[Permission]]:
        """Return the hosts and files to which the project's files send engines' keys.

        Args:
            *engines: Names of engines.
            untrusted: Whether to return only the destinations that the user must allow before a key
                is stored.
            named: Whether the user named the engines; engines that only the project defines then
                need no permission.
        """
        self.refresh()
        return self._registry.key_destinations(engines, untrusted=untrusted, named=named)

    def import_keys(
        self, source: str | Path, *, user: bool = False, confirm: ConfirmImport | None = None
    ) -> KeyImport:
        """Import keys from a ``.env`` file or llm's ``keys.json``; existing keys are kept.

        Args:
            source: The file; neither its content nor its permissions are changed.
            user: Whether to import the keys for all of the user's projects.
            confirm: A function that is called before anything is written, and can raise an error
                to cancel the import. Its argument has the imported engines' names as ``keys`` and
                the imported ``base_urls``. By default, the `key_destinations` of keys imported into
                the project must already be allowed, and an engine's base URL is imported only if
                its key is imported too and no other key is set for the engine.

        Raises:
            ConfigError: If a file cannot be read or written.
            TrustError: If a destination of a key is not allowed; nothing is written.
        """
        self.refresh()
        engines, check_import = self._registry.engines.engine_by_name(), self._registry.check_import
        return self._config.import_keys(Path(source), engines, confirm or check_import, user=user)

    def close(self) -> None:
        """Cancel running calls, close all connections and write the ledger.

        The pool remains usable. Closing takes at most two seconds, even if an engine is blocked.
        """
        self._servers.close()
        close_runtime(self._runtime, self._usage.ledger)
        self._map_host.close()
        self._usage.day_budget.flush(_FLUSH_TIMEOUT)

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
        # Loops and connections cannot be pickled; a worker process creates its own pool for the
        # project.
        project = self._config.project
        return (EnginePool, (project.root if project else None,))

    @override
    def _plan(self, prompt: Prompt, options: CallOptions, *, streamed: bool) -> PlannedCall:
        return self._router.plan(prompt, options, streamed=streamed)

    @override
    def _plan_resumed(
        self, reply: Reply, options: CallOptions, results: Mapping[str, object] | None
    ) -> PlannedCall:
        return self._router.plan_resumed(reply, options, results)

    @override
    def _plan_live(self, prompt: Prompt, options: CallOptions) -> LiveCall:
        return self._router.plan_live(prompt, options)

    @property
    @override
    def _comparison_planner(self) -> CallRouter:
        self._live_catalog.refresh_if_due()
        return self._router

    @property
    @override
    def _maps(self) -> PoolMapHost:
        return self._map_host

    def _take_over(self, old: EnginePool) -> None:
        """Take over the state of another pool; running calls of the other pool finish there."""
        self._registry.references.default = old._registry.references.default
        self.chats.adopt(old.chats)
        self._usage.continue_from(old._usage)
        self._router.adopt_cassettes(old._router)
        old._runtime.retire()
        old._servers.close(wait=False)

    @property
    def _catalog(self) -> Catalog:
        cassette = self._router.replayed_cassette
        # Evaluated for each call, because the open cassette may have changed.
        return ReplayCatalog(cassette, self._registry) if cassette else self._live_catalog
