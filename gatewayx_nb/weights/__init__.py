"""Downloads, verifies and removes the models that run on this machine.

>>> sorted(catalogue())
['smollm2']
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules
from gatewayx_nb.weights.catalogue import (
    DEFAULT_MODEL,
    MODEL_PATH_VARIABLE,
    Weights,
    catalogue,
    configured_path,
)
from gatewayx_nb.weights.gguf import check_gguf, takes_tools
from gatewayx_nb.weights.installed import (
    LocalModel,
    callable_models,
    hub_model,
    locate,
    pulled_models,
)

if TYPE_CHECKING:
    from gatewayx_nb.weights.pulling import install, pull, pull_model

__all__ = [
    "DEFAULT_MODEL",
    "MODEL_PATH_VARIABLE",
    "LocalModel",
    "Weights",
    "callable_models",
    "catalogue",
    "check_gguf",
    "configured_path",
    "hub_model",
    "install",
    "locate",
    "pull",
    "pull_model",
    "pulled_models",
    "takes_tools",
]

# Imported on first use, because most programs pull no model.
__getattr__ = attach_modules(__name__, {"pulling": ["install", "pull", "pull_model"]})
