"""The commands of every front end: each parses a line, calls one function and returns a result."""

from gatewayx_nb.commands.command import FailedCell, Session
from gatewayx_nb.commands.dispatch import COMMANDS, TOPICS, run
from gatewayx_nb.commands.keys import typed_key_error
from gatewayx_nb.commands.line_parser import LineParser
from gatewayx_nb.commands.usage import DryRun, dry_run

__all__ = [
    "COMMANDS",
    "TOPICS",
    "DryRun",
    "FailedCell",
    "LineParser",
    "Session",
    "dry_run",
    "run",
    "typed_key_error",
]
