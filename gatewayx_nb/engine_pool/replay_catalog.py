"""Status, models and health as reported in replay mode, the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.health import EngineHealth
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.model_registry import EngineStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.messages import ModelInfo


def rows(cassette: Cassette) -> list[EngineStatus]:
    """Return a status row for each recorded engine, with its models."""
    found: dict[str, list[str]] = {}
    for model in cassette.models():
        found.setdefault(model.engine, []).append(model.model)
    return [
        EngineStatus(
            name, ", ".join(filter(None, names)), "not needed", "replay", "cassette", loaded=True
        )
        for name, names in found.items()
    ]


def models(cassette: Cassette, engine: str | None) -> list[ModelInfo]:
    """Return the recorded models of one engine or of all."""
    return [model for model in cassette.models() if engine in (None, model.engine)]


def health(cassette: Cassette, names: Sequence[str]) -> list[EngineHealth]:
    """Return a health row for each engine, without querying any."""
    known = dict.fromkeys(model.engine for model in cassette.models())
    missing = "not on the cassette"
    return [
        EngineHealth(name, name in known, error="" if name in known else missing)
        for name in names or known
    ]


def default(cassette: Cassette, chosen: str | None) -> str:
    """Return the reference that was recorded as the default model.

    Raises:
        ConfigError: If every recorded call names its model.
    """
    reference = chosen or cassette.default()
    if reference is None:
        raise ConfigError(
            "there is no default model on the cassette, as each call on it names its own.",
            hint="Name one: `%gatewayx models` lists them.",
        )
    return reference
