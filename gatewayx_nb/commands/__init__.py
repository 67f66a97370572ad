"""The commands of every front end: each parses a line, calls one function and returns a result."""

from gatewayx_nb.commands.command import FailedCell, Session
from gatewayx_nb.commands.dispatch import COMMANDS, GROUPS, TOPICS, help_topics, run
from gatewayx_nb.commands.jobs import ACTIONS as JOB_ACTIONS
from gatewayx_nb.commands.keys import typed_key_error
from gatewayx_nb.commands.line_parser import LineParser

__all__ = [
    "COMMANDS",
    "GROUPS",
    "JOB_ACTIONS",
    "TOPICS",
    "FailedCell",
    "LineParser",
    "Session",
    "help_topics",
    "run",
    "typed_key_error",
]
