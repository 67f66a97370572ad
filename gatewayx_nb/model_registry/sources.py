"""All engines, from files, entry points and rows, in order of precedence."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.model_registry.folders import EngineFile, folders, why_unusable
from gatewayx_nb.model_registry.packages import EnginePackage, Packages
from gatewayx_nb.model_registry.rows import EngineRow, RowFile
from gatewayx_nb.secure_config import FileStamp, shipped_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gatewayx_nb.model_registry.folders import Folder, Origin
    from gatewayx_nb.secure_config import Config

Source = EngineFile | EnginePackage | EngineRow

_ADDRESS = re.compile(r"GATEWAYX_([A-Z0-9_]+)_BASE_URL")


class Sources:
    """The engine files, entry points and engine rows; `refresh` reads changes.

    Args:
        config: Provides the project and user folders and the variables.

    Attributes:
        winners: The active engine of each name.
        losers: Engines whose name is already taken.
    """

    def __init__(self, config: Config) -> None:
        self.winners: dict[str, Source] = {}
        self.losers: list[Source] = []
        self._config = config
        self._named: str | None = None
        self._folders: list[Folder] = []
        self._packages = Packages()
        self._row_files = _row_files(config)
        self._addresses: dict[str, str] = {}
        self._compared: list[FileStamp] = []
        self._vouched: dict[str, list[Source]] = {}
        self._copies: dict[tuple[Source, Source], bool] = {}

    def refresh(self) -> bool:
        """Check everything again; return whether anything changed.

        The check covers folders and files of rows, not each engine file, so that its duration does
        not grow with their number.
        """
        addresses = _addresses(self._config)
        changed = [
            self._follow_path(),
            *(folder.refresh() for folder in self._folders),
            self._packages.refresh(),
            *(file.refresh() for file in self._row_files),
            any(watch.has_changed() for watch in self._compared),
            addresses != self._addresses,
        ]
        if any(changed):
            self._addresses = addresses
            self._rank()
        return any(changed)

    def vouched(self, name: str) -> list[Source]:
        """Return the engines of a name that are shipped, installed or in the user folder."""
        return self._vouched.get(name, [])

    def is_copy(self, one: Source, other: Source) -> bool:
        """Return whether two engines are the same: files of equal bytes, or equal rows.

        The result is cached until something changes, because each call needs it.
        """
        pair = (one, other)
        if pair not in self._copies:
            self._copies[pair] = _is_copy(one, other)
        return self._copies[pair]

    @property
    def problems(self) -> list[str]:
        """Why folders and files of rows could not be read, one line each."""
        problems = [folder.problem for folder in self._folders]
        problems += [file.problem for file in self._row_files]
        return list(filter(None, problems))

    def _follow_path(self) -> bool:
        """Update the folders if ``GATEWAYX_ENGINES_PATH`` changed; return whether it did."""
        named = self._config.env.get("GATEWAYX_ENGINES_PATH", "")
        if named == self._named:
            return False
        self._named, self._folders = named, folders(self._config)
        return True

    def _found(self) -> Iterator[Source]:
        own = [folder for folder in self._folders if folder.origin != "shipped"]
        ours = [folder for folder in self._folders if folder.origin == "shipped"]
        for folder in own:
            yield from folder.found
        yield from self._packages.found
        for folder in ours:
            yield from folder.found
        for file in self._row_files:
            yield from file.rows

    def _rank(self) -> None:
        """Separate the active engines from the shadowed ones."""
        winners: dict[str, Source] = {}
        losers: list[Source] = []
        compared: list[FileStamp] = []
        vouched: dict[str, list[Source]] = {}
        self._copies = {}
        for source in self._found():
            if source.origin != "project":
                vouched.setdefault(source.name, []).append(source)
            winner = winners.setdefault(source.name, source)
            if winner is source:
                continue
            pair = (winner, source)
            compared += [FileStamp(one.path) for one in pair if isinstance(one, EngineFile)]
            if not self.is_copy(winner, source):
                losers.append(replace(source, shadowed_by=winner.where))
        for name in self._addresses:
            winners.setdefault(name, _of_address(name))
        self.winners, self.losers, self._compared = winners, losers, compared
        self._vouched = vouched


def _is_copy(one: Source, other: Source) -> bool:
    if isinstance(one, EngineRow) and isinstance(other, EngineRow):
        return one.refusal == other.refusal and one.says_the_same(other)
    if isinstance(one, EngineFile) and isinstance(other, EngineFile):
        return _same_bytes(one.path, other.path)
    return False


def _same_bytes(one: Path, other: Path) -> bool:
    try:
        if not (one.is_file() and other.is_file()):
            return False
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _row_files(config: Config) -> list[RowFile]:
    """Return the project's, the user's and the shipped file; in a clone two coincide."""
    ours = shipped_path("config/engines.toml")
    wanted: list[tuple[Path, Origin]] = [
        *((place.rows, place.owner) for place in config.places),
        (ours, "shipped"),
    ]
    seen: dict[Path, RowFile] = {}
    for path, origin in wanted:
        real = path.resolve()
        seen.setdefault(real, RowFile(path, "shipped" if real == ours.resolve() else origin))
    return list(seen.values())


def _addresses(config: Config) -> dict[str, str]:
    """Return the base URLs set by variables, by engine."""
    named = filter(None, map(_ADDRESS.fullmatch, config.keys.names()))
    values = {match[1].lower(): (config.keys.value(match[0]) or "").strip() for match in named}
    return {name: values[name] for name in sorted(values) if values[name]}


def _of_address(name: str) -> EngineRow:
    """Return the OpenAI-compatible engine for a base URL variable without an engine."""
    return EngineRow(name, None, "variable", refusal=why_unusable(name))
