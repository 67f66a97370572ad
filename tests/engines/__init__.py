"""Loads shipped engine files as the registry does, in a package whose path is their folder."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "gatewayx_nb.tested_engines"


def engine_module(name: str) -> ModuleType:
    """Return the module of a shipped engine."""
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(ROOT / "engines")]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}_engine")
