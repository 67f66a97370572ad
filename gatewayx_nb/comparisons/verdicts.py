"""How a person judged answers that stood side by side, and which models won how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Vote = Literal["better", "tie", "bad"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of the answers to one question.

    Attributes:
        vote: ``"better"``: one is better than the others. ``"tie"``: all are as good. ``"bad"``:
            all are bad.
        winner: The column that is better, from 0; ``None`` for the other votes.
        note: Why, in the voter's own words.
    """

    vote: Vote
    winner: int | None = None
    note: str = ""

    def of(self, column: int) -> str:
        """Tell what it means for one column: ``better``, ``worse``, ``tie`` or ``bad``."""
        if self.vote != "better":
            return self.vote
        return "better" if column == self.winner else "worse"


@dataclass(frozen=True, slots=True)
class Standing:
    """How one model stands after all votes.

    Attributes:
        reference: The model, as it was named.
        wins: Questions in which an answer of it was the better one.
        losses: Questions in which another model's was.
        ties: Questions in which all were as good.
        bad: Questions in which all were bad.
    """

    reference: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0

    @property
    def win_rate(self) -> float | None:
        """Wins and half of the ties, of all questions but those in which all were bad."""
        decided = self.wins + self.losses + self.ties
        return (self.wins + self.ties / 2) / decided if decided else None


def standings(judged: Iterable[tuple[Sequence[str], Verdict]]) -> list[Standing]:
    """Add votes up, the best model first.

    Args:
        judged: The references that stood side by side, and the verdict. One that stood there
            several times counts once; it does not lose against itself.
    """
    counts: dict[str, Counter[str]] = {}
    for references, verdict in judged:
        winner = None if verdict.winner is None else references[verdict.winner]
        for reference in dict.fromkeys(references):
            meant = {"tie": "ties", "bad": "bad"}.get(verdict.vote) or (
                "wins" if reference == winner else "losses"
            )
            counts.setdefault(reference, Counter())[meant] += 1
    found = [Standing(reference, **count) for reference, count in counts.items()]
    return sorted(found, key=lambda one: (-(one.win_rate or 0), -one.wins, one.reference))
