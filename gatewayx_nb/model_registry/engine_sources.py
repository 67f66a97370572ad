"""Collects engines from files, entry points and ``engines.toml``, in order of precedence."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.files import link_in, read_limited
from gatewayx_nb.model_registry.engine_entries import EngineEntry, EnginesFile
from gatewayx_nb.model_registry.folders import EngineFile, engine_folders, why_unusable
from gatewayx_nb.model_registry.packages import EnginePackage, EntryPoints
from gatewayx_nb.secure_config import FileStamp, engine_variable, shipped_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayx_nb.model_registry.folders import EngineFolder, Origin
    from gatewayx_nb.secure_config import Config

EngineSource = EngineFile | EnginePackage | EngineEntry

_BASE_URL_VARIABLE = re.compile(r"GATEWAYX_([A-Z0-9_]+)_BASE_URL")


class EngineSources:
    """The engine files, entry points and engine entries; `refresh` picks up changes.

    Args:
        config: Provides the project and user folders and the variables.

    Attributes:
        active: The engine that is used for each name.
        shadowed: Engines whose name is already taken.
    """

    def __init__(self, config: Config) -> None:
        self.active: dict[str, EngineSource] = {}
        self.shadowed: list[EngineSource] = []
        self._config = config
        self._engines_path: str | None = None
        self._folders: list[EngineFolder] = []
        self._packages = EntryPoints()
        self._engines_files = _engines_files(config)
        self._base_urls: dict[str, str] = {}
        self._stamps_of_compared_files: list[FileStamp] = []
        self._names_outside_project: set[str] = set()

    def refresh(self) -> bool:
        """Check everything again; return whether anything changed.

        The check covers folders and ``engines.toml`` files but not each engine file, so that its
        duration does not depend on the number of engines.
        """
        base_urls = _base_urls_from_variables(self._config)
        # `any` with a generator would stop early, but every source must be refreshed.
        changes = [
            self._refresh_folders(),
            *(folder.refresh() for folder in self._folders),
            self._packages.refresh(),
            *(file.refresh() for file in self._engines_files),
            any(stamp.has_changed() for stamp in self._stamps_of_compared_files),
            base_urls != self._base_urls,
        ]
        if any(changes):
            self._base_urls = base_urls
            self._select_active()
        return any(changes)

    def may_be_outside_project(self, name: str) -> bool:
        """Return whether an engine with this name exists outside the project folder.

        Also return True if that is unknown, because a file or folder cannot be read.
        """
        locations: tuple[EngineFolder | EnginesFile, ...] = (*self._folders, *self._engines_files)
        is_unknown = any(location.problem for location in locations if location.origin != "project")
        return is_unknown or name in self._names_outside_project

    def entries_outside_project(self) -> list[EngineEntry]:
        """Return the entries of the user's and the shipped ``engines.toml``, in that order."""
        files = [file for file in self._engines_files if file.origin != "project"]
        return [entry for file in files for entry in file.entries]

    @property
    def problems(self) -> list[str]:
        """Why folders and ``engines.toml`` files could not be read, one line each."""
        problems = [folder.problem for folder in self._folders]
        problems += [file.problem for file in self._engines_files]
        return list(filter(None, problems))

    def _refresh_folders(self) -> bool:
        """Update the folders if ``GATEWAYX_ENGINES_PATH`` changed; return whether it did."""
        path = self._config.env.get("GATEWAYX_ENGINES_PATH", "")
        if path == self._engines_path:
            return False
        self._engines_path, self._folders = path, engine_folders(self._config)
        return True

    def _all_sources(self) -> Iterator[EngineSource]:
        """Yield the engines in order of precedence; installed packages precede shipped files."""
        # Shipped folders go last: in a clone of the repository, the project's own folder is also a
        # shipped folder.
        for folder in sorted(self._folders, key=lambda folder: folder.origin == "shipped"):
            if folder.origin == "shipped":
                yield from self._packages.engines
            yield from folder.files
        for file in self._engines_files:
            yield from file.entries

    def _select_active(self) -> None:
        """Separate the active engines from the shadowed ones."""
        active_sources: dict[str, EngineSource] = {}
        shadowed_sources: list[EngineSource] = []
        compared_stamps: list[FileStamp] = []
        names_outside_project: set[str] = set()
        for source in self._all_sources():
            if source.origin != "project":
                names_outside_project.add(source.name)
            active_source = active_sources.setdefault(source.name, source)
            if active_source is source:
                continue
            pair = (active_source, source)
            compared_stamps += [
                FileStamp(file.path) for file in pair if isinstance(file, EngineFile)
            ]
            if not _is_copy(active_source, source):
                shadowed_sources.append(replace(source, shadowed_by=active_source.where))
            elif active_source.origin == "project" and active_source.refusal_reason is None:
                # The project controls the modules that the copy imports, and later edits.
                active_sources[source.name] = source
        for name in self._base_urls:  # an OpenAI-compatible engine, unless the name is taken
            entry = EngineEntry(name, None, "variable", refusal_reason=why_unusable(name))
            active_sources.setdefault(name, entry)
            if self._config.keys.owner(engine_variable(name, "BASE_URL")) == "user":
                names_outside_project.add(name)
        self.active, self.shadowed, self._stamps_of_compared_files = (
            active_sources,
            shadowed_sources,
            compared_stamps,
        )
        self._names_outside_project = names_outside_project


def _is_copy(first: EngineSource, second: EngineSource) -> bool:
    """Return whether two engines are identical: files with equal content, or equal entries."""
    if isinstance(first, EngineEntry) and isinstance(second, EngineEntry):
        return first.refusal_reason == second.refusal_reason and first.settings == second.settings
    if not (isinstance(first, EngineFile) and isinstance(second, EngineFile)):
        return False
    with contextlib.suppress(OSError, ValueError):  # an unreadable or huge file is not a copy
        is_same_size = first.path.stat().st_size == second.path.stat().st_size
        return is_same_size and read_limited(first.path) == read_limited(second.path)
    return False


def _engines_files(config: Config) -> list[EnginesFile]:
    """Return the ``engines.toml`` of the project, the user and the package, without duplicates."""
    shipped_file = shipped_path("config/engines.toml")
    files: dict[Path, EnginesFile] = {}
    for folder in config.config_dirs:
        # A symlink, which is refused, must not hide its target.
        path = folder.engines_toml
        real_path = path if link_in(path, folder.root) else path.resolve()
        origin: Origin = "shipped" if real_path == shipped_file.resolve() else folder.owner
        files.setdefault(real_path, EnginesFile(path, origin))
    files.setdefault(shipped_file.resolve(), EnginesFile(shipped_file, "shipped"))
    return list(files.values())


def _base_urls_from_variables(config: Config) -> dict[str, str]:
    """Return the base URLs set by variables, keyed by engine."""
    matches = filter(None, map(_BASE_URL_VARIABLE.fullmatch, config.keys.variable_names()))
    values = {match[1].lower(): (config.keys.value(match[0]) or "").strip() for match in matches}
    return {name: values[name] for name in sorted(values) if values[name]}
