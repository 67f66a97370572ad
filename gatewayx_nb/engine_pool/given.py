"""What a pool is given: engines of its own, and where it notes calls."""

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
    """Give the file that calls are noted in: the project's, or without one the user's."""
    project = config.project
    if project:
        return project.root / ".gatewayx" / "store.sqlite"
    data = config.env.get("XDG_DATA_HOME")
    folder = Path(data) / "gatewayx" if data else platformdirs.user_data_path("gatewayx")
    return folder / "store.sqlite"


def named(engines: Iterable[LLMEngine]) -> dict[str, LLMEngine]:
    """Give engines by name.

    Raises:
        UsageError: Two have one name.
    """
    named: dict[str, LLMEngine] = {}
    for engine in engines:
        if named.setdefault(_name(engine), engine) is not engine:
            raise UsageError(
                f"two engines are called {engine.name!r}.", mend="Give one of them another `name`."
            )
    return named


def _name(engine: LLMEngine) -> str:
    """Give a passed engine its name: its own, or ``GrokEngine`` makes ``grok``."""
    if not engine.name:
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(engine).__name__.removesuffix("Engine"))
        engine.name = words.lower()
    return engine.name
