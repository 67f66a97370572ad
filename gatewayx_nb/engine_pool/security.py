"""Security status of a pool: booleans, counts and relative paths, never part of a key."""

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
    """The state of an engine's key.

    Attributes:
        engine: The engine's name.
        state: Whether the key is set.
        variable: The variable that contains the key.
        source: Where the key is set; ``None`` if it is not set.
    """

    engine: str
    state: KeyState
    variable: str
    source: Literal["environment", "project", "user"] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An engine or a file that is ignored, in whole or in part.

    Attributes:
        what: The engine's name, or ``"file"``.
        source: Its origin, as a short path.
        why: The reason, in one line.
    """

    what: str
    source: str
    why: str


@dataclass(frozen=True, slots=True)
class SecurityStatus:
    """Security status of a pool; contains no secrets.

    Attributes:
        keys: The engines' keys.
        files: The files and folders that contain keys, settings and code.
        started: The running engines.
        refused: The engines and files that are ignored, and why.
    """

    keys: tuple[KeySecurity, ...]
    files: tuple[FileSecurity, ...]
    started: tuple[str, ...]
    refused: tuple[Refusal, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Number of keys in each state, of started engines, and of refusals."""
        states = Counter(key.state for key in self.keys)
        by_state = {state: states[state] for state in ("set", "placeholder", "missing")}
        return by_state | {"started": len(self.started), "refused": len(self.refused)}

    def to_json(self) -> dict[str, Any]:
        """Return JSON that matches ``server/security_status.schema.json``."""
        import msgspec

        built: dict[str, Any] = msgspec.to_builtins(self)
        return {"counts": self.counts, **built}


def security_status(
    config: Config, rows: Iterable[EngineStatus], problems: Iterable[str], started: Iterable[str]
) -> SecurityStatus:
    """Collect the security status without running an engine or sending anything."""
    rows = list(rows)
    engines = [
        Refusal(
            row.name,
            _with_relative_paths(row.source, config),
            _with_relative_paths(row.error, config),
        )
        for row in rows
        if row.state == "refused"
    ]
    files = [Refusal("file", "", _with_relative_paths(problem, config)) for problem in problems]
    return SecurityStatus(
        keys=tuple(_key(row, config) for row in rows if _needs_key(row)),
        files=tuple(file for folder in config.config_dirs for file in audit.audit_files(folder)),
        started=tuple(sorted(started)),
        refused=(*engines, *files),
    )


def _needs_key(row: EngineStatus) -> bool:
    is_usable = row.state not in ("refused", "shadowed")
    return bool(row.variable) and row.key != "not needed" and is_usable


def _key(row: EngineStatus, config: Config) -> KeySecurity:
    owners_by_file: dict[str, Literal["environment", "project", "user"]] = {
        folder.label(folder.keys): folder.owner for folder in config.config_dirs
    }
    owners_by_file["environment"] = "environment"
    state: KeyState = "missing" if row.key == "not needed" else row.key
    return KeySecurity(row.name, state, row.variable, owners_by_file.get(row.found_in))


def _with_relative_paths(text: str, config: Config) -> str:
    """Return a message with paths relative to the engine, project, user and home folders."""
    folders = config.env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep)
    roots = {str(folder.root) for folder in config.config_dirs} | {str(Path.home())}
    roots |= {str(Path(path).expanduser().absolute()) for path in folders if path}
    # The longest path comes first, because a project is usually inside the home folder.
    for root in sorted(roots - {os.sep}, key=len, reverse=True):
        text = text.replace(f"{root}{os.sep}", "").replace(root, ".")
    return text
