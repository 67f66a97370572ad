"""Engines that installed packages bring, through the entry point group ``gatewayx.engines``.

An entry point's name is the engine's; it names a class, ``mine = "my_package.engines:MyEngine"``,
or a module that defines one. None is imported until its engine is used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.model_registry.folders import why_unusable
from gatewayx_nb.secure_config import Watch

if TYPE_CHECKING:
    from gatewayx_nb.model_registry.folders import Origin

GROUP = "gatewayx.engines"


@dataclass(frozen=True, slots=True)
class EnginePackage:
    """An entry point.

    Attributes:
        name: The engine's name.
        module: The module to import.
        attribute: The class in it; empty where it is the only one there.
        package: Name and version of the package that brings it.
        refusal: Why it is never imported, if so.
        shadowed_by: Where the engine is that has the name already, if so.
    """

    name: str
    module: str
    attribute: str
    package: str
    refusal: str | None = None
    shadowed_by: str = ""
    warning: str = ""
    origin: Origin = "package"

    @property
    def label(self) -> str:
        """Where it is, briefly."""
        return f"package: {self.package}"

    @property
    def where(self) -> str:
        """Where it is, for a person to go there."""
        attribute = f":{self.attribute}" if self.attribute else ""
        return f"{self.module}{attribute} in package {self.package}"

    def source(self) -> Path | None:
        """Find the file of its module without importing anything."""
        top, *rest = self.module.split(".")
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        if not rest:
            return Path(spec.origin) if spec.has_location and spec.origin else None
        bases = [Path(folder, *rest) for folder in spec.submodule_search_locations or ()]
        wanted = [
            place for base in bases for place in (base.with_suffix(".py"), base / "__init__.py")
        ]
        return next((place for place in wanted if place.is_file()), None)


class Packages:
    """The entry points of what is installed; looked up again when `sys.path` changes."""

    def __init__(self) -> None:
        self.found: list[EnginePackage] = []
        self._path: list[str] | None = None
        self._watches: list[Watch] = []

    def refresh(self) -> bool:
        """Look them up again if something was installed or removed; tell whether it was."""
        if self._path == sys.path and not any(watch.changed() for watch in self._watches):
            return False
        self._path = list(sys.path)
        self._watches = [Watch(Path(place)) for place in self._path]
        found = importlib.metadata.entry_points(group=GROUP)
        before, self.found = self.found, [_of(point) for point in found]
        return before != self.found


def _of(point: importlib.metadata.EntryPoint) -> EnginePackage:
    """Read an entry point; what is in the metadata may be anything."""
    dist = point.dist
    package = f"{dist.name} {dist.version}" if dist else "an unnamed package"
    why = why_unusable(point.name)
    try:
        module, attribute = point.module, point.attr
    except AttributeError:  # what `importlib.metadata` does with a value that it cannot read
        module, attribute, why = point.value, "", why or "has an entry point that names no module"
    return EnginePackage(point.name, module, attribute, package, refusal=why)
