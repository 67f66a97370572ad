"""The command ``completion``: prints what a shell needs to complete ``gatewayx …``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser

_SAFE_NAME = re.compile(r"[\w.:/-]+", re.ASCII)

SHELLS = ("bash", "zsh", "fish")
"""The shells for which the front end has a completion script."""


class Words(list[str]):
    """Words that are displayed one per line."""

    @override
    def __repr__(self) -> str:
        return "\n".join(self)


def completion(session: Session, _: argparse.Namespace) -> Words:
    """Return the names of the engines and aliases, for a completion script; start no engine.

    The names come from the project, so names with characters that a shell interprets are omitted.
    """
    engines = [row.name for row in session.pool.status(probe=False)]
    return Words(filter(_SAFE_NAME.fullmatch, [*engines, *session.pool.config.settings.aliases]))


def completion_arguments(parser: LineParser) -> None:
    """Add the arguments of ``completion``: ``bash|zsh|fish``."""
    parser.usage = "%(prog)s bash|zsh|fish"
    parser.add_argument(
        "shell",
        choices=(*SHELLS, "engines"),
        metavar="SHELL",
        help="bash, zsh or fish: print its completion script; engines: print their names",
    )
