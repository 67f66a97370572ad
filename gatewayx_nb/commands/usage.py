"""Commands that show usage, cost and past calls."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import display_path
from gatewayx_nb.storage import USAGE_KEYS
from gatewayx_nb.text import dollars, known_and_unpriced

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from gatewayx_nb.calls import Table
    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.engine_pool import ModelUsage
    from gatewayx_nb.storage import LedgerEntry, UsageTotals

_NO_CALLS = "No calls yet."


def usage(session: Session, args: argparse.Namespace) -> Table[ModelUsage] | Table[UsageTotals]:
    """Show the usage and cost of this session's calls, or of all past calls."""
    if args.by is not None or args.days is not None:
        return _past_usage(session, session.pool.usage(args.by, days=args.days))
    usage_table = session.pool.usage()
    if not usage_table:
        return usage_table.with_notes(_NO_CALLS)
    limit = session.pool.config.settings.limits.max_cost
    if limit is not None:
        return usage_table.with_notes(f"{_total_text(usage_table)} of {dollars(limit)}")
    return usage_table.with_notes(
        _total_text(usage_table), "Set a limit with `[limits] max_cost` in the settings."
    )


def _past_usage(session: Session, usage_table: Table[UsageTotals]) -> Table[UsageTotals]:
    if not usage_table:
        return usage_table.with_notes(_NO_CALLS)
    source_note = f"From {display_path(session.pool.ledger)}, including other sessions' calls."
    return usage_table.with_notes(_total_text(usage_table), *usage_table.notes, source_note)


def _total_text(usage_rows: Iterable[ModelUsage | UsageTotals]) -> str:
    rows = list(usage_rows)
    # With the start value, the sum of no rows is a Decimal instead of an int.
    cost = sum((row.cost for row in rows), Decimal(0))
    return f"Total: {known_and_unpriced(cost, sum(row.unpriced for row in rows))}"


def usage_arguments(parser: LineParser) -> None:
    """Add the arguments of ``usage``: ``[--by day|engine|model|job] [--days N]``."""
    parser.add_argument(
        "--by",
        choices=USAGE_KEYS,
        metavar="|".join(USAGE_KEYS),
        help="show totals of past calls, including those of other sessions",
    )
    parser.add_argument(
        "--days", type=int, metavar="N", help="only calls of the last N days, today included"
    )


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
