"""Metrics of a view: the dispersion of samples, and the ranking of models by votes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.comparisons import dispersion
from gatewayx_nb.html import table_html
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatewayx_nb.comparisons import Dispersion, LiveComparison, Ranking

_LONGEST_INPUT = 40


def spreads(rounds: Sequence[LiveComparison]) -> str:
    """Return the dispersion of each model with several samples; empty if there is none."""
    rows = [
        [shorten(one.input, _LONGEST_INPUT), *_spread(found)]
        for one in rounds
        for found in dispersion(one.comparison)
    ]
    heads = ["input", "model", "answers", "different", "seconds", "tokens out"]
    if len(rounds) == 1:  # no input, or only one
        rows, heads = [row[1:] for row in rows], heads[1:]
    return table_html(heads, rows) if rows else ""


def standings(found: Sequence[Ranking]) -> str:
    """Return wins, ties and losses; empty before the first vote."""
    rows = [
        [one.reference, *map(str, (one.wins, one.ties, one.losses, one.bad)), _share(one.win_rate)]
        for one in found
    ]
    heads = ["model", "wins", "ties", "losses", "bad", "win rate"]
    return table_html(heads, rows) if rows else ""


def _spread(one: Dispersion) -> list[str]:
    ranges = _range(one.latency, "{:.1f}"), _range(one.output_tokens, "{:.0f}")
    return [one.reference, str(one.answers), str(one.different), *ranges]


def _range(values: tuple[float, float, float] | None, how: str) -> str:
    """Return the median and the range of the values."""
    if values is None:
        return "?"
    least, middle, most = map(how.format, values)
    return f"{middle} ({least} to {most})"


def _share(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.0%}"
