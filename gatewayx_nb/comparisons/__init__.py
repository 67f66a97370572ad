"""Compares the answers of several models side by side, during and after their calls.

The package is not called ``compare``, because ``gatewayx_nb`` exports the pool's method under that
name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules
from gatewayx_nb.comparisons.comparer import Comparer

# Imported immediately, because `differences` is also the name of its module.
from gatewayx_nb.comparisons.differences import Span, differences

if TYPE_CHECKING:
    from gatewayx_nb.comparisons.comparison import (
        Comparison,
        Outcome,
        answer_calls_html,
        answer_details_html,
        answer_text,
        error_text,
        tokens_per_second,
    )
    from gatewayx_nb.comparisons.export import FILE_FORMATS, save_history, unused_path
    from gatewayx_nb.comparisons.form_values import (
        FIELD_LABELS,
        can_be_field_value,
        input_lines,
        parse_fields,
        parse_inputs,
        reusable_options,
    )
    from gatewayx_nb.comparisons.history import ComparisonRecord, Dispersion, dispersion
    from gatewayx_nb.comparisons.live import LiveComparison
    from gatewayx_nb.comparisons.model_catalog import CatalogItem, ModelCatalog
    from gatewayx_nb.comparisons.request import ComparisonRequest
    from gatewayx_nb.comparisons.run import (
        Column,
        ComparisonRun,
        check_comparison_options,
        plan_comparison,
    )
    from gatewayx_nb.comparisons.session import ComparisonSession
    from gatewayx_nb.comparisons.verdicts import ModelScore, Vote

__all__ = [
    "FIELD_LABELS",
    "FILE_FORMATS",
    "CatalogItem",
    "Column",
    "Comparer",
    "Comparison",
    "ComparisonRecord",
    "ComparisonRequest",
    "ComparisonRun",
    "ComparisonSession",
    "Dispersion",
    "LiveComparison",
    "ModelCatalog",
    "ModelScore",
    "Outcome",
    "Span",
    "Vote",
    "answer_calls_html",
    "answer_details_html",
    "answer_text",
    "can_be_field_value",
    "check_comparison_options",
    "differences",
    "dispersion",
    "error_text",
    "input_lines",
    "parse_fields",
    "parse_inputs",
    "plan_comparison",
    "reusable_options",
    "save_history",
    "tokens_per_second",
    "unused_path",
]

# A call needs only `Comparer`; the other modules are imported when models are compared.
__getattr__ = attach_modules(
    __name__,
    {
        "comparison": [
            "Comparison",
            "Outcome",
            "answer_calls_html",
            "answer_details_html",
            "answer_text",
            "error_text",
            "tokens_per_second",
        ],
        "export": ["FILE_FORMATS", "save_history", "unused_path"],
        "form_values": [
            "FIELD_LABELS",
            "can_be_field_value",
            "input_lines",
            "parse_fields",
            "parse_inputs",
            "reusable_options",
        ],
        "history": ["ComparisonRecord", "Dispersion", "dispersion"],
        "live": ["LiveComparison"],
        "model_catalog": ["CatalogItem", "ModelCatalog"],
        "request": ["ComparisonRequest"],
        "run": ["Column", "ComparisonRun", "check_comparison_options", "plan_comparison"],
        "session": ["ComparisonSession"],
        "verdicts": ["ModelScore", "Vote"],
    },
)
