"""Results in a file: CSV, JSON lines or Markdown, by its name; never over another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from gatewayx_nb.comparisons import Journal

KINDS = {".csv": "CSV", ".jsonl": "JSON lines", ".md": "Markdown"}
"""The endings that a file may have, and what they mean."""


def save(journal: Journal, path: str | Path) -> Path:
    """Write all results into a new file.

    Raises:
        UsageError: There is nothing to write, or the name has another ending.
        ConfigError: There is such a file, or it cannot be written.
    """
    place = Path(path).expanduser()
    write = {".csv": journal.to_csv, ".jsonl": journal.to_jsonl, ".md": journal.to_markdown}
    if place.suffix not in write:
        known = ", ".join(f"{ending} ({kind})" for ending, kind in KINDS.items())
        raise UsageError(f"{place.name!r} has none of the endings {known}.", mend="Name it so.")
    if not journal.records:
        raise UsageError("there are no results yet.", mend="Press Run first.")
    # A provider may send half of a surrogate pair, which is no text.
    written = write[place.suffix]().encode("utf-8", "replace")
    try:
        with place.open("xb") as file:
            file.write(written)
    except FileExistsError:
        raise ConfigError(f"{str(place)!r} is there already.", mend="Give another name.") from None
    except OSError as error:
        raise ConfigError(
            f"{str(place)!r} cannot be written: {error.strerror or error}.",
            mend="Give a name in a folder that you may write.",
        ) from None
    return place


def free(stem: str, ending: str) -> Path:
    """Give a name in the current folder that no file has."""
    number, place = 1, Path(f"{stem}{ending}")
    while place.exists():
        number += 1
        place = Path(f"{stem}-{number}{ending}")
    return place
