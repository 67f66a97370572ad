"""Engine files and keys, reference resolution, and reports of unusable engines."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gatewayx_nb.errors import (
    ConfigError,
    EngineLoadError,
    EngineNotFoundError,
    GatewayError,
    MissingKeyError,
    UsageError,
    did_you_mean,
)
from gatewayx_nb.messages import ModelInfo, ModelRef
from gatewayx_nb.model_registry import trust
from gatewayx_nb.model_registry.code import EngineCode
from gatewayx_nb.model_registry.packages import EnginePackage
from gatewayx_nb.model_registry.report import LOCAL, Reporter
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.model_registry.sources import Sources
from gatewayx_nb.model_registry.status import EngineStatus, Target
from gatewayx_nb.secure_config import SHIPPED_ALIASES, VENDOR_VARIABLES, Secret, key_variable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry.loader import LoadedEngine
    from gatewayx_nb.model_registry.sources import Source
    from gatewayx_nb.secure_config import Config, KeyDestination, KeyState

MOCK = "mock"
"""The engine that must be named; it is never the default."""

_WITHOUT_KEY = "`%gatewayx pull smollm2` gets a model that needs none"


class ModelRegistry:
    """The available engines.

    Args:
        config: Settings and keys.
        given: The pool's own engines, which take precedence over all files.
    """

    def __init__(self, config: Config, given: Mapping[str, LLMEngine]) -> None:
        self._config = config
        self._given = given
        self._sources = Sources(config)
        self._code = EngineCode()
        self._report = Reporter(config, self._sources, self._code)
        self.default: str | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Check folders, keys and settings again; return whether anything changed."""
        self._code.look_again()
        changed = self._config.refresh()
        if self._sources.refresh():
            changed = True
            self._code.keep_only(set(self._sources.winners.values()))
        return changed

    @property
    def problems(self) -> list[str]:
        """Unreadable user files and settings without effect, one line each."""
        distrust = self._config.trusted.problem
        return [
            *self._config.keys.problems,
            *([str(distrust)] if distrust else []),
            *self._sources.problems,
            *self._unknown_settings(),
        ]

    def forget_failures(self) -> None:
        """Clear the failures of engine files, so that the next use tries again."""
        self._code.forget_failures()

    def resolve(self, reference: str | None) -> Target:
        """Return the target of a reference, or the default one.

        Raises:
            EngineNotFoundError: If the engine does not exist.
            EngineLoadError: If its file must not be executed.
            MissingKeyError: If it needs a key that is not set.
            ConfigError: If there is no default or it is ambiguous.
        """
        wanted = self.default_reference() if reference is None else reference
        ref = self.parse_reference(wanted)
        if ref.engine in self._given:
            return self._target(ref, None, Secret(""))
        source = self._find(ref)
        key = self._report.key(source)
        if key.state != "set" and self._needs_key(source):
            raise self._no_key(ref.engine, key.state)
        trust.check(source, key, self._sources, self._config)
        return self._target(ref, source, key.value)

    def parse_reference(self, reference: str) -> ModelRef:
        """Return the engine and model of a reference, whether or not they are available.

        Raises:
            UsageError: If it is not a string.
            ConfigError: If it is empty and there is no default.
        """
        if not isinstance(reference, str):
            raise UsageError(
                f"model is {reference!r}; expected a text.",
                hint='For instance `model="grok"`.',
            )
        return ModelRef.parse(self._expand_alias(reference or self.default_reference()))

    def current(self, target: Target) -> LoadedEngine | None:
        """Return an engine's code if it is loaded and was unchanged at the last check."""
        return self._code.current(target.source) if target.source else None

    def load(self, target: Target) -> LoadedEngine:
        """Return an engine's code, loading it if it is not loaded or has changed.

        Raises:
            EngineLoadError: If the file cannot be used.
        """
        source = target.source
        if source is None:  # pragma: no cover - the pool's own engines are never loaded
            raise EngineLoadError(f"engine {target.name!r} has no file.")
        return self._code.load(source, target.key)

    def untrusted_engines(self) -> dict[str, list[KeyDestination]]:
        """Return engines for which the project would decide where a user key is sent."""
        found = {
            source.name: trust.untrusted_destinations(
                source, self._report.key(source), self._sources, self._config
            )
            for source in self._sources.winners.values()
        }
        return {name: ways for name, ways in found.items() if ways}

    def note_unusable(self, target: Target, why: str) -> None:
        """Keep the reason why an engine has no instance, for its status row."""
        if target.source:
            self._code.note_unmade(target.source, why)

    def note_usable(self, target: Target) -> None:
        """Clear the reason why an instance could not be made."""
        if target.source:
            self._code.note_made(target.source)

    def servers(self) -> dict[str, str]:
        """Return the base URLs of the engines that need no key, by name."""
        winners = self._sources.winners.values()
        rows = [row for row in winners if isinstance(row, EngineRow) and not row.refusal]
        return {
            row.name: str(self._config.options(row.name).get("base_url") or row.base_url)
            for row in rows
            if not row.requires_key
        }

    def note_answering(self, names: Iterable[str]) -> None:
        """Keep which of the `servers` responded to the last probe."""
        self._report.answering = frozenset(names)

    def default_reference(self) -> str:
        """Return the default reference, by the rule in DESIGN §7.

        Raises:
            ConfigError: If several keys are set and no default is chosen.
            MissingKeyError: If no key is set and the local model is not installed.
        """
        chosen = self.default or self._config.settings.default_model
        if chosen:
            return chosen
        rows = [row for row in self.rows() if row.state == "ready" and row.name != MOCK]
        keyed = [row.name for row in rows if row.key == "set"]
        if len(keyed) > 1:
            raise ConfigError(
                f"several models could answer: {', '.join(keyed)}.",
                hint=f"Name one, or choose: `%gatewayx use {keyed[0]} --save`.",
            )
        names = keyed or [row.name for row in rows if row.name == LOCAL]
        if not names:
            raise MissingKeyError(
                "no model can answer: no key is set, and the local model is not here.",
                hint=f"{_WITHOUT_KEY}; `%gatewayx key set grok` sets a key.",
            )
        return names[0]

    def names(self) -> dict[str, str]:
        """Return the engine for each name: engine name, alias or vendor variable."""
        vendors = {name: engine for engine, names in VENDOR_VARIABLES.items() for name in names}
        winners = self._sources.winners
        rows = [source for source in winners.values() if isinstance(source, EngineRow)]
        vendors.update({row.key: row.name for row in rows if row.key})
        own = {name: name for name in (*winners, *self._given)}
        aliases = self._config.settings.aliases.items()
        return {**{alias: ModelRef.parse(to).engine for alias, to in aliases}, **vendors, **own}

    def require_engine(self, engine: str) -> None:
        """Check that an engine exists.

        Raises:
            EngineNotFoundError: If it does not.
        """
        if engine not in self._given:
            self._find(ModelRef(engine))

    def api_keys(self) -> dict[str, str]:
        """Return the API keys of the pool's own engines, by engine name."""
        named = {name: getattr(engine, "api_key", "") for name, engine in self._given.items()}
        return {name: str(key) for name, key in named.items() if key}

    def targets(self, engine: str | None) -> list[Target]:
        """Return the target of one engine, or of all that can be called.

        Raises:
            GatewayError: If the named engine cannot be called.
        """
        if engine is not None:
            return [self.resolve(engine)]
        targets = []
        for row in self.rows():
            if row.state == "ready":
                with contextlib.suppress(GatewayError):  # a call to it raises the reason
                    targets.append(self.resolve(row.name))
        return targets

    def models(self) -> list[ModelInfo]:
        """List the models that can be called now."""
        given = [ModelInfo(name, engine.model_name) for name, engine in self._given.items()]
        found = map(self._report.callable_model, self._own_sources())
        return sorted([*given, *filter(None, found)], key=lambda model: model.engine)

    def rows(self) -> list[EngineStatus]:
        """List all known engines by name, including unusable ones."""
        given = [
            EngineStatus(name, engine.model_name, "not needed", "ready", "argument", loaded=True)
            for name, engine in self._given.items()
        ]
        found = (*self._own_sources(), *self._sources.losers)
        rows = [*given, *map(self._report.row, found)]
        return sorted(rows, key=lambda row: (row.name, row.state == "shadowed"))

    def _own_sources(self) -> list[Source]:
        """Return all engines except those passed to the pool."""
        winners = self._sources.winners
        return [source for name, source in winners.items() if name not in self._given]

    def _target(self, ref: ModelRef, source: Source | None, key: Secret) -> Target:
        if source and self._report.base_url_missing(source):
            raise ConfigError(
                f"engine {ref.engine!r} needs to be told where it answers.",
                hint=f"Write `{key_variable(ref.engine, 'BASE_URL')}=https://…` into the key file.",
            )
        return Target(
            name=ref.engine,
            model=ref.model,
            source=source,
            given=self._given.get(ref.engine) if source is None else None,
            key=key,
            options=self._config.options(ref.engine),
            network=self._config.settings.network,
            rates=self._config.rates(ref.engine),
        )

    def _expand_alias(self, wanted: str) -> str:
        """Expand an alias; an engine of that name wins, unless the user set the alias."""
        meant = self._config.settings.aliases.get(wanted, wanted)
        own = wanted in self._sources.winners or wanted in self._given
        return wanted if own and meant == SHIPPED_ALIASES.get(wanted) else meant

    def _needs_key(self, source: Source) -> bool:
        """Return whether an engine needs a key; load a package without readable source."""
        if isinstance(source, EnginePackage) and source.source() is None:
            return bool(self._code.load(source).engine.requires_key)
        return self._report.literals(source).requires_key

    def _unknown_settings(self) -> list[str]:
        """Return the settings for engines that do not exist, one line each."""
        settings, known = self._config.settings, [*self._sources.winners, *self._given]
        tables = {f"[engines.{name}]": name for name in settings.engines}
        aliases = {
            f"[aliases] {alias}": ModelRef.parse(meant).engine
            for alias, meant in settings.aliases.items()
        }
        return [
            f"{where} in the settings: no engine is called {name!r}.{did_you_mean(name, known)}"
            for where, name in (tables | aliases).items()
            if name not in known
        ]

    def _find(self, ref: ModelRef) -> Source:
        source = self._sources.winners.get(ref.engine)
        if source is None:
            raise self._not_found(ref)
        if source.refusal:
            raise EngineLoadError(
                f"engine {source.name!r} is refused: {source.where} {source.refusal}.",
                hint="Mend that, then run the cell again.",
                engine=source.name,
            )
        return source

    def _not_found(self, ref: ModelRef) -> EngineNotFoundError:
        engine, slash, model = ref.engine.partition("/")
        known = [*self._sources.winners, *self._given, *self._config.settings.aliases]
        if slash and engine in self._sources.winners:
            hint = f" A colon stands between engine and model: {f'{engine}:{model}'!r}."
        elif ref.engine.lower() in known:
            hint = f" Engines are named in small letters: {ref.engine.lower()!r}."
        elif key_variable(ref.engine) in self._config.keys.names():
            hint = (
                f" There is a key {key_variable(ref.engine)}, but no file {ref.engine}_engine.py"
                f" and no {key_variable(ref.engine, 'BASE_URL')}."
            )
        else:
            hint = did_you_mean(ref.engine, known)
        return EngineNotFoundError(
            f"no engine {ref.engine!r}.{hint}",
            hint="`%gatewayx status` lists the engines.",
            engine=ref.engine,
        )

    def _no_key(self, engine: str, state: KeyState) -> MissingKeyError:
        held = "only a placeholder" if state == "placeholder" else "not set"
        return MissingKeyError(
            f"engine {engine!r} needs a key, and {key_variable(engine)} is {held}.",
            hint=f"Set it: `%gatewayx key set {engine}`. Or {_WITHOUT_KEY}.",
            engine=engine,
        )
