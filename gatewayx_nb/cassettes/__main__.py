"""Prints a cassette in readable form: ``python -P -m gatewayx_nb.cassettes FILE``.

With ``-P``, no module is imported from the current folder, which may be an untrusted clone.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes import listing
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a cassette.

    Returns:
        0, or 1 if the cassette cannot be read. With ``--textconv``, the error is printed instead of
        the cassette and the result is 0, because git would otherwise stop at an unreadable version.
    """
    parser = argparse.ArgumentParser(
        "python -P -m gatewayx_nb.cassettes",
        description="Print a cassette in readable form; suitable as a git `textconv`.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument(
        "--textconv",
        action="store_true",
        help="for git: print an error to standard output and exit with 0",
    )
    parsed = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # git may run this in the C locale
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        _print(parsed.file, prints_errors=parsed.textconv)
    except ConfigError as error:
        sys.stderr.write(f"{error.describe()}\n")
        return 1
    except BrokenPipeError:  # as in `… | head`
        # Otherwise, Python would write to the pipe again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _print(path: Path, *, prints_errors: bool) -> None:
    """Print a cassette; raise an error, or print it if ``prints_errors`` is set."""
    try:
        for line in _lines(path):
            sys.stdout.write(f"{line}\n")
    except ConfigError as error:
        if not prints_errors:
            raise
        sys.stdout.write(f"{plain(error.describe())}\n")
    sys.stdout.flush()


def _lines(path: Path) -> Iterator[str]:
    if os.path.isdir(path) or not os.path.exists(path):
        problem = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ConfigError(f"{str(path)!r} {problem}.", hint="Check the path.")
    yield from listing.lines(path)


if __name__ == "__main__":
    sys.exit(main())
