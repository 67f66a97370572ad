"""Every engine there is, as a file or a row, in the order in which they win."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatewayx_nb.model_registry.folders import EngineFile, folders
from gatewayx_nb.model_registry.rows import EngineRow, RowFile
from gatewayx_nb.secure_config import shipped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gatewayx_nb.secure_config import Config

Source = EngineFile | EngineRow


class Sources:
    """The folders of engine files, and then the files of engine rows.

    Args:
        config: Names the project and user folder.
    """

    def __init__(self, config: Config) -> None:
        own = config.user.root / "config" / "engines.toml"
        self._folders = folders(config)
        self._row_files = [
            RowFile(own, "user"),
            RowFile(shipped("config/engines.toml"), "shipped"),
        ]

    def all(self) -> list[Source]:
        """Give every engine, the shadowed ones too; reads only what changed."""
        files = (file for folder in self._folders for file in folder.files())
        rows = (row for file in self._row_files for row in file.rows())
        return list(ranked([*files, *rows]))

    def vouched(self, name: str) -> list[Source]:
        """Give the engines of a name that are shipped or the user's own."""
        files = (file for folder in self._folders for file in folder.files())
        rows = (row for file in self._row_files for row in file.rows())
        found: list[Source] = [*files, *rows]
        return [source for source in found if source.name == name and source.origin != "project"]

    @property
    def problems(self) -> list[str]:
        """Why files of rows could not be read, a line each."""
        return [str(file.problem) for file in self._row_files if file.problem]


def ranked(found: Iterable[Source]) -> Iterator[Source]:
    """Yield each source, marking those whose name an earlier one has; a true copy is left out."""
    winners: dict[str, Source] = {}
    for source in found:
        winner = winners.setdefault(source.name, source)
        if winner is source:
            yield source
        elif not same_bytes(winner.path, source.path):
            yield replace(source, shadowed_by=winner.path)


def same_bytes(one: Path, other: Path) -> bool:
    """Tell whether two files hold the same."""
    try:
        return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
    except OSError:
        return False
