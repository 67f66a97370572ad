"""Discovers engines, their keys and their status, and resolves references."""

from gatewayx_nb.model_registry.engine_status import (
    ENGINE_COLUMNS,
    EngineStatus,
    Target,
    engine_table,
)
from gatewayx_nb.model_registry.folders import (
    ENGINE_NAME,
    SUFFIX,
    EngineFolder,
    suggested_name,
    why_unusable,
)
from gatewayx_nb.model_registry.loader import LoadedEngine, load, location
from gatewayx_nb.model_registry.registry import ModelRegistry
from gatewayx_nb.model_registry.report import LOCAL_ENGINE
from gatewayx_nb.model_registry.static_metadata import StaticMetadataReader

__all__ = [
    "ENGINE_COLUMNS",
    "ENGINE_NAME",
    "LOCAL_ENGINE",
    "SUFFIX",
    "EngineFolder",
    "EngineStatus",
    "LoadedEngine",
    "ModelRegistry",
    "StaticMetadataReader",
    "Target",
    "engine_table",
    "load",
    "location",
    "suggested_name",
    "why_unusable",
]
