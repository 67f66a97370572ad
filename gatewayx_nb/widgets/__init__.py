"""Model pickers and comparisons, built with ipywidgets.

Names are loaded on first use, because loading the extension must not load ipywidgets.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatewayx_nb.widgets.views import compare_view, picker

__all__ = ["compare_view", "picker"]


def __getattr__(name: str) -> object:
    """Return a public name from its module."""
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.views"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
