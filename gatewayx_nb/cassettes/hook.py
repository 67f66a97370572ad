"""``gatewayx-cassettes``: a pre-commit hook that reports private text in cassettes."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes import privacy, tape
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = re.compile(
    rb'^(?:\xef\xbb\xbf)?\s*\{\s*"format"\s*:\s*"%s"' % tape.FORMAT.encode(), re.MULTILINE
)
"""The header of a cassette, which is on its first line unless a merge has left a marker there."""

_START = 1024
"""Number of bytes at the start of a file in which the header is looked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check files and print one line for each cassette with a finding; ignore all other files.

    Returns:
        1 if there is a finding, or if a cassette cannot be read; otherwise 0.
    """
    parser = argparse.ArgumentParser(
        "gatewayx-cassettes",
        description="Report tables in requests, e-mail addresses and what looks like a key in"
        " cassettes. Files that are not cassettes are ignored.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    reports = {path: _report(path) for path in parser.parse_args(arguments).files}
    found = [f"{path}: {report}" for path, report in reports.items() if report]
    for line in found:
        sys.stderr.write(f"{plain(line)}\n".replace("\n", " ").rstrip() + "\n")
    if found:
        sys.stderr.write(f"{privacy.REMEDY} Record the calls again afterwards.\n")
    return 1 if found else 0


def _report(path: Path) -> str:
    """Return what is to be reported about a file; empty if there is nothing, or no cassette."""
    # Of a link, git stores only the target.
    if os.path.islink(path) or not os.path.isfile(path):
        return ""
    try:
        with path.open("rb") as file:
            if not _HEADER.search(file.read(_START)):
                return ""
        content = tape.read(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ConfigError as error:
        return error.describe()
    findings = privacy.describe(list(privacy.search(content.lines)))
    # The line that was skipped could not be searched.
    return "; ".join(filter(None, [findings, content.problem]))
