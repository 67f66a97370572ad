"""``--dry-run``: shows what a call would send and its maximum cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb.commands.outcomes import Table
from gatewayx_nb.html import escape
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.engine_pool import CallPreview

_LONGEST = 20_000
"""Maximum number of characters of a body to show; an image in it may have millions."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table followed by verbatim text."""

    table: Table
    text: str

    @override
    def __repr__(self) -> str:
        return f"{self.table!r}\n\n{plain(self.text)}"

    def _repr_html_(self) -> str:
        return f"{self.table._repr_html_()}<pre>{escape(self.text)}</pre>"


def sheet(told: Sequence[CallPreview]) -> Sheet:
    """Show what would be sent to each engine."""
    columns = ("nothing was sent to", "at", "tokens in", "tokens out", "cost")
    texts = [_body(one) for one in told]
    if len(told) > 1:
        texts = [f"{_name(one)}\n{text}" for one, text in zip(told, texts, strict=True)]
    return Sheet(Table(columns, tuple(map(_row, told))), "\n\n".join(texts))


def _row(told: CallPreview) -> tuple[str, ...]:
    cost = "unpriced" if told.cost is None else f"at most ${told.cost.normalize():f}"
    tokens = (f"about {told.usage.input_tokens}", f"at most {told.usage.output_tokens}")
    return _name(told), told.where or "this process", *tokens, cost


def _name(told: CallPreview) -> str:
    return f"{told.engine}:{told.model}".rstrip(":")


def _body(told: CallPreview) -> str:
    text = json.dumps(told.body, ensure_ascii=False, indent=1, default=repr)
    cut = f"\n… {len(text) - _LONGEST} further characters" if len(text) > _LONGEST else ""
    return text[:_LONGEST] + cut
