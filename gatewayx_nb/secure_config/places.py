"""Where things lie: what is shipped with the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(name: str) -> Path:
    """Give the place of a shipped folder or file: in the package, in a clone beside it.

    An installed package has no folders of its own beside it: what lies there belongs to others, so
    that place counts only where our own ``pyproject.toml`` lies too.

    Args:
        name: Path relative to the package or the clone, such as ``"engines"``.
    """
    inside = _PACKAGE / name
    if not inside.exists() and _is_clone(_PACKAGE.parent):
        return _PACKAGE.parent / name
    return inside


def _is_clone(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "gatewayx-nb")
