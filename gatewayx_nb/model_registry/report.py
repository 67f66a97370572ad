"""The status of each engine, without executing it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gatewayx_nb import weights
from gatewayx_nb.errors import GatewayError, TrustError
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.model_registry import trust
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.model_registry.static_metadata import StaticMetadata, StaticMetadataReader
from gatewayx_nb.model_registry.status import EngineState, EngineStatus
from gatewayx_nb.secure_config import key_variable

if TYPE_CHECKING:
    from gatewayx_nb.model_registry.code import EngineCode
    from gatewayx_nb.model_registry.sources import Source, Sources
    from gatewayx_nb.secure_config import Config, Key

LOCAL = "local"
"""The engine that needs model weights instead of a key."""


@dataclass(slots=True)
class Reporter:
    """What is known about engines before they are called.

    Attributes:
        config: Settings and keys.
        sources: The engines.
        code: Their loaded code.
        answering: Local servers that responded to the last probe.
    """

    config: Config
    sources: Sources
    code: EngineCode
    answering: frozenset[str] = frozenset()
    _literals: StaticMetadataReader = field(default_factory=StaticMetadataReader)

    def key(self, source: Source) -> Key:
        """Return an engine's key."""
        return self.config.key(source.name, source.key if isinstance(source, EngineRow) else "")

    def literals(self, source: Source) -> StaticMetadata:
        """Return an engine's attributes: from its class if loaded, else from its source."""
        if isinstance(source, EngineRow):
            return StaticMetadata(source.requires_key, source.model)
        loaded = self.code.current(source)
        path = source.path if isinstance(source, EngineFile) else source.source()
        literals = self._literals.read(path) if path else StaticMetadata()
        if loaded is None:
            return literals
        if path is None:
            return StaticMetadata(bool(loaded.engine.requires_key), loaded.engine.model_name)
        return StaticMetadata(
            literals.requires_key, loaded.engine.model_name or literals.model_name
        )

    def base_url_missing(self, source: Source) -> bool:
        """Return whether an engine needs a base URL and has none."""
        return isinstance(source, EngineRow) and not (
            source.base_url or self.config.options(source.name).get("base_url")
        )

    def callable_model(self, source: Source) -> ModelInfo | None:
        """Return an engine's default model; ``None`` if it cannot be called now."""
        if source.refusal:
            return None
        literals = self.literals(source)
        state, _ = self._state(source, self.key(source), literals)
        return ModelInfo(source.name, self._model(source, literals)) if state == "ready" else None

    def row(self, source: Source) -> EngineStatus:
        """Return an engine's status."""
        if source.shadowed_by or source.refusal:
            return self._idle(source)
        literals, key = self.literals(source), self.key(source)
        state, error = self._state(source, key, literals)
        return EngineStatus(
            name=source.name,
            model=self._model(source, literals),
            key=key.state if literals.requires_key else "not needed",
            state=state,
            source=source.label,
            where=source.where,
            loaded=self.code.current(source) is not None,
            error=error,
            warning=source.warning,
            variable=key.name or key_variable(source.name),
            found_in=key.source,
        )

    def _model(self, source: Source, literals: StaticMetadata) -> str:
        return str(self.config.options(source.name).get("model") or literals.model_name)

    def _idle(self, source: Source) -> EngineStatus:
        """Return the status of an engine that cannot be called even with a key."""
        if source.refusal:
            state: EngineState = "refused"
            why = f"{source.where} {source.refusal}"
        else:
            state, why = (
                "shadowed",
                f"{source.where} is not used: {source.shadowed_by} has the name",
            )
        key = self.key(source)
        return EngineStatus(
            source.name,
            "",
            key.state,
            state,
            source.label,
            where=source.where,
            error=why,
            variable=key.name or key_variable(source.name),
            found_in=key.source,
        )

    def _state(self, source: Source, key: Key, literals: StaticMetadata) -> tuple[EngineState, str]:
        """Return whether an engine can be called, and the problem in one line."""
        failure = self.code.failure(source)
        if failure:
            return "failed", failure
        lacks = f"{key_variable(source.name, 'BASE_URL')} is not set"
        no_address = lacks if self.base_url_missing(source) else ""
        if literals.requires_key and key.state != "set":
            return "no key", no_address
        if no_address:
            return "no base URL", no_address
        try:
            trust.check(source, key, self.sources, self.config)
        except TrustError as error:
            return "untrusted", str(error)
        return ("ready" if literals.requires_key else self._keyless(source)), ""

    def _keyless(self, source: Source) -> EngineState:
        if source.name == LOCAL and not self._has_weights():
            return "no weights"
        if isinstance(source, EngineRow) and source.name not in self.answering:
            return "not running"
        return "ready"

    def _has_weights(self) -> bool:
        with contextlib.suppress(GatewayError):
            return weights.locate(env=self.config.env) is not None
        return False
