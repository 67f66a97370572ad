"""Figures of a view: how far samples lie apart, and how the models stand after all votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb import rendering
from gatewayx_nb.comparisons import spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.comparisons import Round, Spread, Standing

_LONGEST_INPUT = 40


def spreads(rounds: Sequence[Round]) -> str:
    """Give the spread of each model that was asked several times; empty where none was."""
    rows = [
        [rendering.shorten(one.input, _LONGEST_INPUT), *_spread(found)]
        for one in rounds
        for found in spread(one.comparison)
    ]
    heads = ["input", "model", "answers", "different", "seconds", "tokens out"]
    if len(rounds) == 1:  # there is no input, or one alone
        rows, heads = [row[1:] for row in rows], heads[1:]
    return rendering.table_html(heads, rows) if rows else ""


def standings(found: Sequence[Standing]) -> str:
    """Give wins, ties and losses; empty before the first vote."""
    rows = [
        [one.reference, *map(str, (one.wins, one.ties, one.losses, one.bad)), _share(one.win_rate)]
        for one in found
    ]
    heads = ["model", "wins", "ties", "losses", "bad", "win rate"]
    return rendering.table_html(heads, rows) if rows else ""


def _spread(one: Spread) -> list[str]:
    ranges = _range(one.latency, "{:.1f}"), _range(one.output_tokens, "{:.0f}")
    return [one.reference, str(one.answers), str(one.different), *ranges]


def _range(values: tuple[float, float, float] | None, how: str) -> str:
    """Give the median, and between which two the others lie."""
    if values is None:
        return "?"
    least, middle, most = map(how.format, values)
    return f"{middle} ({least} to {most})"


def _share(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"
