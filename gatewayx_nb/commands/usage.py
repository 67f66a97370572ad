"""Commands that show usage, cost and past calls, and the output of a dry run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.html import escape
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import dollars, plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gatewayx_nb.commands.command import LineParser, Session
    from gatewayx_nb.engine_pool import CallPreview, ModelUsage
    from gatewayx_nb.storage import LedgerEntry

_MAX_BODY = 20_000
"""Maximum number of characters of a body to show; an image in it may have millions."""

_NO_CALLS = "No calls yet."


def usage(session: Session, _: argparse.Namespace) -> Table[ModelUsage]:
    """Show the usage and cost of this session's calls."""
    totals = session.pool.usage()
    if not totals:
        return totals.with_notes(_NO_CALLS)
    limit = session.pool.config.settings.limits.max_cost
    # The start value, because the sum of no rows would be an int.
    total = f"Total: {dollars(sum((row.cost for row in totals), Decimal(0)))}"
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


def _maximum_cost(preview: CallPreview) -> str:
    return "unpriced" if preview.cost is None else f"at most {dollars(preview.cost)}"


_PREVIEW_COLUMNS: tuple[TableColumn[CallPreview], ...] = (
    TableColumn("dry run, nothing sent", lambda row: _reference(row.engine, row.model)),
    TableColumn("to", lambda row: row.where or "this process"),
    TableColumn("tokens in", lambda row: f"about {row.usage.input_tokens}"),
    TableColumn("tokens out", lambda row: f"at most {row.usage.output_tokens}"),
    TableColumn("cost", _maximum_cost),
)


def dry_run(previews: Sequence[CallPreview]) -> DryRun:
    """Return what would be sent to each engine."""
    bodies = list(map(_body, previews))
    if len(previews) > 1:
        names = [_reference(preview.engine, preview.model) for preview in previews]
        bodies = [f"{name}\n{body}" for name, body in zip(names, bodies, strict=True)]
    return DryRun(Table(previews, _PREVIEW_COLUMNS), "\n\n".join(bodies))


def _body(preview: CallPreview) -> str:
    # A user's engine may put any object into a body, which is only shown here.
    text = json.dumps(preview.body, ensure_ascii=False, indent=1, default=repr)
    rest = len(text) - _MAX_BODY
    return text[:_MAX_BODY] + (f"\n… {rest} more characters" if rest > 0 else "")


def _reference(engine: str, model: str) -> str:
    return f"{engine}:{model}".rstrip(":")
