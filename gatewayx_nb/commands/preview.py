"""``--dry-run``: shows what a call would send, and what that may cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb import rendering
from gatewayx_nb.commands.outcomes import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.engine_pool import Preview

_LONGEST = 20_000
"""Characters of a body that are shown; an image in it may have millions."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table, and below it a text as it stands."""

    table: Table
    text: str

    @override
    def __repr__(self) -> str:
        return f"{self.table!r}\n\n{rendering.plain(self.text)}"

    def _repr_html_(self) -> str:
        return f"{self.table._repr_html_()}<pre>{rendering.escape(self.text)}</pre>"


def sheet(told: Sequence[Preview]) -> Sheet:
    """Show what would be sent to each."""
    columns = ("nothing was sent to", "at", "tokens in", "tokens out", "cost")
    texts = [_body(one) for one in told]
    if len(told) > 1:
        texts = [f"{_name(one)}\n{text}" for one, text in zip(told, texts, strict=True)]
    return Sheet(Table(columns, tuple(map(_row, told))), "\n\n".join(texts))


def _row(told: Preview) -> tuple[str, ...]:
    cost = "unpriced" if told.cost is None else f"at most ${told.cost.normalize():f}"
    tokens = (f"about {told.usage.input_tokens}", f"at most {told.usage.output_tokens}")
    return _name(told), told.where or "this process", *tokens, cost


def _name(told: Preview) -> str:
    return f"{told.engine}:{told.model}".rstrip(":")


def _body(told: Preview) -> str:
    text = json.dumps(told.body, ensure_ascii=False, indent=1, default=repr)
    cut = f"\n… {len(text) - _LONGEST} further characters" if len(text) > _LONGEST else ""
    return text[:_LONGEST] + cut
