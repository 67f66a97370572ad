"""Commands that show usage, cost and past calls, and the output of a dry run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.calls import Table
from gatewayx_nb.html import escape
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gatewayx_nb.commands.command import LineParser, Session
    from gatewayx_nb.engine_pool import CallPreview

_MAX_BODY = 20_000
"""Maximum number of characters of a body to show; an image in it may have millions."""

_NO_CALLS = "No calls yet."


def usage(session: Session, _: argparse.Namespace) -> Table:
    """Show the usage and cost of this session's calls."""
    models = session.pool.usage()
    limit = session.pool.config.settings.limits.max_cost
    # The start value, because the sum of no rows would be an int.
    total = f"Total: {dollars(sum((row.cost for row in models), Decimal(0)))}"
    notes: tuple[str, ...] = (total, "Set a limit with `[limits] max_cost` in the settings.")
    if limit is not None:
        notes = (f"{total} of {dollars(limit)}",)
    rows = tuple(
        (
            _reference(row.engine, row.model),
            *map(str, (row.calls, row.failed or "", row.input_tokens, row.output_tokens)),
            ", ".join(known_and_unpriced(row.cost, row.unpriced)),
        )
        for row in models
    )
    columns = ("model", "calls", "failed", "tokens in", "tokens out", "cost")
    return Table(columns, rows, notes if rows else (_NO_CALLS,))


def history(session: Session, args: argparse.Namespace) -> Table:
    """Show the latest calls, including those of other sessions."""
    rows = []
    for entry in session.pool.history(args.count):
        ended = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at))
        model = _reference(entry.engine, entry.model)
        outcome = entry.outcome + (f", {entry.attempts} attempts" if entry.attempts > 1 else "")
        tokens = _count(entry.input_tokens), _count(entry.output_tokens)
        cost = "unpriced" if entry.cost is None else dollars(entry.cost)
        rows.append((ended, model, outcome, f"{entry.latency:.1f} s", *tokens, cost))
    file = display_path(session.pool.ledger)
    notes = (f"Stored in {file}: no prompts and no answers.",) if rows else (_NO_CALLS,)
    columns = ("ended", "model", "outcome", "took", "tokens in", "tokens out", "cost")
    return Table(columns, tuple(rows), notes)


def history_arguments(parser: LineParser) -> None:
    """Add the arguments of ``history``: ``[N]``."""
    parser.add_argument(
        "count", nargs="?", type=int, default=20, metavar="N", help="number of calls; 20 if omitted"
    )


@dataclass(frozen=True, slots=True)
class DryRun:
    """The requests that calls would send, and their maximum cost.

    Attributes:
        table: One row per call.
        text: The bodies of the requests.
    """

    table: Table
    text: str

    @override
    def __repr__(self) -> str:
        return f"{self.table!r}\n\n{plain(self.text)}"

    def _repr_html_(self) -> str:
        return f"{self.table._repr_html_()}<pre>{escape(self.text)}</pre>"


def dry_run(previews: Sequence[CallPreview]) -> DryRun:
    """Return what would be sent to each engine."""
    columns = ("dry run, nothing sent", "to", "tokens in", "tokens out", "cost")
    bodies = list(map(_body, previews))
    if len(previews) > 1:
        names = [_reference(preview.engine, preview.model) for preview in previews]
        bodies = [f"{name}\n{body}" for name, body in zip(names, bodies, strict=True)]
    return DryRun(Table(columns, tuple(map(_preview_cells, previews))), "\n\n".join(bodies))


def _preview_cells(preview: CallPreview) -> tuple[str, ...]:
    return (
        _reference(preview.engine, preview.model),
        preview.where or "this process",
        f"about {preview.usage.input_tokens}",
        f"at most {preview.usage.output_tokens}",
        "unpriced" if preview.cost is None else f"at most {dollars(preview.cost)}",
    )


def _body(preview: CallPreview) -> str:
    # A user's engine may put any object into a body, which is only shown here.
    text = json.dumps(preview.body, ensure_ascii=False, indent=1, default=repr)
    rest = len(text) - _MAX_BODY
    return text[:_MAX_BODY] + (f"\n… {rest} more characters" if rest > 0 else "")


def _reference(engine: str, model: str) -> str:
    return f"{engine}:{model}".rstrip(":")


def known_and_unpriced(cost: Decimal, unpriced: int) -> list[str]:
    """Return the known cost and the number of unpriced calls, which may not be free."""
    known = [dollars(cost)] if cost or not unpriced else []  # "$0" would look like a price
    return known + ([f"{unpriced} unpriced"] if unpriced else [])


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def dollars(cost: Decimal) -> str:
    """Return an amount in US dollars, without trailing zeros."""
    return f"${cost.normalize():f}"
