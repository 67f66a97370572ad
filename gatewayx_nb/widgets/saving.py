"""Results in a new file: CSV, JSON Lines or Markdown, depending on its suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from gatewayx_nb.comparisons import ComparisonHistory

KINDS = {".csv": "CSV", ".jsonl": "JSON lines", ".md": "Markdown"}
"""The supported file suffixes and their formats."""


def save(journal: ComparisonHistory, path: str | Path) -> Path:
    """Write all results to a new file.

    Raises:
        UsageError: If there are no results, or the suffix is not supported.
        ConfigError: If the file exists or cannot be written.
    """
    place = Path(path).expanduser()
    write = {".csv": journal.to_csv, ".jsonl": journal.to_jsonl, ".md": journal.to_markdown}
    if place.suffix not in write:
        known = ", ".join(f"{ending} ({kind})" for ending, kind in KINDS.items())
        raise UsageError(f"{place.name!r} has none of the endings {known}.", hint="Name it so.")
    if not journal.records:
        raise UsageError("there are no results yet.", hint="Press Run first.")
    # A provider may send a lone surrogate, which cannot be encoded.
    written = write[place.suffix]().encode("utf-8", "replace")
    try:
        with place.open("xb") as file:
            file.write(written)
    except FileExistsError:
        raise ConfigError(f"{str(place)!r} is there already.", hint="Give another name.") from None
    except OSError as error:
        raise ConfigError(
            f"{str(place)!r} cannot be written: {error.strerror or error}.",
            hint="Give a name in a folder that you may write.",
        ) from None
    return place


def free(stem: str, ending: str) -> Path:
    """Return an unused file name in the current folder."""
    number, place = 1, Path(f"{stem}{ending}")
    while place.exists():
        number += 1
        place = Path(f"{stem}-{number}{ending}")
    return place
