"""Commands that show usage, cost and past calls, and the output of a dry run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.html import details, escape, preformatted_html
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import dollars, known_and_unpriced, plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
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


@dataclass(frozen=True, slots=True)
class DryRun:
    """The requests that calls would send, and their cost.

    Attributes:
        table: One row per call.
        prompt: The prompt of all calls as text, or of each, below its model.
        bodies: The JSON bodies of the requests.
    """

    table: Table[CallPreview]
    prompt: str
    bodies: str

    @override
    def __repr__(self) -> str:
        return "\n\n".join([repr(self.table), plain(self.prompt), plain(self.bodies)])

    def _repr_html_(self) -> str:
        bodies = details("Request body, as JSON", f"<pre>{escape(self.bodies)}</pre>")
        return f"{self.table._repr_html_()}{preformatted_html(self.prompt)}{bodies}"


def _tokens_in(preview: CallPreview) -> str:
    low, high = preview.input_tokens.low, preview.input_tokens.high
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _cost(preview: CallPreview) -> str:
    lowest, highest = preview.lowest_cost, preview.highest_cost
    if lowest is None:
        return "unpriced"
    if highest is None:
        return f"{dollars(lowest)} and the answer"
    return dollars(highest) if lowest == highest else f"{dollars(lowest)} to {dollars(highest)}"


def _tokens_out(preview: CallPreview) -> str:
    return "no limit" if preview.max_tokens is None else f"at most {preview.max_tokens:,}"


_PREVIEW_COLUMNS: tuple[TableColumn[CallPreview], ...] = (
    TableColumn("dry run, nothing sent", lambda row: _reference(row.engine, row.model)),
    TableColumn("to", lambda row: row.where or "this process"),
    TableColumn("tokens in", _tokens_in, "right"),
    TableColumn("tokens out", _tokens_out, "right"),
    TableColumn("cost", _cost, "right"),
)


def dry_run(previews: Sequence[CallPreview]) -> DryRun:
    """Return what would be sent to each engine."""
    names = [_reference(preview.engine, preview.model) for preview in previews]
    prompts = [preview.prompt for preview in previews]
    # Engines without system prompts or schemas get these in the text of the prompt.
    prompt = prompts[0] if len(set(prompts)) == 1 else _named(names, prompts)
    bodies = list(map(_body, previews))
    return DryRun(
        Table(previews, _PREVIEW_COLUMNS),
        prompt,
        bodies[0] if len(bodies) == 1 else _named(names, bodies),
    )


def _named(names: list[str], texts: list[str]) -> str:
    return "\n\n".join(f"{name}\n{text}" for name, text in zip(names, texts, strict=True))


def _body(preview: CallPreview) -> str:
    # A user's engine may put any object into a body, which is only shown here.
    text = json.dumps(preview.body, ensure_ascii=False, indent=1, default=repr)
    rest = len(text) - _MAX_BODY
    return text[:_MAX_BODY] + (f"\n… {rest} more characters" if rest > 0 else "")


def _reference(engine: str, model: str) -> str:
    return f"{engine}:{model}".rstrip(":")
