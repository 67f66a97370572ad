"""What calls took and cost, without prompts or answers, and what a dry run would send."""

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
    from gatewayx_nb.engine_pool import CallPreview, ModelUsage

_MAX_BODY = 20_000
"""Maximum number of characters of a body to show; an image in it may have millions."""

_NO_CALLS = "No calls yet."


def usage(session: Session, _: argparse.Namespace) -> Table:
    """Show the usage and cost of this session's calls."""
    models = session.pool.usage()
    limit = session.pool.config.settings.limits.max_cost
    total = f"Total: {_dollars(sum((one.cost for one in models), Decimal(0)))}"
    notes = (
        (total, "Set a limit with `[limits] max_cost` in the settings.")
        if limit is None
        else (f"{total} of {_dollars(limit)}",)
    )
    rows = tuple(
        (
            _reference(one.engine, one.model),
            str(one.calls),
            str(one.failed or ""),
            str(one.input_tokens),
            str(one.output_tokens),
            _cost(one),
        )
        for one in models
    )
    columns = ("model", "calls", "failed", "tokens in", "tokens out", "cost")
    return Table(columns, rows, notes if rows else (_NO_CALLS,))


def history(session: Session, args: argparse.Namespace) -> Table:
    """Show the latest calls, including those of other sessions."""
    rows = tuple(
        (
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)),
            _reference(entry.engine, entry.model),
            entry.outcome if entry.attempts <= 1 else f"{entry.outcome}, {entry.attempts} attempts",
            f"{entry.latency:.1f} s",
            _count(entry.input_tokens),
            _count(entry.output_tokens),
            "unpriced" if entry.cost is None else _dollars(entry.cost),
        )
        for entry in session.pool.history(args.count)
    )
    file = display_path(session.pool.ledger)
    notes = (f"Stored in {file}: no prompts and no answers.",) if rows else (_NO_CALLS,)
    columns = ("ended", "model", "outcome", "took", "tokens in", "tokens out", "cost")
    return Table(columns, rows, notes)


def history_arguments(parser: LineParser) -> None:
    """``[N]``."""
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
    bodies = [_body(one) for one in previews]
    if len(previews) > 1:
        named = zip(previews, bodies, strict=True)
        bodies = [f"{_reference(one.engine, one.model)}\n{body}" for one, body in named]
    return DryRun(Table(columns, tuple(map(_preview_cells, previews))), "\n\n".join(bodies))


def _preview_cells(preview: CallPreview) -> tuple[str, ...]:
    return (
        _reference(preview.engine, preview.model),
        preview.where or "this process",
        f"about {preview.usage.input_tokens}",
        f"at most {preview.usage.output_tokens}",
        "unpriced" if preview.cost is None else f"at most {_dollars(preview.cost)}",
    )


def _body(preview: CallPreview) -> str:
    text = json.dumps(preview.body, ensure_ascii=False, indent=1, default=repr)
    rest = len(text) - _MAX_BODY
    return text[:_MAX_BODY] + (f"\n… {rest} more characters" if rest > 0 else "")


def _reference(engine: str, model: str) -> str:
    return f"{engine}:{model}".rstrip(":")


def _cost(one: ModelUsage) -> str:
    """Return the known cost and the number of unpriced calls."""
    priced = _dollars(one.cost) if one.cost or not one.unpriced else ""
    unpriced = f"{one.unpriced} unpriced" if one.unpriced else ""
    return ", ".join(filter(None, (priced, unpriced)))


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def _dollars(cost: Decimal) -> str:
    return f"${cost.normalize():f}"
