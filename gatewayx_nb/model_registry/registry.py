"""Matches engine files with keys, resolves references, and reports what cannot be used."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from gatewayx_nb import weights
from gatewayx_nb.errors import (
    ConfigError,
    EngineLoadError,
    EngineNotFoundError,
    GatewayError,
    MissingKeyError,
    nearest,
)
from gatewayx_nb.messages import ModelInfo, ModelRef
from gatewayx_nb.model_registry.folders import EngineFile, folders, ranked
from gatewayx_nb.model_registry.literals import LiteralReader
from gatewayx_nb.model_registry.loader import Loaded, load
from gatewayx_nb.secure_config import Config, KeyState, Network, Secret, variable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gatewayx_nb.llm_engines import LLMEngine

State = Literal["ready", "no key", "no weights", "failed", "refused", "shadowed"]

LOCAL = "local"
"""The engine that needs weights instead of a key."""

MOCK = "mock"
"""The engine that answers by name only, never by default."""

_WITHOUT_KEY = "`%gatewayx pull smollm2` gets a model that needs none"


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What is known of an engine, without running it.

    Attributes:
        name: The engine's name.
        model: The model that its bare name calls; empty where only its code knows.
        key: Whether its key is there.
        state: Whether it can be called, else why not.
        source: Where its code comes from.
        loaded: Whether its code has been run.
        error: What is wrong, in one line.
    """

    name: str
    model: str
    key: KeyState | Literal["not needed"]
    state: State
    source: str
    loaded: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """An engine as it stands now, and the model that a call asks of it.

    Attributes:
        name: The engine's name.
        model: The model named; ``None`` for the engine's own.
        file: Its file; ``None`` for an engine that the pool was given.
        given: The engine that the pool was given.
        loaded: Its code, where it was run and has not changed since.
        key: Its key.
        options: Its keywords.
        network: How it reaches its provider.
    """

    name: str
    model: str | None
    file: EngineFile | None
    given: LLMEngine | None
    loaded: Loaded | None
    key: Secret
    options: Mapping[str, object]
    network: Network

    @property
    def trusted_loop(self) -> bool:
        """Whether it may share an event loop with others: shipped engines never block theirs."""
        return self.file is not None and self.file.origin == "shipped"


