"""``gatewayx-cassettes``: a pre-commit hook that reports private text in cassettes."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gatewayx_nb.cassettes import cassette_lines, privacy
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADER = re.compile(
    rb'^(?:\xef\xbb\xbf\s*+)?[ \t\r\f\v]*+\{\s*"format"\s*:\s*"%s"'
    % cassette_lines.FORMAT.encode(),
    re.MULTILINE,
)
"""The header of a cassette, which is its first line unless a merge has put a marker there."""

_MAX_SEARCHED_BYTES = 1024
"""Number of bytes at the start of a file in which to search for the header."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check files and print one line for each cassette with a finding; ignore all other files.

    Returns:
        1 if there is a finding, if a cassette cannot be read, or if a path is missing or a folder;
        2 without files; otherwise 0.
    """
    parser = argparse.ArgumentParser(
        "gatewayx-cassettes",
        description="Report tables in requests, e-mail addresses and apparent keys in cassettes."
        " Files that are not cassettes are ignored.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    files: list[Path] = parser.parse_args(arguments).files
    if not files:
        parser.print_usage(sys.stderr)
        return 2
    reports = {path: _report(path) for path in files}
    problem_reports = {path: report for path, report in reports.items() if report.text}
    for path, report in problem_reports.items():
        line = plain(f"{path}: {report.text}").replace("\n", " ").rstrip()
        sys.stderr.write(f"{line}\n")
    if any(report.is_private for report in problem_reports.values()):
        sys.stderr.write(f"{privacy.REMEDY} Record the calls again afterwards.\n")
    return 1 if problem_reports else 0


class _Report(NamedTuple):
    text: str = ""
    is_private: bool = False


def _report(path: Path) -> _Report:
    """Return the report on a file; empty if there are no findings or the file is not a cassette."""
    # For a symlink, git stores only the target's path.
    if os.path.islink(path):
        return _Report()
    if os.path.isdir(path) or not os.path.exists(path):
        return _Report("is a folder; list its files." if os.path.isdir(path) else "does not exist.")
    try:
        if not _is_cassette(path):
            return _Report()
        content = cassette_lines.read(path)
    except OSError as error:
        return _Report(f"cannot be read: {error.strerror}")
    except ConfigError as error:
        return _Report(error.describe())
    findings = privacy.describe(list(privacy.search(content.lines)))
    # `problem` names a line that could not be read, and so was not searched.
    return _Report("; ".join(filter(None, [findings, content.problem])), bool(findings))


def _is_cassette(path: Path) -> bool:
    if not os.path.isfile(path):  # reading a pipe would never end
        return False
    with path.open("rb") as file:
        return _HEADER.search(file.read(_MAX_SEARCHED_BYTES)) is not None
