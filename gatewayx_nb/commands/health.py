"""``health``: checks that engines work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Table

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.engine_pool import EngineHealth


def health(session: Session, words: argparse.Namespace) -> Table:
    """Check the named engines, or all engines that are ready."""
    rows = tuple(map(_cells, session.pool.health(*words.names)))
    notes = () if words.names else ("The others wait for something: `%gatewayx status`.",)
    return Table(("engine", "works", "latency", "to do"), rows, notes)


def health_arguments(parser: Parser) -> None:
    """``[NAME…]``."""
    parser.usage = "%(prog)s [NAME…]"
    parser.add_argument("names", nargs="*", metavar="NAME", help="an engine")


def _cells(row: EngineHealth) -> tuple[str, ...]:
    latency = "" if row.latency is None else f"{row.latency:.2f} s"
    return (row.engine, "yes" if row.ok else "no", latency, row.error)
