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
from gatewayx_nb.comparisons.export import FILE_FORMATS, save_history, unused_path
from gatewayx_nb.comparisons.form_values import FIELD_LABELS, fits_field, parse_fields, parse_inputs
from gatewayx_nb.comparisons.history import (
    ComparisonHistory,
    ComparisonRecord,
    Dispersion,
    dispersion,
)
from gatewayx_nb.comparisons.live import LiveComparison
from gatewayx_nb.comparisons.model_catalog import CatalogItem, ModelCatalog
from gatewayx_nb.comparisons.run import Column, ComparisonRun, plan_comparison
from gatewayx_nb.comparisons.session import ComparisonRequest, ComparisonSession
from gatewayx_nb.comparisons.verdicts import Ranking, Verdict, Vote

__all__ = [
    "FIELD_LABELS",
    "FILE_FORMATS",
    "CatalogItem",
    "Column",
    "Comparison",
    "ComparisonHistory",
    "ComparisonRecord",
    "ComparisonRequest",
    "ComparisonRun",
    "ComparisonSession",
    "Dispersion",
    "LiveComparison",
    "ModelCatalog",
    "Outcome",
    "Ranking",
    "Span",
    "Verdict",
    "Vote",
    "answer_text",
    "differences",
    "dispersion",
    "error_text",
    "fits_field",
    "parse_fields",
    "parse_inputs",
    "plan_comparison",
    "save_history",
    "tokens_per_second",
    "unique_labels",
    "unused_path",
]
