"""The commands of all front ends; each parses a line, calls one function and returns a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach
from gatewayx_nb.commands.call_options import (
    add_shell_options,
    option_flags,
    read_options,
    typed_flags,
)
from gatewayx_nb.commands.command import Command, FailedCell, Session
from gatewayx_nb.commands.dispatch import (
    COMMANDS,
    GROUPS,
    SHELL_COMMANDS,
    TOPICS,
    help_topics,
    run,
)
from gatewayx_nb.commands.line_parser import LineParser

if TYPE_CHECKING:
    from gatewayx_nb.commands.cassette import recording
    from gatewayx_nb.commands.jobs import JOB_ACTIONS
    from gatewayx_nb.commands.keys import typed_key_error
    from gatewayx_nb.commands.map_rows import ROW_FORMATS

__all__ = [
    "COMMANDS",
    "GROUPS",
    "JOB_ACTIONS",
    "ROW_FORMATS",
    "SHELL_COMMANDS",
    "TOPICS",
    "Command",
    "FailedCell",
    "LineParser",
    "Session",
    "add_shell_options",
    "help_topics",
    "option_flags",
    "read_options",
    "recording",
    "run",
    "typed_flags",
    "typed_key_error",
]

# The handlers of the commands are imported when a command needs them.
__getattr__, _ = attach(
    __name__,
    {
        "JOB_ACTIONS": "gatewayx_nb.commands.jobs",
        "ROW_FORMATS": "gatewayx_nb.commands.map_rows",
        "recording": "gatewayx_nb.commands.cassette",
        "typed_key_error": "gatewayx_nb.commands.keys",
    },
)
