"""Redaction of cassettes: the user's hook, and the keys that must not be written."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

Redact = Callable[[str], str]
"""Returns the text to store; must be idempotent."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is kept out of a cassette.

    Attributes:
        redact: Applied to texts before they are written or looked up.
        secrets: Returns the keys that must not be written, by variable name.
    """

    redact: Redact
    secrets: Callable[[], Mapping[str, str]]


def load_redact(setting: str | None, root: Path | None) -> Redact:
    """Return the hook named by ``[cassettes] redact = "module:function"``, or the identity.

    The hook is the project's own code, named in its settings.

    Args:
        setting: The setting.
        root: The project folder, which is searched for the module first.

    Raises:
        ConfigError: If the function cannot be imported.
    """
    if not setting:
        return str  # returns a text unchanged
    module, _, function = setting.partition(":")
    try:
        hook = getattr(_module(module, root), function)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        raise ConfigError(
            f"[cassettes] redact is {setting!r}, which cannot be imported: {error}.",
            hint='Use "module:function" of the project. Nothing was written.',
        ) from None
    return _guarded(hook, setting)


def _module(name: str, root: Path | None) -> ModuleType:
    """Import a module, preferring one in the project folder."""
    path = root / f"{name.replace('.', '/')}.py" if root else None
    # By path, because the project folder need not be on `sys.path`.
    spec = importlib.util.spec_from_file_location(name, path) if path and path.is_file() else None
    if spec is None or spec.loader is None:
        return importlib.import_module(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _guarded(hook: Any, setting: str) -> Redact:  # noqa: ANN401 - user code
    """Wrap the hook so that it raises `ConfigError` on failure, before anything is written."""

    def redact(text: str) -> str:
        try:
            redacted = hook(text)
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            redacted, problem = None, f"raised {type(error).__name__}"
        else:
            problem = f"must return a str, got {type(redacted).__name__}"
        if isinstance(redacted, str):
            return redacted
        raise ConfigError(
            f"[cassettes] redact: {setting} {problem}.", hint="Fix it. Nothing was written."
        ) from None

    return redact
