"""Reports an engine's status without executing it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, GatewayError, TrustError
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.model_registry import key_trust
from gatewayx_nb.model_registry.engine_entries import EngineEntry
from gatewayx_nb.model_registry.engine_status import EngineState, EngineStatus, lacks_base_url
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.static_metadata import StaticMetadata, StaticMetadataReader
from gatewayx_nb.secure_config import engine_variable
from gatewayx_nb.transport import parse_base_url

if TYPE_CHECKING:
    from collections.abc import Collection

    from gatewayx_nb.model_registry.code_cache import EngineCodeCache
    from gatewayx_nb.model_registry.engine_sources import EngineSource, EngineSources
    from gatewayx_nb.secure_config import Config, Key

LOCAL_ENGINE = "local"
"""The engine that needs model weights instead of a key."""


@dataclass(slots=True)
class Reporter:
    """Reports the status of engines before they are called.

    Attributes:
        config: Settings and keys.
        sources: The engines.
        code: The loaded code of the engines.
        running_servers: Local servers that responded to the last probe.
    """

    config: Config
    sources: EngineSources
    code: EngineCodeCache
    running_servers: Collection[str] = ()
    _metadata_reader: StaticMetadataReader = field(default_factory=StaticMetadataReader)

    def static_metadata(self, source: EngineSource) -> StaticMetadata:
        """Return an engine's attributes from its class if it is loaded, or else from its source.

        The `requires_key` of an engine file is always read from the source.
        """
        if isinstance(source, EngineEntry):
            features = source.base_class.features | ({"embed"} if source.embedding_model else set())
            return StaticMetadata(source.requires_key, source.model, features=features)
        loaded_engine = self.code.current(source)
        path = source.path if isinstance(source, EngineFile) else source.source()
        metadata = self._metadata_reader.read(path) if path else StaticMetadata()
        if not isinstance(source, EngineFile):  # a package may import its engine
            metadata = replace(metadata, problem="")
        if loaded_engine is None:
            return metadata
        requires_key = metadata.requires_key if path else loaded_engine.requires_key
        model = loaded_engine.model_name or metadata.model_name
        return StaticMetadata(requires_key, model, features=loaded_engine.features)

    def callable_models(self, source: EngineSource) -> list[ModelInfo]:
        """Return an engine's default model if it can be called now.

        For the local engine, return every model on this machine.
        """
        if source.refusal_reason:
            return []
        metadata = self.static_metadata(source)
        if source.name == LOCAL_ENGINE and source.origin == "shipped":
            default = self._model(source, metadata)
            return weights.callable_models(source.name, default, self._user_weights())
        state, _ = self._state(source, key_trust.find_key(source, self.config), metadata)
        return [ModelInfo(source.name, self._model(source, metadata))] if state == "ready" else []

    def default_model(self, source: EngineSource) -> str:
        """Return the name of an engine's default model; empty if it has none."""
        return self._model(source, self.static_metadata(source))

    def status(self, source: EngineSource) -> EngineStatus:
        """Return an engine's status."""
        if source.shadowed_by or source.refusal_reason:
            return self._uncallable_status(source)
        metadata, key = self.static_metadata(source), key_trust.find_key(source, self.config)
        state, error = self._state(source, key, metadata)
        return EngineStatus(
            name=source.name,
            model=self._model(source, metadata),
            key=key.state if metadata.requires_key else "not needed",
            state=state,
            source=source.label,
            where=source.where,
            loaded=self.code.current(source) is not None,
            error=error,
            warning=source.warning,
            variable=key.variable or engine_variable(source.name),
            found_in=key.source,
            features=tuple(sorted(self.features(source, None, metadata.features))),
        )

    def features(
        self, source: EngineSource | None, model: str | None, features: frozenset[str]
    ) -> frozenset[str]:
        """Return the features of a model.

        The local engine takes tools only if the chat template of the model supports them.

        Args:
            source: The engine; ``None`` for an engine passed to the pool.
            model: Name of the model; ``None`` for the engine's default.
            features: The features that the engine declares.
        """
        if source is None or source.name != LOCAL_ENGINE or source.origin != "shipped":
            return features
        path = self._weights_path(model or self.default_model(source))
        return features if path and weights.takes_tools(path) else features - {"tools"}

    def _weights_path(self, model: str) -> Path | None:
        """Return the file of a local model; ``None`` if it cannot be used."""
        with contextlib.suppress(GatewayError):  # a call to the engine raises the error
            return self._user_weights() or weights.locate(model, self.config.env)
        return None

    def _model(self, source: EngineSource, metadata: StaticMetadata) -> str:
        configured_model = self.config.options(source.name).get("model")
        return str(configured_model or self.only_model(source) or metadata.model_name)

    def only_model(self, source: EngineSource | None) -> str | None:
        """Return the model that the local engine uses if its default was not pulled.

        This is the only model on this machine. Return ``None`` for other engines, or if there are
        several models.
        """
        if source is None or source.name != LOCAL_ENGINE or source.origin != "shipped":
            return None
        pulled_names = [model.name for model in weights.pulled_models()]
        is_only_model = len(pulled_names) == 1 and pulled_names[0] != weights.DEFAULT_MODEL
        return pulled_names[0] if is_only_model and not self._user_weights() else None

    def _uncallable_status(self, source: EngineSource) -> EngineStatus:
        """Return the status of a refused or shadowed engine."""
        shadowed_problem = f"is not used: {source.shadowed_by} has the same name"
        key = key_trust.find_key(source, self.config)
        return EngineStatus(
            name=source.name,
            model="",
            key=key.state,
            state="refused" if source.refusal_reason else "shadowed",
            source=source.label,
            where=source.where,
            error=f"{source.where} {source.refusal_reason or shadowed_problem}",
            variable=key.variable or engine_variable(source.name),
            found_in=key.source,
        )

    def _state(
        self, source: EngineSource, key: Key, metadata: StaticMetadata
    ) -> tuple[EngineState, str]:
        """Return the state of an engine, and its problem in one line."""
        # The failure is checked first, because nothing else matters if the code cannot be used.
        failure = self.code.failure(source)
        if not failure and metadata.problem:
            failure = f"engine {source.name!r} cannot be loaded: {metadata.problem}."
        if failure:
            return "failed", failure
        base_url_problem = self._base_url_problem(source)
        if metadata.requires_key and key.state != "set":
            return "no key", base_url_problem or (
                f"{key.variable} {key.fault}." if key.fault else ""
            )
        if base_url_problem:
            return "no base URL", base_url_problem
        try:
            key_trust.check_permissions(source, key, self.sources, self.config)
        except TrustError as error:
            return "untrusted", error.describe()
        return ("ready" if metadata.requires_key else self._keyless_state(source, metadata)), ""

    def _base_url_problem(self, source: EngineSource) -> str:
        # Only entries need a base URL. There may be a thousand engine files, so their options are
        # not read.
        if not isinstance(source, EngineEntry):
            return ""
        options = self.config.options(source.name)
        if lacks_base_url(source, options):
            return f"{engine_variable(source.name, 'BASE_URL')} is not set"
        try:
            parse_base_url(str(options.get("base_url") or source.base_url), source.name)
        except ConfigError as error:
            return error.message.removesuffix(".")
        return ""

    def _user_weights(self) -> Path | None:
        """Return the user's own GGUF file; ``None`` if there is none or it cannot be used."""
        path = self.config.options(LOCAL_ENGINE).get("model_path")
        with contextlib.suppress(GatewayError):  # a call to the engine raises the error
            if path:
                if not all(map(self.config.may, self.config.weights_permissions(LOCAL_ENGINE))):
                    return None
                return weights.check_gguf(Path(str(path)).expanduser(), "model_path")
            return weights.configured_path(self.config.env)
        return None

    def _keyless_state(self, source: EngineSource, metadata: StaticMetadata) -> EngineState:
        if isinstance(source, EngineEntry) and source.name not in self.running_servers:
            # A project's server is not contacted before it is called, so its state is unknown.
            is_project = key_trust.is_project_engine(source, self.config)
            return "ready" if is_project else "not running"
        if source.name != LOCAL_ENGINE:
            return "ready"
        model = self._model(source, metadata)
        return "ready" if self._weights_path(model) else "no weights"
