"""The commands of every front end: each parses a line, calls one function and returns a result."""

from gatewayx_nb.commands.command import FailedCell, LineParser, Session
from gatewayx_nb.commands.dispatch import COMMANDS, run
from gatewayx_nb.commands.keys import typed_key_error
from gatewayx_nb.commands.usage import DryRun, dry_run

__all__ = [
    "COMMANDS",
    "DryRun",
    "FailedCell",
    "LineParser",
    "Session",
    "dry_run",
    "run",
    "typed_key_error",
]
