"""``usage`` and ``history``: duration, tokens and cost of calls, without prompts or answers."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Table
from gatewayx_nb.secure_config import display_path

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.engine_pool import ModelUsage


def usage(session: Session, _: argparse.Namespace) -> Table:
    """Show the usage and cost of this kernel's calls."""
    sums = session.pool.usage()
    most = session.pool.config.settings.limits.max_cost
    total = sum((one.cost for one in sums), Decimal(0))
    spent = f"In all: {_dollars(total)}" + (f" of {_dollars(most)}" if most is not None else "")
    bound = "" if most is not None else "`[limits] max_cost` in the settings would bound it."
    rows = tuple(
        (
            f"{one.engine}:{one.model}".rstrip(":"),
            str(one.calls),
            str(one.failed or ""),
            str(one.input_tokens),
            str(one.output_tokens),
            _cost(one),
        )
        for one in sums
    )
    notes = tuple(filter(None, (spent, bound))) if rows else ("No call has been made yet.",)
    return Table(("model", "calls", "failed", "tokens in", "tokens out", "cost"), rows, notes)


def history(session: Session, words: argparse.Namespace) -> Table:
    """Show the latest calls, including those of other kernels."""
    rows = tuple(
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)),
            f"{entry.engine}:{entry.model}".rstrip(":"),
            entry.outcome if entry.attempts <= 1 else f"{entry.outcome}, {entry.attempts} attempts",
            f"{entry.latency:.1f} s",
            _count(entry.input_tokens),
            _count(entry.output_tokens),
            "unpriced" if entry.cost is None else _dollars(entry.cost),
        )
        for entry in session.pool.history(words.count)
    )
    place = display_path(session.pool.ledger)
    kept = f"Kept in {place}: figures alone, no prompt and no answer."
    notes = (kept,) if rows else ("No call has been made yet.",)
    columns = ("ended", "model", "outcome", "took", "tokens in", "tokens out", "cost")
    return Table(columns, rows, notes)


def history_arguments(parser: Parser) -> None:
    """``[N]``."""
    parser.add_argument(
        "count", nargs="?", type=int, default=20, metavar="N", help="how many, 20 by default"
    )


def _cost(one: ModelUsage) -> str:
    """Return the known cost and the number of unpriced calls."""
    priced = _dollars(one.cost) if one.cost or not one.unpriced else ""
    unpriced = f"{one.unpriced} unpriced" if one.unpriced else ""
    return ", ".join(filter(None, (priced, unpriced)))


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def _dollars(cost: Decimal) -> str:
    return f"${cost.normalize():f}"
