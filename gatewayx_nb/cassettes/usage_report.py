"""Reports to another process which entries of a cassette were not used.

pytest sets the environment variable `VARIABLE` for a notebook's kernel. If the variable is not set,
nothing is written.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatewayx_nb.cassettes.entry import CassetteEntry

VARIABLE = "GATEWAYX_CASSETTE_REPORT"
"""Environment variable with the file to which a line is appended when a cassette is finished."""

log = logging.getLogger("gatewayx_nb")


@dataclass(frozen=True, slots=True)
class CassetteUsage:
    """The number of entries of a cassette, and the entries that no process used.

    Attributes:
        entries: The number of entries.
        unused: The IDs of the entries that were not used.
    """

    entries: int
    unused: frozenset[str]


def append_usage(
    path: Path, entries: int, find_unused: Callable[[], Iterable[CassetteEntry]]
) -> None:
    """Append a line about a cassette to the file that `VARIABLE` names, if it is set."""
    report = os.environ.get(VARIABLE)
    if not report:
        return
    usage = {
        "path": str(path),
        "entries": entries,
        "unused": list(map(_entry_id, find_unused())),
    }
    try:
        with Path(report).open("ab") as file:
            file.write(json.dumps(usage).encode() + b"\n")
    except OSError as error:
        log.warning("%s", plain(f"{VARIABLE}: {report!r} cannot be written: {error.strerror}."))


def read_usage(report: Path) -> dict[Path, CassetteUsage]:
    """Return the usage of each cassette; an entry is unused if it is unused in every line.

    A notebook may open a cassette several times and use different entries each time.
    """
    usages: dict[Path, CassetteUsage] = {}
    for line in report.read_bytes().splitlines():
        fields = json.loads(line)
        path, unused_ids = Path(fields["path"]), frozenset(fields["unused"])
        earlier_usage = usages.get(path)
        usages[path] = CassetteUsage(
            fields["entries"], earlier_usage.unused & unused_ids if earlier_usage else unused_ids
        )
    return usages


def _entry_id(entry: CassetteEntry) -> str:
    digest = entry.request.digest.hex()[:32]
    return f"{digest} {entry.engine}:{entry.model} {entry.repeat}"
