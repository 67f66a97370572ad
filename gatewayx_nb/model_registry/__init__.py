"""Finds engines, matches keys, resolves references, reports what failed."""

from gatewayx_nb.model_registry.folders import ENGINE_NAME, RESERVED, why_unusable
from gatewayx_nb.model_registry.loader import Loaded
from gatewayx_nb.model_registry.registry import ModelRegistry
from gatewayx_nb.model_registry.status import EngineStatus, Target

__all__ = [
    "ENGINE_NAME",
    "RESERVED",
    "EngineStatus",
    "Loaded",
    "ModelRegistry",
    "Target",
    "why_unusable",
]
