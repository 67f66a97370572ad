"""Matches engine files with keys, resolves references, and reports what cannot be used."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from gatewayx_nb import weights
from gatewayx_nb.errors import (
    ConfigError,
    EngineLoadError,
    EngineNotFoundError,
    GatewayError,
    MissingKeyError,
    UsageError,
    nearest,
)
from gatewayx_nb.messages import ModelInfo, ModelRef
from gatewayx_nb.model_registry import trust
from gatewayx_nb.model_registry.literals import LiteralReader, Literals
from gatewayx_nb.model_registry.loader import Loaded, load
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.model_registry.sources import Source, Sources
from gatewayx_nb.model_registry.status import EngineStatus, State, Target
from gatewayx_nb.secure_config import (
    VENDOR_VARIABLES,
    Config,
    Key,
    KeyState,
    Secret,
    redact,
    variable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.secure_config import Way

LOCAL = "local"
"""The engine that needs weights instead of a key."""

MOCK = "mock"
"""The engine that answers by name only, never by default."""

_WITHOUT_KEY = "`%gatewayx pull smollm2` gets a model that needs none"


class ModelRegistry:
    """The engines there are.

    Args:
        config: Settings and keys.
        given: Engines of the pool's own, which win over every file.
    """

    def __init__(self, config: Config, given: Mapping[str, LLMEngine]) -> None:
        self._config = config
        self._given = given
        self._found = Sources(config)
        self._literals = LiteralReader()
        self._loaded: dict[Source, Loaded] = {}
        self._failed: dict[Source, str] = {}
        self._sources: dict[str, Source] = {}
        self._losers: list[Source] = []
        self._answering: frozenset[str] = frozenset()
        self.default: str | None = None
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders, the keys and the settings again; reads only what changed."""
        self._config.refresh()
        winners, losers = {}, []
        for source in self._found.all():
            if source.shadowed_by is None:
                winners[source.name] = source
            else:
                losers.append(source)
        self._sources, self._losers = winners, losers

    @property
    def problems(self) -> list[str]:
        """What could not be read, a line each: key files and files of engine rows."""
        distrust = self._config.trusted.problem
        return [
            *self._config.keys.problems,
            *([str(distrust)] if distrust else []),
            *self._found.problems,
        ]

    def forget_failures(self) -> None:
        """Drop what is known of files that failed, so that the next use tries again."""
        self._failed.clear()

    def resolve(self, reference: str | None) -> Target:
        """Give the engine that a reference means, or the default one.

        Raises:
            EngineNotFoundError: There is no such engine.
            EngineLoadError: Its file must not be run.
            MissingKeyError: It needs a key that is not set.
            ConfigError: There is no default, or several.
        """
        if reference is not None and not isinstance(reference, str):
            raise UsageError(
                f"model is {reference!r}; expected a text.",
                mend='For instance `model="grok"`.',
            )
        wanted = reference or self.default_reference()
        ref = ModelRef.parse(self._config.settings.aliases.get(wanted, wanted))
        if ref.engine in self._given:
            return self._target(ref, None, Secret(""))
        source = self._find(ref)
        key = self._key(source)
        if key.state != "set" and self._literals_of(source).requires_key:
            raise self._no_key(ref.engine, key.state)
        trust.check(source, key, self._found, self._config)
        return self._target(ref, source, key.value)

    def load(self, target: Target) -> Loaded:
        """Give an engine's code, running its file unless that was done and nothing changed.

        Raises:
            EngineLoadError: The file cannot be used.
        """
        source = target.source
        if source is None:  # pragma: no cover - given engines are never loaded
            raise EngineLoadError(f"engine {target.name!r} has no file.")
        # No lock: an engine's host loads it, one load at a time, and one that hangs must not
        # hold up the others.
        known = self._current(source)
        if known:
            return known
        try:
            loaded = source.load() if isinstance(source, EngineRow) else load(source)
        except EngineLoadError as error:
            self._failed[source] = redact(error.what, [target.key])
            raise
        stale = self._loaded.pop(source, None)
        if stale:
            stale.forget()
        self._loaded[source] = loaded
        self._failed.pop(source, None)
        return loaded

    def doubtful(self) -> dict[str, list[Way]]:
        """Give the engines whose key is the user's and would go where the project says."""
        found = {name: self._ways(source) for name, source in self._sources.items()}
        return {name: ways for name, ways in found.items() if ways}

    def note_failure(self, target: Target, why: str) -> None:
        """Keep what went wrong with an engine's construction, for its row."""
        if target.source:
            self._failed[target.source] = why

    def servers(self) -> dict[str, str]:
        """Give the engines that need no key and listen somewhere, with where."""
        rows = [source for source in self._sources.values() if isinstance(source, EngineRow)]
        return {
            row.name: str(self._config.options(row.name).get("base_url") or row.base_url)
            for row in rows
            if not row.requires_key
        }

    def note_answering(self, names: Iterable[str]) -> None:
        """Keep which of the `servers` answered when they were asked."""
        self._answering = frozenset(names)

    def default_reference(self) -> str:
        """Give the reference that is meant where none is named, by the rule of DESIGN §7.

        Raises:
            ConfigError: Several keys are set, and none is chosen.
            MissingKeyError: No key is set, and the local model is not there.
        """
        chosen = self.default or self._config.settings.default_model
        if chosen:
            return chosen
        rows = [row for row in self.rows() if row.state == "ready" and row.name != MOCK]
        keyed = [row.name for row in rows if row.key == "set"]
        if len(keyed) > 1:
            raise ConfigError(
                f"several models could answer: {', '.join(keyed)}.",
                mend=f"Name one, or choose: `%gatewayx use {keyed[0]} --save`.",
            )
        names = keyed or [row.name for row in rows if row.name == LOCAL]
        if not names:
            raise MissingKeyError(
                "no model can answer: no key is set, and the local model is not here.",
                mend=f"{_WITHOUT_KEY}; `%gatewayx key set grok` sets a key.",
            )
        return names[0]

    def names(self) -> dict[str, str]:
        """Give the engine that a name means: its own, an alias, or its vendor's variable."""
        vendors = {name: engine for engine, names in VENDOR_VARIABLES.items() for name in names}
        rows = [source for source in self._sources.values() if isinstance(source, EngineRow)]
        vendors.update({row.key: row.name for row in rows if row.key})
        own = {name: name for name in (*self._sources, *self._given)}
        aliases = self._config.settings.aliases.items()
        return {**{alias: ModelRef.parse(to).engine for alias, to in aliases}, **vendors, **own}

    def known(self, engine: str) -> None:
        """Check that there is an engine of a name.

        Raises:
            EngineNotFoundError: There is none.
        """
        if engine not in self._given:
            self._find(ModelRef(engine))

    def targets(self, engine: str | None) -> list[Target]:
        """Give one engine, or every one that can be called.

        Raises:
            GatewayError: The one named cannot be called.
        """
        if engine is not None:
            return [self.resolve(engine)]
        targets = []
        for row in self.rows():
            if row.state == "ready":
                with contextlib.suppress(GatewayError):  # its own call says why
                    targets.append(self.resolve(row.name))
        return targets

    def models(self) -> list[ModelInfo]:
        """List what can be called now."""
        return [ModelInfo(row.name, row.model) for row in self.rows() if row.state == "ready"]

    def rows(self) -> list[EngineStatus]:
        """List every engine known, the unusable ones too, by name."""
        given = [
            EngineStatus(name, engine.model_name, "not needed", "ready", "argument", loaded=True)
            for name, engine in self._given.items()
        ]
        found = [source for source in self._sources.values() if source.name not in self._given]
        rows = [*given, *map(self._row, found), *map(self._row, self._losers)]
        return sorted(rows, key=lambda row: (row.name, row.state == "shadowed"))

    def _target(self, ref: ModelRef, source: Source | None, key: Secret) -> Target:
        options = self._config.options(ref.engine)
        if isinstance(source, EngineRow) and not (options.get("base_url") or source.base_url):
            raise ConfigError(
                f"engine {ref.engine!r} needs to be told where it answers.",
                mend=f"Write `{variable(ref.engine, 'BASE_URL')}=https://…` into the key file.",
            )
        return Target(
            name=ref.engine,
            model=ref.model,
            source=source,
            given=self._given.get(ref.engine) if source is None else None,
            loaded=self._current(source) if source else None,
            key=key,
            options=options,
            network=self._config.settings.network,
            rates=self._config.rates(ref.engine),
        )

    def _current(self, source: Source) -> Loaded | None:
        loaded = self._loaded.get(source)
        return loaded if loaded and loaded.is_current() else None

    def _key(self, source: Source) -> Key:
        return self._config.key(source.name, source.key if isinstance(source, EngineRow) else "")

    def _ways(self, source: Source) -> list[Way]:
        return trust.doubtful(source, self._key(source), self._found, self._config)

    def _literals_of(self, source: Source) -> Literals:
        if isinstance(source, EngineRow):
            return Literals(source.requires_key, source.model)
        return self._literals.read(source.path)

    def _find(self, ref: ModelRef) -> Source:
        source = self._sources.get(ref.engine)
        if source is None:
            raise self._not_found(ref)
        if source.refusal:
            raise EngineLoadError(
                f"engine {source.name!r} is refused: {source.path} {source.refusal}.",
                mend="Mend that, then run the cell again.",
                engine=source.name,
            )
        return source

    def _not_found(self, ref: ModelRef) -> EngineNotFoundError:
        engine, slash, model = ref.engine.partition("/")
        if slash and engine in self._sources:
            hint = f" A colon stands between engine and model: {f'{engine}:{model}'!r}."
        elif variable(ref.engine) in self._config.keys.names():
            hint = f" There is a key {variable(ref.engine)}, but no file {ref.engine}_engine.py."
        else:
            known = [*self._sources, *self._given, *self._config.settings.aliases]
            hint = nearest(ref.engine, known)
        return EngineNotFoundError(
            f"no engine {ref.engine!r}.{hint}",
            mend="`%gatewayx status` lists the engines.",
            engine=ref.engine,
        )

    def _no_key(self, engine: str, state: KeyState) -> MissingKeyError:
        held = "only a placeholder" if state == "placeholder" else "not set"
        return MissingKeyError(
            f"engine {engine!r} needs a key, and {variable(engine)} is {held}.",
            mend=f"Set it: `%gatewayx key set {engine}`. Or {_WITHOUT_KEY}.",
            engine=engine,
        )

    def _row(self, source: Source) -> EngineStatus:
        if source.shadowed_by or source.refusal:
            why = source.refusal or f"{source.shadowed_by} has the name already"
            state: State = "refused" if source.refusal else "shadowed"
            return EngineStatus(source.name, "", "missing", state, source.label, error=why)
        literals, loaded, key = self._literals_of(source), self._current(source), self._key(source)
        error = self._failed.get(source, "")
        state = "failed" if error else self._state(source, key.state, literals)
        withheld = trust.told(self._ways(source))
        named = self._config.options(source.name).get("model")
        own = loaded.engine.model_name if loaded else ""
        return EngineStatus(
            name=source.name,
            model=str(named or own or literals.model_name),
            key=key.state if literals.requires_key else "not needed",
            state="refused" if withheld else state,
            source=source.label,
            loaded=loaded is not None,
            error=f"`%gatewayx trust`: your key would go to {withheld}" if withheld else error,
            variable=key.name or variable(source.name),
            found_in=key.source,
        )

    def _state(self, source: Source, key: KeyState, literals: Literals) -> State:
        if literals.requires_key:
            return "ready" if key == "set" else "no key"
        if source.name == LOCAL and not self._has_weights():
            return "no weights"
        if isinstance(source, EngineRow) and source.name not in self._answering:
            return "not running"
        return "ready"

    def _has_weights(self) -> bool:
        with contextlib.suppress(GatewayError):
            return weights.locate(env=self._config.env) is not None
        return False
