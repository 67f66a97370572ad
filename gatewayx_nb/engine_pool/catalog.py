"""Lists engines and models with their state, on this machine or in a replayed cassette."""

from __future__ import annotations

import math
import time
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from typing_extensions import override

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.concurrency import on_portal_thread
from gatewayx_nb.engine_pool.health import (
    HEALTH_COLUMNS,
    HEALTH_TIMEOUT,
    EngineHealth,
    check_health,
)
from gatewayx_nb.engine_pool.host import typed_errors
from gatewayx_nb.engine_pool.probe import Prober, is_healthy, list_models, listening_servers
from gatewayx_nb.errors import ConfigError, GatewayError
from gatewayx_nb.hints import Hint
from gatewayx_nb.llm_engines import FEATURES, SAMPLING
from gatewayx_nb.model_registry import EngineStatus, engine_table
from gatewayx_nb.text import size_text

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.engine_pool.runtime import Runtime
    from gatewayx_nb.engine_pool.usage import UsageTracker
    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.model_registry import ModelRegistry
    from gatewayx_nb.secure_config import Config

REFRESH_INTERVAL = 1.0
"""Minimum seconds between two checks for changed files before calls.

Commands and magics always check.
"""

_PROBE_TIMEOUT = 1.0
"""Timeout in seconds for a query to a server on this machine."""

_LISTING_TIMEOUT = 10.0
"""Timeout in seconds for listing a provider's models."""


def _reference_cell(row: ModelInfo) -> str:
    return row.engine if row.default else str(row)


def _size_cell(row: ModelInfo) -> str:
    return "" if row.size is None else size_text(row.size)


_MODEL_COLUMNS: tuple[TableColumn[ModelInfo], ...] = (
    TableColumn("reference", _reference_cell, is_code=True),
    TableColumn("model", attrgetter("model")),
    TableColumn("size", _size_cell, "right", optional=True),
)


class Catalog(Protocol):
    """Lists engines, their models and their state."""

    @property
    def problems(self) -> list[str]:
        """Problems with the user's files, each a one-line message."""

    def models(self, engine: str | None, *, live: bool) -> Table[ModelInfo]:
        """Return the callable models of one engine, or of all engines if ``engine`` is ``None``."""

    def status(self, *, probe: bool) -> Table[EngineStatus]:
        """Return a row for each engine."""

    def health(self, names: Sequence[str]) -> Coroutine[Any, Any, Table[EngineHealth]]:
        """Return a coroutine that checks engines and returns a row for each."""

    def features(self, reference: str) -> frozenset[str]:
        """Return the features that a model supports."""

    def default_model(self) -> str:
        """Return the reference that is used for calls without one."""

    def check_default(self) -> None:
        """Raise an error if a call without a reference cannot be made."""

    def check_reference(self, reference: str) -> None:
        """Raise an error if the reference cannot be called."""


