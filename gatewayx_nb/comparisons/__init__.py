"""One prompt to many models, side by side: while they answer, and when they have.

Not called ``compare``: that name of the package is the pool's method.
"""

from gatewayx_nb.comparisons.comparison import (
    Comparison,
    Outcome,
    fault,
    labelled,
    pace,
    said,
)
from gatewayx_nb.comparisons.differences import Span, differences
from gatewayx_nb.comparisons.journal import OPTIONS, Journal, Record, Spread, spread
from gatewayx_nb.comparisons.race import Column, Progress, Race, line_up
from gatewayx_nb.comparisons.rounds import Round
from gatewayx_nb.comparisons.verdicts import Standing, Verdict, Vote

__all__ = [
    "OPTIONS",
    "Column",
    "Comparison",
    "Journal",
    "Outcome",
    "Progress",
    "Race",
    "Record",
    "Round",
    "Span",
    "Spread",
    "Standing",
    "Verdict",
    "Vote",
    "differences",
    "fault",
    "labelled",
    "line_up",
    "pace",
    "said",
    "spread",
]
