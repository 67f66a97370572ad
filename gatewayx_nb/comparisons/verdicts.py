"""Represents the user's verdicts on compared answers, and ranks the models by them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Vote = Literal["better", "tie", "bad"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on the answers to one prompt.

    Attributes:
        vote: ``"better"``: one answer is better than the others. ``"tie"``: all are equally good.
            ``"bad"``: all are bad.
        winner: Index of the better column, from 0; ``None`` unless the vote is ``"better"``.
        note: The user's reason for the vote.
    """

    vote: Vote
    winner: int | None = None
    note: str = ""

    def for_column(self, column: int) -> str:
        """Return the verdict on one column: ``better``, ``worse``, ``tie`` or ``bad``."""
        if self.vote != "better":
            return self.vote
        return "better" if column == self.winner else "worse"


@dataclass(frozen=True, slots=True)
class ModelScore:
    """The score of one model after all votes.

    Attributes:
        reference: The model reference, as the caller passed it.
        wins: Number of prompts for which this model's answer was judged better.
        losses: Number of prompts for which another model's answer was judged better.
        ties: Number of prompts for which all answers were equally good.
        bad: Number of prompts for which all answers were bad.
    """

    reference: str
    wins: int = 0
    losses: int = 0
    ties: int = 0
    bad: int = 0

    @property
    def win_rate(self) -> float | None:
        """Wins plus half of the ties, divided by the number of prompts not rated bad."""
        judged_count = self.wins + self.losses + self.ties
        return (self.wins + self.ties / 2) / judged_count if judged_count else None


def rank(verdicts: Iterable[tuple[Sequence[str], Verdict]]) -> list[ModelScore]:
    """Return each model's score, best first.

    Args:
        verdicts: For each prompt, the compared references and the verdict. A reference that occurs
            several times is counted once, and does not lose to itself.
    """
    counts: dict[str, Counter[str]] = {}
    for references, verdict in verdicts:
        winner = None if verdict.winner is None else references[verdict.winner]
        # Each model counts once, regardless of its number of samples.
        for reference in dict.fromkeys(references):
            result = "wins" if reference == winner else "losses"
            score_field = {"tie": "ties", "bad": "bad"}.get(verdict.vote, result)
            counts.setdefault(reference, Counter())[score_field] += 1
    rankings = [ModelScore(reference, **count) for reference, count in counts.items()]
    return sorted(rankings, key=lambda row: (-(row.win_rate or 0), -row.wins, row.reference))
