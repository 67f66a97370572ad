"""What ``%gatewayx X`` does: a table of small commands that know no notebook."""

from __future__ import annotations

import argparse
from typing import Any

from gatewayx_nb.commands import keys
from gatewayx_nb.commands.grammar import Parser, Session
from gatewayx_nb.commands.keys import refusal
from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.commands.preview import Sheet, sheet
from gatewayx_nb.commands.state import overview
from gatewayx_nb.commands.table import COMMANDS, ask, unknown

__all__ = [
    "COMMANDS",
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


def run(session: Session, line: str) -> Any:  # noqa: ANN401 - what the command shows
    """Do what a line says: a command, or a reference with a prompt behind it.

    Raises:
        UsageError: It is neither.
        GatewayError: What the command came upon.
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
