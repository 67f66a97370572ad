"""Prunes cassettes: removes unused entries, resolves conflicts and converts old formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes import cassette_lines
from gatewayx_nb.cassettes.codec import VERSION
from gatewayx_nb.cassettes.index import CassetteIndex

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayx_nb.cassettes.cassette import Cassette


@dataclass(frozen=True, slots=True)
class PruneReport:
    """The outcome of pruning a cassette.

    Attributes:
        removed: Number of lines removed.
        kept: Number of entries kept.
        conflicts: Number of calls with two different answers, the older of which was removed.
        was_used: Whether calls have been made, so that unused entries were known and removed;
            ``None`` if the cassette is not open.
        converted_from: The previous format version, if the file was converted.
        problem: A one-line message about a skipped part of the file; empty if none was skipped.
        unused: Number of unused entries that were kept.
    """

    removed: int
    kept: int
    conflicts: int
    was_used: bool | None = None
    converted_from: int | None = None
    problem: str = ""
    unused: int = 0


def prune_open(cassette: Cassette) -> PruneReport:
    """Prune an open cassette; see `Cassette.prune`.

    Raises:
        ConfigError: If the file cannot be written.
    """
    conflicts, was_used = len(cassette.index.conflicts), cassette.is_used
    removed_count = cassette.prune()
    unused_count = len(cassette.unused)
    return PruneReport(
        removed_count,
        len(cassette),
        conflicts,
        was_used,
        problem=cassette.problem,
        unused=unused_count,
    )


def settle(path: Path, root: Path | None) -> PruneReport:
    """Keep the newer of two answers to one call, and convert the file to the current format.

    Both sides of a merge conflict are kept, and its markers are removed.

    Args:
        path: The cassette.
        root: The project folder, below which no symlink is followed.

    Raises:
        ConfigError: If the file is not a cassette, or cannot be read or written.
    """
    content = cassette_lines.read(path, allow_markers=True)
    index = CassetteIndex()
    for line in content.lines:
        index.load(line)
    conflicts = len(index.conflicts)
    unwanted_lines = {line.data for line in index.forget_duplicates()}
    cassette_lines.arrange(path, unwanted_lines=unwanted_lines, root=root, drop_markers=True)
    return PruneReport(
        sum(line.data in unwanted_lines for line in content.lines),
        len(index),
        conflicts,
        converted_from=content.version if content.version < VERSION else None,
        problem=content.problem,
    )
