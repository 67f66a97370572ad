"""Comparison of several models side by side, while they answer and afterwards.

Not called ``compare``, because the package exports the pool's method under that name.
"""

from gatewayx_nb.comparisons.comparison import (
    Comparison,
    Outcome,
    answer_text,
    error_text,
    tokens_per_second,
    unique_labels,
)
from gatewayx_nb.comparisons.differences import Span, differences
from gatewayx_nb.comparisons.history import (
    OPTIONS,
    ComparisonHistory,
    ComparisonRecord,
    Dispersion,
    dispersion,
)
from gatewayx_nb.comparisons.live import LiveComparison
from gatewayx_nb.comparisons.run import Column, ComparisonRun, plan_comparison
from gatewayx_nb.comparisons.session import ComparisonInput, ComparisonSession
from gatewayx_nb.comparisons.verdicts import Ranking, Verdict, Vote

__all__ = [
    "OPTIONS",
    "Column",
    "Comparison",
    "ComparisonHistory",
    "ComparisonInput",
    "ComparisonRecord",
    "ComparisonRun",
    "ComparisonSession",
    "Dispersion",
    "LiveComparison",
    "Outcome",
    "Ranking",
    "Span",
    "Verdict",
    "Vote",
    "answer_text",
    "differences",
    "dispersion",
    "error_text",
    "plan_comparison",
    "tokens_per_second",
    "unique_labels",
]