class ModelRegistry:
    """The engines there are.

    Args:
        config: Settings and keys.
        given: Engines of the pool's own, which win over every file.
    """

    def __init__(self, config: Config, given: Mapping[str, LLMEngine]) -> None:
        self._config = config
        self._given = given
        self._folders = folders(config)
        self._literals = LiteralReader()
        self._loaded: dict[Path, Loaded] = {}
        self._failed: dict[Path, str] = {}
        self._files: dict[str, EngineFile] = {}
        self._losers: list[EngineFile] = []
        self.default: str | None = None
        self.refresh()

    def refresh(self) -> None:
        """Look at the folders, the keys and the settings again; reads only what changed."""
        self._config.refresh()
        found = [file for folder in self._folders for file in folder.files()]
        winners, losers = {}, []
        for file in ranked(found):
            if file.shadowed_by is None:
                winners[file.name] = file
            else:
                losers.append(file)
        self._files, self._losers = winners, losers

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
        wanted = reference or self.default_reference()
        ref = ModelRef.parse(self._config.settings.aliases.get(wanted, wanted))
        if ref.engine in self._given:
            return self._target(ref, None, Secret(""))
        file = self._find(ref)
        key = self._config.key(ref.engine)
        if key.state != "set" and self._literals.read(file.path).requires_key:
            raise self._no_key(ref.engine, key.state)
        return self._target(ref, file, key.value)

    def load(self, target: Target) -> Loaded:
        """Give an engine's code, running its file unless that was done and nothing changed.

        Raises:
            EngineLoadError: The file cannot be used.
        """
        file = target.file
        if file is None:  # pragma: no cover - given engines are never loaded
            raise EngineLoadError(f"engine {target.name!r} has no file.")
        # No lock: an engine's host loads it, one load at a time, and one that hangs must not
        # hold up the others.
        known = self._current(file)
        if known:
            return known
        try:
            loaded = load(file)
        except EngineLoadError as error:
            self._failed[file.path] = error.what
            raise
        stale = self._loaded.pop(file.path, None)
        if stale:
            stale.forget()
        self._loaded[file.path] = loaded
        self._failed.pop(file.path, None)
        return loaded

    def note_failure(self, target: Target, why: str) -> None:
        """Keep what went wrong with an engine's construction, for its row."""
        if target.file:
            self._failed[target.file.path] = why

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

    def models(self) -> list[ModelInfo]:
        """List what can be called now."""
        return [ModelInfo(row.name, row.model) for row in self.rows() if row.state == "ready"]

    def rows(self) -> list[EngineStatus]:
        """List every engine known, the unusable ones too, by name."""
        given = [
            EngineStatus(name, engine.model_name, "not needed", "ready", "argument", loaded=True)
            for name, engine in self._given.items()
        ]
        files = [file for file in self._files.values() if file.name not in self._given]
        rows = [*given, *map(self._row, files), *map(self._row, self._losers)]
        return sorted(rows, key=lambda row: (row.name, row.state == "shadowed"))

    def _target(self, ref: ModelRef, file: EngineFile | None, key: Secret) -> Target:
        return Target(
            name=ref.engine,
            model=ref.model,
            file=file,
            given=self._given.get(ref.engine) if file is None else None,
            loaded=self._current(file) if file else None,
            key=key,
            options=self._config.options(ref.engine),
            network=self._config.settings.network,
        )

    def _current(self, file: EngineFile) -> Loaded | None:
        loaded = self._loaded.get(file.path)
        return loaded if loaded and loaded.is_current() else None

    def _find(self, ref: ModelRef) -> EngineFile:
        file = self._files.get(ref.engine)
        if file is None:
            raise self._not_found(ref)
        if file.refusal:
            raise EngineLoadError(
                f"engine {file.name!r} is refused: {file.path} {file.refusal}.",
                mend="Mend that, then run the cell again.",
                engine=file.name,
            )
        return file

    def _not_found(self, ref: ModelRef) -> EngineNotFoundError:
        engine, slash, model = ref.engine.partition("/")
        if slash and engine in self._files:
            hint = f" A colon stands between engine and model: {f'{engine}:{model}'!r}."
        elif variable(ref.engine) in self._config.keys.names():
            hint = f" There is a key {variable(ref.engine)}, but no file {ref.engine}_engine.py."
        else:
            known = [*self._files, *self._given, *self._config.settings.aliases]
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

    def _row(self, file: EngineFile) -> EngineStatus:
        if file.shadowed_by or file.refusal:
            why = file.refusal or f"{file.shadowed_by} has the name already"
            state: State = "refused" if file.refusal else "shadowed"
            return EngineStatus(file.name, "", "missing", state, file.label, error=why)
        literals, loaded = self._literals.read(file.path), self._current(file)
        key = self._config.key(file.name).state if literals.requires_key else "not needed"
        error = self._failed.get(file.path, "")
        named = self._config.options(file.name).get("model")
        own = loaded.engine.model_name if loaded else ""
        return EngineStatus(
            name=file.name,
            model=str(named or own or literals.model_name),
            key=key,
            state="failed" if error else self._state(file.name, key),
            source=file.label,
            loaded=loaded is not None,
            error=error,
        )

    def _state(self, name: str, key: str) -> State:
        if name == LOCAL and not self._has_weights():
            return "no weights"
        return "ready" if key in ("set", "not needed") else "no key"

    def _has_weights(self) -> bool:
        with contextlib.suppress(GatewayError):
            return weights.locate(env=self._config.env) is not None
        return False
