"""``%gatewayx compare``: a widget that compares several models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session


def compare(session: Session, words: argparse.Namespace) -> object:
    """Return the widget for choosing, running and judging models."""
    return session.compare_view(words.references)


def compare_arguments(parser: Parser) -> None:
    """``[REF …]``."""
    parser.usage = "%(prog)s [REF…]"
    parser.add_argument("references", nargs="*", metavar="REF", help="ticked at first")
