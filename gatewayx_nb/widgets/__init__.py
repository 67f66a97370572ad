"""Model pickers and comparisons, built with ipywidgets.

Names are loaded on first use, because loading the extension must not load ipywidgets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.widgets.comparison_view import ComparisonView
    from gatewayx_nb.widgets.model_picker import ModelPicker
    from gatewayx_nb.widgets.views import compare_view, picker

__all__ = ["ComparisonView", "ModelPicker", "compare_view", "picker"]

_MODULES = {
    "ComparisonView": "comparison_view",
    "ModelPicker": "model_picker",
    "compare_view": "views",
    "picker": "views",
}


def __getattr__(name: str) -> object:
    """Return a public name from its module."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
