"""What a pool tells of its safety: booleans, counts and relative paths, and no part of a key."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gatewayx_nb.secure_config import FileSecurity, KeyState, audit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.secure_config import Config


@dataclass(frozen=True, slots=True)
class KeySecurity:
    """An engine's key.

    Attributes:
        engine: The engine's name.
        state: Whether it is set.
        variable: The variable that it is read from.
        source: Where it was found; ``None`` where it was not.
    """

    engine: str
    state: KeyState
    variable: str
    source: Literal["environment", "project", "user"] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An engine or a file that is not used, or not as it stands.

    Attributes:
        what: The engine's name, or ``"key file"`` and its like.
        source: Where it comes from, briefly.
        why: The reason, in one line.
    """

    what: str
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class SecurityStatus:
    """What can be said of a pool's safety to anybody who may look at it.

    Attributes:
        keys: The engines' keys.
        files: The files and folders that keys, settings and code come from.
        started: The engines that run.
        refused: What is not used, and why.
    """

    keys: tuple[KeySecurity, ...]
    files: tuple[FileSecurity, ...]
    started: tuple[str, ...]
    refused: tuple[Refusal, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many keys there are of each state, and how many engines are started or refused."""
        states = Counter(key.state for key in self.keys)
        return {
            "set": states["set"],
            "placeholder": states["placeholder"],
            "missing": states["missing"],
            "started": len(self.started),
            "refused": len(self.refused),
        }

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON, of the shape of ``server/security_status.schema.json``."""
        import msgspec

        built: dict[str, Any] = msgspec.to_builtins(self)
        return {"counts": self.counts, **built}


def security_status(
    config: Config, rows: Iterable[EngineStatus], problems: Iterable[str], started: Iterable[str]
) -> SecurityStatus:
    """Gather what is known; no engine is run, and nothing is sent."""
    listed = list(rows)
    refused = [
        Refusal(row.name, _relative(row.source, config), _relative(row.error, config))
        for row in listed
        if row.state == "refused"
    ]
    found = [Refusal("file", "", _relative(problem, config)) for problem in problems]
    return SecurityStatus(
        keys=tuple(_key(row, config) for row in listed if row.variable and _has_key(row)),
        files=tuple(file for place in config.places for file in audit.files(place)),
        started=tuple(sorted(started)),
        refused=(*refused, *found),
    )


def _has_key(row: EngineStatus) -> bool:
    return row.key != "not needed" and row.state not in ("refused", "shadowed")


def _key(row: EngineStatus, config: Config) -> KeySecurity:
    files: dict[str, Literal["environment", "project", "user"]] = {
        place.label(place.keys): place.owner for place in config.places
    }
    files["environment"] = "environment"
    state: KeyState = "missing" if row.key == "not needed" else row.key
    return KeySecurity(row.name, state, row.variable, files.get(row.found_in))


def _relative(text: str, config: Config) -> str:
    """Take the folders of engines, the project, the user and home folder out of a text's paths."""
    named = config.env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep)
    roots = {str(place.root) for place in config.places} | {str(Path.home())}
    roots |= {str(Path(path).expanduser().absolute()) for path in named if path}
    for root in sorted(roots - {os.sep}, key=len, reverse=True):
        text = text.replace(f"{root}{os.sep}", "").replace(root, ".")
    return text
