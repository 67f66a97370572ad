"""Commands that show usage, cost and past calls."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import dollars, known_and_unpriced

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.calls import Table
    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.engine_pool import ModelUsage
    from gatewayx_nb.storage import LedgerEntry

_NO_CALLS = "No calls yet."


def usage(session: Session, _: argparse.Namespace) -> Table[ModelUsage]:
    """Show the usage and cost of this session's calls."""
    totals = session.pool.usage()
    if not totals:
        return totals.with_notes(_NO_CALLS)
    limit = session.pool.config.settings.limits.max_cost
    # The start value makes the sum of no rows a Decimal instead of an int.
    cost = sum((row.cost for row in totals), Decimal(0))
    total = f"Total: {known_and_unpriced(cost, sum(row.unpriced for row in totals))}"
    if limit is not None:
        return totals.with_notes(f"{total} of {dollars(limit)}")
    return totals.with_notes(total, "Set a limit with `[limits] max_cost` in the settings.")


def history(session: Session, args: argparse.Namespace) -> Table[LedgerEntry]:
    """Show the latest calls, including those of other sessions."""
    entries = session.pool.history(args.count)
    if not entries:
        return entries.with_notes(_NO_CALLS)
    file = display_path(session.pool.ledger)
    return entries.with_notes(f"Stored in {file}: no prompts and no answers.")


def history_arguments(parser: LineParser) -> None:
    """Add the arguments of ``history``: ``[N]``."""
    parser.add_argument(
        "count", nargs="?", type=int, default=20, metavar="N", help="number of calls; 20 if omitted"
    )
