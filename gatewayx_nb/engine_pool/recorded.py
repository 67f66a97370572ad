"""What is told of engines while a cassette is played back alone: the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.engine_pool.health import Health
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.model_registry import EngineStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.messages import ModelInfo


def rows(cassette: Cassette) -> list[EngineStatus]:
    """Give a row for each engine that answered, with its models."""
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
    """List what was asked, of one engine or of all."""
    return [model for model in cassette.models() if engine in (None, model.engine)]


def health(cassette: Cassette, names: Sequence[str]) -> list[Health]:
    """Give a row for each engine; none is asked."""
    known = dict.fromkeys(model.engine for model in cassette.models())
    missing = "not on the cassette"
    return [
        Health(name, name in known, error="" if name in known else missing)
        for name in names or known
    ]


def default(cassette: Cassette, chosen: str | None) -> str:
    """Give the reference that was meant where none was named.

    Raises:
        ConfigError: Each call named one.
    """
    reference = chosen or cassette.default()
    if reference is None:
        raise ConfigError(
            "there is no default model on the cassette, as each call on it names its own.",
            mend="Name one: `%gatewayx models` lists them.",
        )
    return reference
