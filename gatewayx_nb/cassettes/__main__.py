"""``python -P -m gatewayx_nb.cassettes FILE`` prints a cassette in readable form.

With ``-P`` no module is imported from the current folder, which may be a clone.
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
        "--textconv", action="store_true", help="print an error as text and succeed, for git"
    )
    parsed = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # git may run this in the C locale
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        _print(parsed.file, as_text=parsed.textconv)
    except ConfigError as error:
        sys.stderr.write(f"{error.describe()}\n")
        return 1
    except BrokenPipeError:  # as in `… | head`
        # Otherwise, Python would write to the pipe again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _print(path: Path, *, as_text: bool) -> None:
    """Print a cassette; raise an error, or print it if ``as_text`` is set."""
    try:
        for line in _lines(path):
            sys.stdout.write(f"{line}\n")
    except ConfigError as error:
        if not as_text:
            raise
        sys.stdout.write(f"{plain(error.describe())}\n")
    sys.stdout.flush()


def _lines(path: Path) -> Iterator[str]:
    if os.path.isdir(path) or not os.path.exists(path):
        what = "is a folder" if os.path.isdir(path) else "does not exist"
        raise ConfigError(f"{str(path)!r} {what}.", hint="Check the path.")
    yield from listing.lines(path)


if __name__ == "__main__":
    sys.exit(main())
