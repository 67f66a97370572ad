"""The ``%gatewayx`` commands, independent of the notebook."""

from __future__ import annotations

import argparse
from typing import Any

from gatewayx_nb.commands import keys
from gatewayx_nb.commands.explain import FailedCell
from gatewayx_nb.commands.grammar import Parser, Session
from gatewayx_nb.commands.keys import refusal
from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.commands.preview import Sheet, sheet
from gatewayx_nb.commands.state import overview
from gatewayx_nb.commands.table import COMMANDS, ask, unknown

__all__ = [
    "COMMANDS",
    "FailedCell",
    "Note",
    "Parser",
    "Session",
    "Sheet",
    "Table",
    "note",
    "refusal",
    "run",
    "sheet",
]


def run(session: Session, line: str) -> Any:  # noqa: ANN401 - the command's output
    """Run a line: a command, or a reference followed by a prompt.

    Raises:
        UsageError: If the line is neither.
        GatewayError: If the command fails.
    """
    word, rest = (*line.split(maxsplit=1), "", "")[:2]
    if not word:
        return overview(session, argparse.Namespace())
    if word in ("-h", "--help"):
        word = "help"
    if word in COMMANDS:
        return COMMANDS[word](session, rest)
    engines = {row.name for row in session.pool.status()}
    aliases = session.pool.config.settings.aliases
    if word.partition(":")[0] in engines or word in aliases:
        return ask(session, argparse.Namespace(text=line))
    if keys.holds_key(line):
        raise keys.refusal(session, line)
    raise unknown(word, [*COMMANDS, *engines, *aliases])
