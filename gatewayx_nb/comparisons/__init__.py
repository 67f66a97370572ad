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
from gatewayx_nb.comparisons.race import Column, Progress, Race, line_up

__all__ = [
    "Column",
    "Comparison",
    "Outcome",
    "Progress",
    "Race",
    "fault",
    "labelled",
    "line_up",
    "pace",
    "said",
]
