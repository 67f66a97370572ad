"""Widgets for selecting and comparing models and for viewing evaluations.

The names are imported on first use, because loading the extension must not import ipywidgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach

if TYPE_CHECKING:
    from gatewayx_nb.widgets.views import compare_view, evaluation_view, picker

__all__ = ["compare_view", "evaluation_view", "picker"]

__getattr__, __dir__ = attach(__name__, dict.fromkeys(__all__, f"{__name__}.views"))
