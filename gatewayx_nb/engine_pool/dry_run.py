"""The output of a dry run: what calls would send and how much they would cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from typing_extensions import override

from gatewayx_nb import html
from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.messages import ToolDefinition
from gatewayx_nb.text import dollars, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.engine_pool.preview import CallPreview

_MAX_BODY_LENGTH = 20_000
"""Maximum number of characters of a body to show; a body with an image may have millions."""


@dataclass(frozen=True, slots=True)
class DryRun:
    """The requests that calls would send, and their cost.

    Attributes:
        table: One row per call.
        prompt: The prompt as text. If the calls differ, each prompt follows the name of its model.
        bodies: The JSON bodies of the requests.
    """

    table: Table[CallPreview]
    prompt: str
    bodies: str

    @classmethod
    def of(cls, previews: Sequence[CallPreview]) -> DryRun:
        """Return the dry run of one or more calls."""
        names = list(map(_reference_cell, previews))
        prompts = [preview.prompt for preview in previews]
        # Engines that do not support system prompts or schemas get these as part of the prompt.
        prompt = prompts[0] if len(set(prompts)) == 1 else _with_names(names, prompts)
        bodies = list(map(_body, previews))
        return cls(
            Table(previews, _COLUMNS),
            prompt,
            bodies[0] if len(bodies) == 1 else _with_names(names, bodies),
        )

    @override
    def __repr__(self) -> str:
        return "\n\n".join([repr(self.table), plain(self.prompt), plain(self.bodies)])

    def _repr_html_(self) -> str:
        bodies = html.details("Request body, as JSON", f"<pre>{html.escape(self.bodies)}</pre>")
        return f"{self.table._repr_html_()}{html.preformatted_html(self.prompt)}{bodies}"


def _reference_cell(preview: CallPreview) -> str:
    return f"{preview.engine}:{preview.model}".rstrip(":")


def _destination_cell(preview: CallPreview) -> str:
    return urlsplit(preview.where).netloc or "this process"


def _tokens_in_cell(preview: CallPreview) -> str:
    low, high = preview.input_tokens.low, preview.input_tokens.high
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _cost_cell(preview: CallPreview) -> str:
    lowest_cost, highest_cost = preview.lowest_cost, preview.highest_cost
    if lowest_cost is None:
        return "unpriced"
    if highest_cost is None:
        return f"{dollars(lowest_cost)} and the answer"
    return (
        dollars(highest_cost)
        if lowest_cost == highest_cost
        else f"{dollars(lowest_cost)} to {dollars(highest_cost)}"
    )


def _tokens_out_cell(preview: CallPreview) -> str:
    return "no limit" if preview.max_tokens is None else f"at most {preview.max_tokens:,}"


_COLUMNS: tuple[TableColumn[CallPreview], ...] = (
    TableColumn("dry run, nothing sent", _reference_cell),
    TableColumn("to", _destination_cell),
    TableColumn("tokens in", _tokens_in_cell, "right"),
    TableColumn("tokens out", _tokens_out_cell, "right"),
    TableColumn("cost", _cost_cell, "right"),
)


def _with_names(names: list[str], texts: list[str]) -> str:
    return "\n\n".join(f"{name}\n{text}" for name, text in zip(names, texts, strict=True))


def _body(preview: CallPreview) -> str:
    text = json.dumps(preview.body, ensure_ascii=False, indent=1, default=_to_json)
    omitted_count = len(text) - _MAX_BODY_LENGTH
    request_line = f"POST {preview.where}\n" if preview.where else ""
    return (
        request_line
        + text[:_MAX_BODY_LENGTH]
        + (f"\n… {omitted_count} more characters" if omitted_count > 0 else "")
    )


def _to_json(value: object) -> object:
    # Declarations of tools are shown as JSON; a user's engine may add any object.
    return asdict(value) if isinstance(value, ToolDefinition) else repr(value)
