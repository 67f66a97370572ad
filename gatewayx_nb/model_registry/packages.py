"""Finds engines in installed packages, by the entry point group ``gatewayx.engines``.

The name of an entry point is the engine's name; its value is a class, such as
``"my_package.engines:MyEngine"``, or a module that defines one class. The module is imported when
the engine is first used.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.model_registry.folders import why_unusable
from gatewayx_nb.secure_config import FileStamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import EntryPoint

    from gatewayx_nb.model_registry.folders import Origin

ENTRY_POINT_GROUP = "gatewayx.engines"


@dataclass(frozen=True, slots=True)
class EnginePackage:
    """An entry point.

    Attributes:
        name: The engine's name.
        module: The module to import.
        attribute: Name of the class in the module; empty if the module defines only one engine.
        package: Name and version of the package that provides it.
        refusal_reason: Why the module is not imported; ``None`` if it may be imported.
        shadowed_by: Location of the engine that already has the name, if any.
    """

    name: str
    module: str
    attribute: str
    package: str
    refusal_reason: str | None = None
    shadowed_by: str = ""
    warning: str = ""
    origin: Origin = "package"

    @property
    def label(self) -> str:
        """The location of the entry point, in short form."""
        return f"package: {self.package}"

    @property
    def where(self) -> str:
        """The full location of the entry point, for users to open."""
        attribute = f":{self.attribute}" if self.attribute else ""
        return f"{self.module}{attribute} in package {self.package}"

    def source(self) -> Path | None:
        """Return the module's file without importing anything; ``None`` if it is not found."""
        top_package, *submodules = self.module.split(".")
        try:
            # Only the top-level package is looked up, because `find_spec` imports the parents of a
            # submodule.
            spec = importlib.util.find_spec(top_package)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        if not submodules:
            return Path(spec.origin) if spec.has_location and spec.origin else None
        for base in (Path(folder, *submodules) for folder in spec.submodule_search_locations or ()):
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if path.is_file():
                    return path
        return None


class EntryPoints:
    """The installed entry points, which are searched again when `sys.path` changes."""

    def __init__(self) -> None:
        self.engines: list[EnginePackage] = []
        self._path: list[str] | None = None
        self._stamps: list[FileStamp] = []

    def refresh(self) -> bool:
        """Search again if packages may have changed; return whether the engines have changed."""
        if self._path == sys.path and not any(stamp.has_changed() for stamp in self._stamps):
            return False
        self._path = list(sys.path)  # a copy, because notebooks append to the list itself
        self._stamps = [FileStamp(Path(folder)) for folder in self._path]
        previous_engines, self.engines = (
            self.engines,
            list(map(_parse_entry_point, _find_entry_points())),
        )
        return previous_engines != self.engines


def _find_entry_points() -> Iterator[EntryPoint]:
    """Yield the entry points of the installed packages.

    The current folder is on `sys.path` in a kernel. A clone's metadata there does not make the
    clone an installed package, whose engines may receive the user's keys.
    """
    folders = [folder for folder in sys.path if not _is_current_folder(folder)]
    seen_names: set[str] = set()
    if not _may_have_engines(folders):
        return
    from importlib.metadata import distributions

    for dist in distributions(path=folders):
        entry_points = dist.entry_points.select(group=ENTRY_POINT_GROUP)
        # A later folder on `sys.path` may contain another version of a package.
        if entry_points and dist.name not in seen_names:
            seen_names.add(dist.name)
            yield from entry_points


def _may_have_engines(folders: Iterable[str]) -> bool:
    """Return whether an installed package may have an entry point of the group.

    Searching the files for the group's name first is a fast path: few packages contain it, and
    importing `importlib.metadata` and reading all packages with it takes longer than a call.
    Archives, and finders other than Python's own, are not searched; they may have such an entry
    point.
    """
    other_finders = (
        finder for finder in sys.meta_path if finder is not importlib.machinery.PathFinder
    )
    if any(hasattr(finder, "find_distributions") for finder in other_finders):
        return True
    return any(map(_may_have_group, folders))


def _may_have_group(folder: str) -> bool:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - paths take several times as long, as below
    except NotADirectoryError:
        return True
    except OSError:  # most interpreters have a folder on their path that does not exist
        return False
    metadata_folders = [
        name for name in names if name.lower().endswith((".dist-info", ".egg-info"))
    ]
    has_eggs = any(name.lower().endswith(".egg") for name in names)
    return has_eggs or any(
        _has_group(f"{folder}/{name}/entry_points.txt") for name in metadata_folders
    )


def _has_group(file: str) -> bool:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123
            return ENTRY_POINT_GROUP.encode() in stream.read()
    except OSError:  # most packages have no entry points
        return False


def _is_current_folder(folder: str) -> bool:
    try:
        return os.path.realpath(folder) == os.path.realpath(os.curdir)
    except OSError:  # the current folder was deleted
        return not Path(folder).is_absolute()


def _parse_entry_point(entry_point: EntryPoint) -> EnginePackage:
    """Parse an entry point; its metadata may contain anything."""
    # This is `None` for an entry point that was created without a distribution.
    dist = entry_point.dist
    package = f"{dist.name} {dist.version}" if dist else "an unnamed package"
    refusal_reason = why_unusable(entry_point.name)
    try:
        module, attribute = entry_point.module, entry_point.attr
    except AttributeError:  # raised by `importlib.metadata` for a value that it cannot parse
        module, attribute = entry_point.value, ""
        refusal_reason = refusal_reason or "has an invalid entry point"
    return EnginePackage(
        entry_point.name, module, attribute, package, refusal_reason=refusal_reason
    )
