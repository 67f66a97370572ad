"""Finds engine files by their names; nothing is read or run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gatewayx_nb.secure_config import Config, Stamp, shipped, stamp, why_foreign, why_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

Origin = Literal["path", "project", "user", "shipped"]

SUFFIX = "_engine.py"

RESERVED = frozenset(
    [
        "ask",
        "cancel",
        "cassette",
        "chat",
        "compare",
        "explain",
        "health",
        "help",
        "history",
        "init",
        "jobs",
        "key",
        "keys",
        "models",
        "nest",
        "new",
        "pull",
        "reload",
        "security",
        "status",
        "trust",
        "usage",
        "use",
    ]
)
"""The commands of ``%gatewayx``, which no engine can be called by."""

ENGINE_NAME = re.compile(r"[a-z0-9_]{1,63}")


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file ``<name>_engine.py``.

    Attributes:
        name: The engine's name.
        path: The file.
        origin: Whose it is.
        refusal: Why it is never run, if so.
        shadowed_by: The file that has the name already, if so.
    """

    name: str
    path: Path
    origin: Origin
    refusal: str | None = None
    shadowed_by: Path | None = None

    @property
    def label(self) -> str:
        """Where it is, briefly."""
        return self.path.name if self.origin == "shipped" else f"{self.origin}: {self.path.name}"


class Folder:
    """One folder of engine files; it is listed again when its stamp changes."""

    def __init__(self, path: Path, origin: Origin) -> None:
        self.path = path
        self.origin = origin
        self._stamp: Stamp | None = None
        self._files: list[EngineFile] = []

    def files(self) -> list[EngineFile]:
        """Give the engine files, by name; refused ones are looked at each time, to be mended."""
        now = stamp(self.path)
        if now is None:
            self._files = []
        elif now != self._stamp or any(file.refusal for file in self._files):
            self._files = sorted(self._scan(), key=lambda file: file.name)
        self._stamp = now
        return self._files

    def _scan(self) -> Iterator[EngineFile]:
        refusal = why_foreign(self.path)
        with os.scandir(self.path) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(SUFFIX)]
        for filename in names:
            if not filename.startswith("_"):
                file = EngineFile(filename.removesuffix(SUFFIX), self.path / filename, self.origin)
                yield replace(file, refusal=self._refusal(file, refusal))

    def _refusal(self, file: EngineFile, of_folder: str | None) -> str | None:
        if not ENGINE_NAME.fullmatch(file.name):
            return "has a name that is not made of a-z, 0-9 and _ (63 at most)"
        if file.name in RESERVED:
            return f"has a name that is kept for a command, `%gatewayx {file.name}`"
        return f"its folder {of_folder}" if of_folder else why_refused(file.path, self.path)


def folders(config: Config) -> list[Folder]:
    """Give the folders that are searched, in the order in which they win.

    In a clone the project's folder is the shipped one; it counts as shipped.
    """
    named = config.env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep)
    ours = shipped("engines").resolve()
    wanted: list[tuple[Path, Origin]] = [
        *((Path(path).expanduser().absolute(), "path") for path in named if path),
        *((place.engines, place.owner) for place in config.places),
        (ours, "shipped"),
    ]
    seen: dict[Path, Folder] = {}
    for path, origin in wanted:
        real = path.resolve()
        seen.setdefault(real, Folder(path, "shipped" if real == ours else origin))
    return list(seen.values())
