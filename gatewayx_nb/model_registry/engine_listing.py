"""Lists the available engines and their models, without loading an engine's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import EngineLoadError, UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelInfo, ModelRef
from gatewayx_nb.model_registry import engine_objects, key_trust
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.resolution_errors import engine_not_found
from gatewayx_nb.secure_config import VENDOR_VARIABLES
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry.engine_sources import EngineSource, EngineSources
    from gatewayx_nb.model_registry.engine_status import EngineStatus
    from gatewayx_nb.model_registry.report import Reporter
    from gatewayx_nb.secure_config import Config


@dataclass(frozen=True, slots=True)
class EngineListing:
    """The engines of a pool: its own ones, and those of files, packages and settings.

    Attributes:
        config: Settings and keys.
        sources: The engines of files, packages and settings.
        instances: The pool's own engines by name, which take precedence over all others.
        reporter: Reports the status of the other engines.
    """

    config: Config
    sources: EngineSources
    instances: Mapping[str, LLMEngine]
    reporter: Reporter

    @property
    def engine_names(self) -> Collection[str]:
        """The names of all engines."""
        return self.sources.active.keys() | self.instances.keys()

    def require_engine(self, engine: str) -> None:
        """Check that an engine exists.

        Raises:
            EngineNotFoundError: If it does not exist.
        """
        if not isinstance(engine, str):
            raise UsageError(
                f"the name of an engine must be a str, got {short_repr(engine)}.",
                hint=Hint("list_engines"),
            )
        if engine not in self.instances:
            self.find(engine)

    def find(self, engine: str) -> EngineSource:
        """Return where an engine comes from; the pool's own engines are not searched.

        Raises:
            EngineNotFoundError: If no engine has this name.
            EngineLoadError: If the engine's code must not be executed.
        """
        source = self.sources.active.get(engine)
        if source is None:
            names = (*self.sources.active, *self.instances)
            raise engine_not_found(engine, self.config, names, self.models)
        if source.refusal_reason:
            raise EngineLoadError(
                f"engine {source.name!r} is refused: {source.where} {source.refusal_reason}.",
                hint="Fix that, then try again.",
                engine=source.name,
            )
        return source

    def rows(self) -> list[EngineStatus]:
        """List all known engines by name, including unusable ones."""
        sources = (*self._other_sources(), *self.sources.shadowed)
        rows = [
            *map(engine_objects.status, self.instances.values()),
            *map(self.reporter.status, sources),
        ]
        return sorted(rows, key=lambda row: (row.name, row.state == "shadowed"))

    def models(self) -> list[ModelInfo]:
        """List the models that can be called now."""
        models = [
            model
            for source in self._other_sources()
            for model in self.reporter.callable_models(source)
        ]
        # The default model of an engine comes first.
        return sorted(
            [*map(engine_objects.default_model, self.instances.values()), *models],
            key=lambda model: (model.engine, not model.default),
        )

    def default_model(self, engine: str) -> str:
        """Return an engine's default model; empty if unknown.

        The engine's code is not run.
        """
        if instance := self.instances.get(engine):
            return engine_objects.default_model(instance).model
        source = self.sources.active.get(engine)
        return self.reporter.default_model(source) if source else ""

    def api_keys(self) -> dict[str, str]:
        """Return the API keys of the pool's own engines, by engine name."""
        keys = {name: getattr(engine, "api_key", "") for name, engine in self.instances.items()}
        return {name: str(key) for name, key in keys.items() if key}

    def is_project_engine(self, name: str) -> bool:
        """Return whether an engine is called only if it is named; see `key_trust`."""
        source = self.sources.active.get(name)
        if source is None or name in self.instances:
            return False
        return key_trust.is_project_engine(source, self.config)

    def servers(self) -> dict[str, str]:
        """Return the base URLs of engine entries that need no key, by name."""
        return {
            entry.name: str(self.config.options(entry.name).get("base_url") or entry.base_url)
            for entry in self.sources.active.values()
            if isinstance(entry, EngineEntry)
            and not (
                entry.refusal_reason or entry.requires_key or self.is_project_engine(entry.name)
            )
        }

    def engine_by_name(self) -> dict[str, str]:
        """Map engine names, aliases and vendor variables to engines.

        The project's entries and aliases are ignored, because they could claim any of the user's
        keys. A vendor's variable always belongs to the shipped engine.
        """
        # If several entries have the same variable, the last one wins; shipped entries come last.
        entries = self.sources.entries_outside_project()
        engine_by_key_variable = {entry.key: entry.name for entry in entries if entry.key}
        engine_by_vendor_variable = {
            name: engine for engine, names in VENDOR_VARIABLES.items() for name in names
        }
        # An upper-case name cannot be an engine; it is another program's variable.
        engine_names = {name: name for name in self.engine_names if not name.isupper()}
        user_aliases = self.config.user_settings.aliases
        engine_by_alias = {
            name: ModelRef.parse(target).engine for name, target in user_aliases.items()
        }
        return {
            **engine_by_alias,
            **engine_by_key_variable,
            **engine_by_vendor_variable,
            **engine_names,
        }

    def unknown_settings(self) -> list[str]:
        """Return the problems of settings for unknown engines, one line each."""
        settings, known_names = self.config.settings, [*self.sources.active, *self.instances]
        tables = {f"[engines.{name}]": name for name in settings.engines}
        aliases = {
            f"[aliases] {alias}": ModelRef.parse(target).engine
            for alias, target in settings.aliases.items()
        }
        return [
            f"{setting} in the settings: no engine is called {name!r}."
            f"{did_you_mean(name, known_names)}"
            for setting, name in (tables | aliases).items()
            if name not in known_names
        ]

    def _other_sources(self) -> list[EngineSource]:
        """Return all engines except those passed to the pool."""
        active_sources = self.sources.active
        return [source for name, source in active_sources.items() if name not in self.instances]
