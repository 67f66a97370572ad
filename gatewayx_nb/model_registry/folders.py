"""Discovery of engine files by name; no file is read or executed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from gatewayx_nb.model_registry import safety
from gatewayx_nb.secure_config import FileStamp, shipped_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.secure_config import Config

Origin = Literal["path", "project", "user", "package", "shipped", "variable"]
"""The origin of an engine.

It is ``GATEWAYX_ENGINES_PATH``, the project or user folder, an installed package, this package,
or a variable that holds a URL.
"""

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
"""The commands of ``%gatewayx``; they cannot be engine names."""

ENGINE_NAME = re.compile(r"[a-z0-9_]{1,63}")


def why_unusable(name: str) -> str | None:
    """Return why a name is invalid for an engine; ``None`` if it is valid."""
    if not ENGINE_NAME.fullmatch(name):
        return "has a name that is not made of a-z, 0-9 and _ (63 at most)"
    if name in RESERVED:
        return f"has a name that is kept for a command, `%gatewayx {name}`"
    return None


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file ``<name>_engine.py``.

    Attributes:
        name: The engine's name.
        path: The file.
        origin: Where it comes from.
        refusal: Why it is never executed, if so.
        warning: A warning about the file, if any.
        shadowed_by: Location of the engine that already has the name, if any.
    """

    name: str
    path: Path
    origin: Origin
    refusal: str | None = None
    warning: str = ""
    shadowed_by: str = ""

    @property
    def label(self) -> str:
        """Its location, in short form."""
        return self.path.name if self.origin == "shipped" else f"{self.origin}: {self.path.name}"

    @property
    def where(self) -> str:
        """Its full location, for users to open."""
        return str(self.path)

    @override
    def __hash__(self) -> int:
        return hash(self.name)  # a list looks up a thousand, and hashing paths is noticeably slow


class Folder:
    """A folder of engine files; it is listed again when it changes.

    Args:
        path: The folder; it need not exist.
        origin: Where its engines come from.
        installed: Whether an installer created it, so that file modes are not checked.

    Attributes:
        found: Its engine files, by name.
        problem: Why it cannot be listed, in one line.
    """

    def __init__(self, path: Path, origin: Origin, *, installed: bool = False) -> None:
        self.path = path
        self.origin = origin
        self.problem = ""
        self._installed = installed
        self._watches: list[FileStamp] = []
        self.found: list[EngineFile] = []

    def refresh(self) -> bool:
        """List the folder again if it or a suspect file has changed; return whether one did.

        A change of a file's mode does not touch its folder, so suspect files are checked each time,
        for users to fix them; files that were loaded are checked by the code that loaded them.
        """
        if self._watches and not any(watch.has_changed() for watch in self._watches):
            return False
        watch = FileStamp(self.path)
        self.problem, files = "", []
        try:
            files = sorted(self._scan(), key=lambda file: file.name) if watch.exists else []
        except OSError as error:
            self.problem = f"the folder {str(self.path)!r} cannot be read: {error.strerror}."
        doubtful = [FileStamp(file.path) for file in files if file.refusal or file.warning]
        self.found, self._watches = files, [watch, *doubtful]
        return True

    def _scan(self) -> Iterator[EngineFile]:
        of_folder = None if self._installed else safety.folder_refusal(self.path)
        in_doubt = not self._installed and bool(safety.doubt(self.path, self.path))
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and not entry.name.startswith("_"):
                    name = entry.name.removesuffix(SUFFIX)
                    file = EngineFile(name, self.path / entry.name, self.origin)
                    why = why_unusable(name) or (of_folder and f"its folder {of_folder}")
                    if why:
                        yield replace(file, refusal=why)
                    elif self._installed or (safety.is_plain(entry) and not in_doubt):
                        yield file
                    else:
                        yield self._judged(file)

    def _judged(self, file: EngineFile) -> EngineFile:
        why = safety.refusal(file.path, self.path)
        if why:
            return replace(file, refusal=why)
        return replace(file, warning=safety.doubt(file.path, self.path))


def folders(config: Config) -> list[Folder]:
    """Return the folders to search, in order of precedence.

    In a clone the project's folder is the shipped one; it counts as shipped.
    """
    named = config.env.get("GATEWAYX_ENGINES_PATH", "").split(os.pathsep)
    ours = shipped_path("engines").resolve()
    wanted: list[tuple[Path, Origin]] = [
        *((Path(path).expanduser().absolute(), "path") for path in named if path),
        *((place.engines, place.owner) for place in config.places),
        (ours, "shipped"),
    ]
    seen: dict[Path, Folder] = {}
    for path, origin in wanted:
        real = path.resolve()
        if real == ours:
            seen.setdefault(real, Folder(path, "shipped", installed=is_installed(real)))
        else:
            seen.setdefault(real, Folder(path, origin))
    return list(seen.values())


def is_installed(path: Path) -> bool:
    """Return whether a path is inside this package: true in a wheel, false in a clone."""
    return path.is_relative_to(Path(__file__).resolve().parents[1])
