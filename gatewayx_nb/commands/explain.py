"""``%gatewayx explain``: asks a model about the last error, only on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import note
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import redact
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.replies import Reply

_LONGEST = 4_000
"""Maximum number of characters of a cell or an error to send."""


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A cell that raised an exception.

    Attributes:
        source: The cell's source; empty if unknown.
        line: The line that raised, counted from 1; 0 if unknown.
        error: The exception's class and message, without the traceback.
    """

    source: str
    line: int
    error: str


def explain(session: Session, words: argparse.Namespace) -> Reply:
    """Send the last error and its cell; the prompt is shown first."""
    failed = session.failed()
    if failed is None:
        raise UsageError("no cell has raised yet.", hint="Run the cell that fails, then ask again.")
    prompt = redact(_prompt(failed), session.pool.config.keys.secrets_by_name().values())
    session.show(note("This is sent, and no value of a variable:", *prompt.splitlines()))
    return session.ask(prompt, words.reference or session.pool.default_model())


def explain_arguments(parser: Parser) -> None:
    """``[REF]``."""
    parser.add_argument(
        "reference", nargs="?", metavar="REF", help="who is asked; else the default"
    )


def _prompt(failed: FailedCell) -> str:
    lines = failed.source.splitlines()
    at = f"\nLine {failed.line} raised: {lines[failed.line - 1].strip()}" if failed.line else ""
    cell = f"The cell:\n{_cut(failed.source.strip())}\n{at}\n" if failed.source else ""
    return (
        "A cell of a Python notebook raised an error. Say in a few sentences why, and how to mend"
        f" it.\n\n{cell}\nThe error:\n{_cut(failed.error)}"
    )


def _cut(text: str) -> str:
    clean = plain(text)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"
