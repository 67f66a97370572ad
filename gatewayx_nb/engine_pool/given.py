"""Validate the pool's constructor arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.secure_config import Config


def ledger(config: Config) -> Path:
    """Return the ledger's path: in the project folder, or without one in the user folder."""
    project = config.project
    if project:
        return project.root / ".gatewayx" / "store.sqlite"
    data = config.env.get("XDG_DATA_HOME")
    folder = Path(data) / "gatewayx" if data else platformdirs.user_data_path("gatewayx")
    return folder / "store.sqlite"


def named(engines: Iterable[LLMEngine]) -> dict[str, LLMEngine]:
    """Return engines by name.

    Raises:
        UsageError: If two engines have the same name.
    """
    named: dict[str, LLMEngine] = {}
    for engine in engines:
        if named.setdefault(_name(engine), engine) is not engine:
            raise UsageError(
                f"two engines are called {engine.name!r}.", hint="Give one of them another `name`."
            )
    return named


def _name(engine: LLMEngine) -> str:
    """Return the engine's name, or derive it from the class: ``GrokEngine`` becomes ``grok``."""
    if not engine.name:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(engine).__name__.removesuffix("Engine"))
        engine.name = words.lower()
    return engine.name