class LiveCatalog(Catalog):
    """The engines of this machine."""

    def __init__(
        self, config: Config, registry: ModelRegistry, runtime: Runtime, usage: UsageTracker
    ) -> None:
        self._config, self._registry, self._runtime, self._usage = config, registry, runtime, usage
        self._refreshed_at = time.monotonic()

    def refresh(self) -> None:
        """Check for changed keys, settings and engine files; retire engines that were removed."""
        self._refreshed_at = time.monotonic()
        if self._registry.refresh():
            self._runtime.retire_removed()

    def expect_changes(self) -> None:
        """Make the next call refresh, even if the last refresh was recent."""
        self._refreshed_at = -math.inf

    def refresh_if_due(self) -> None:
        """Refresh unless the last refresh was less than `REFRESH_INTERVAL` ago."""
        if time.monotonic() - self._refreshed_at >= REFRESH_INTERVAL:
            self.refresh()

    @property
    @override
    def problems(self) -> list[str]:
        """Problems with the user's files, each a one-line message."""
        return [*self._registry.problems, *filter(None, [self._usage.ledger.problem])]

    @override
    def models(self, engine: str | None, *, live: bool) -> Table[ModelInfo]:
        """Return the callable models; if ``live``, the models that the providers list."""
        if engine is not None:
            self._registry.engines.require_engine(engine)
        if not live:
            models = self._registry.engines.models()
            return Table((row for row in models if engine in (None, row.engine)), _MODEL_COLUMNS)
        targets = self._registry.targets(engine)
        prober = self._prober(_LISTING_TIMEOUT)
        result_by_engine = self._runtime.run(prober.probe_all(targets, list_models))
        failure = result_by_engine.get(engine) if engine is not None else None
        if isinstance(failure, GatewayError):
            raise failure
        # If no engine is named, a failing engine must not hide the other engines' models.
        model_lists = [
            result for result in result_by_engine.values() if not isinstance(result, GatewayError)
        ]
        return Table((model for models in model_lists for model in models), _MODEL_COLUMNS)

    @override
    def status(self, *, probe: bool) -> Table[EngineStatus]:
        """Return a row for each engine, with the totals of its calls."""
        if probe:
            self._registry.note_running_servers(self._answering_servers())
        rows = map(self._usage.with_totals, self._registry.engines.rows())
        return engine_table(rows, self.problems)

    @override
    def health(self, names: Sequence[str]) -> Coroutine[Any, Any, Table[EngineHealth]]:
        """Return a coroutine that checks engines concurrently."""
        self.refresh()
        return check_health(self._prober(HEALTH_TIMEOUT), self._registry, names, self._usage)

    @override
    def features(self, reference: str) -> frozenset[str]:
        """Return the features of a model; load the engine's class if necessary."""
        target = self._registry.resolve(reference)
        with typed_errors(target):
            engine = target.instance or self._registry.load(target)
            features = self._registry.model_features(target, frozenset(engine.features))
            return features | SAMPLING.difference(engine.unsupported_options)

    @override
    def default_model(self) -> str:
        """Return the reference that is used for calls without one."""
        return self._registry.references.default_reference()

    @override
    def check_default(self) -> None:
        """Raise an error if a call without a reference cannot be made."""
        self._registry.resolve(None)

    @override
    def check_reference(self, reference: str) -> None:
        """Raise an error if the reference cannot be called."""
        self._registry.resolve(reference)

    def _answering_servers(self) -> list[str]:
        """Return the names of the engines whose local server responds."""
        if on_portal_thread():  # called by an engine, whose loop must not wait for itself
            return []
        # Connecting is cheaper than starting the engine, and most servers are not running.
        running_names = self._runtime.run(listening_servers(self._registry.engines.servers()))
        targets = [self._registry.resolve(name) for name in running_names]
        prober = self._prober(_PROBE_TIMEOUT)
        health_checks = prober.probe_all(targets, is_healthy)
        result_by_engine = self._runtime.run(health_checks)
        return [name for name, result in result_by_engine.items() if result is True]

    def _prober(self, timeout: float) -> Prober:
        return Prober(self._runtime, timeout)


class ReplayCatalog(Catalog):
    """The engines of a replayed cassette, which are the same on every machine.

    Args:
        cassette: The cassette.
        registry: Provides the chosen default model and the names of all engines.
    """

    def __init__(self, cassette: Cassette, registry: ModelRegistry) -> None:
        self._cassette, self._registry = cassette, registry

    @property
    @override
    def problems(self) -> list[str]:
        """The cassette's problem, if it has one."""
        return list(filter(None, [self._cassette.problem]))

    @override
    def models(self, engine: str | None, *, live: bool) -> Table[ModelInfo]:
        """Return the models that were recorded."""
        models = self._cassette.index.models()
        return Table((row for row in models if engine in (None, row.engine)), _MODEL_COLUMNS)

    @override
    def status(self, *, probe: bool) -> Table[EngineStatus]:
        """Return a row for each engine that was recorded, with its models."""
        models_by_engine: dict[str, list[str]] = {}
        for model in self._cassette.index.models():
            models_by_engine.setdefault(model.engine, []).append(model.model)
        model_names_by_engine = {
            engine: ", ".join(filter(None, names)) for engine, names in models_by_engine.items()
        }
        rows = (
            EngineStatus(engine, model_names, "not needed", "replay", "cassette", loaded=True)
            for engine, model_names in model_names_by_engine.items()
        )
        return engine_table(rows, self.problems)

    @override
    async def health(self, names: Sequence[str]) -> Table[EngineHealth]:
        """Return a row for each engine, without a check."""
        recorded_names = dict.fromkeys(model.engine for model in self._cassette.index.models())
        missing_error = "not in the cassette"
        rows = (
            EngineHealth(
                name, name in recorded_names, error="" if name in recorded_names else missing_error
            )
            for name in names or recorded_names
        )
        return Table(rows, HEALTH_COLUMNS)

    @override
    def features(self, reference: str) -> frozenset[str]:
        """Return all features, because a cassette may contain any call."""
        return FEATURES | SAMPLING

    @override
    def default_model(self) -> str:
        """Return the chosen default model or, if none is chosen, that of the recorded calls.

        Raises:
            ConfigError: If every recorded call names its model.
        """
        reference = self._registry.references.default or self._cassette.index.default_reference()
        if reference is None:
            raise ConfigError(
                "the cassette has no default model: each recorded call names its own.",
                hint=Hint("list_models"),
            )
        return reference

    @override
    def check_default(self) -> None:
        """Do nothing, because no engine is called."""

    @override
    def check_reference(self, reference: str) -> None:
        """Raise an error if the reference is neither recorded nor callable on this machine."""
        if not self._cassette.index.has_engine(self._registry.references.parse(reference).engine):
            self._registry.resolve(reference)
