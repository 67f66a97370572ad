"""``python -m gatewayx_nb.cassettes FILE`` prints a cassette for people, or for ``git diff``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes import listing
from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a cassette.

    Returns:
        0, or 1 if it cannot be read.
    """
    parser = argparse.ArgumentParser(
        "python -m gatewayx_nb.cassettes",
        description="Print a cassette for people; fit as a `textconv` of git.",
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    path = parser.parse_args(arguments).file
    if isinstance(sys.stdout, io.TextIOWrapper):  # git may run it in the C locale
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        for line in listing.lines(path):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    except ConfigError as error:
        sys.stderr.write(f"{error.describe()}\n")
        return 1
    except BrokenPipeError:  # as in `… | head`
        # Otherwise, Python would write to the pipe once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
