"""What may not go into a cassette: keys, and what the user's own hook takes out of texts."""

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
"""Gives a text as it may be kept; doing it twice must change nothing more."""


@dataclass(frozen=True, slots=True)
class Discretion:
    """What is kept out of a cassette.

    Attributes:
        redact: What texts go through before they are written or looked for.
        secrets: Gives the keys that must not be written, by the name of their variable.
    """

    redact: Redact
    secrets: Callable[[], Mapping[str, str]]


def load_redact(named: str | None, root: Path | None) -> Redact:
    """Give the hook that ``[cassettes] redact = "module:function"`` names; without, one that idles.

    The project named it, and it is run as the project's code.

    Args:
        named: The setting.
        root: The project folder, in which the module is looked for first.

    Raises:
        ConfigError: There is no such function.
    """
    if not named:
        return _unchanged
    module, _, function = named.partition(":")
    try:
        hook = getattr(_module(module, root), function)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        raise ConfigError(
            f"[cassettes] redact names {named!r}, which cannot be had: {error}.",
            mend='Name a function of the project as "module:function"; nothing was written.',
        ) from None
    return _checked(hook, named)


def _unchanged(text: str) -> str:
    return text


def _module(name: str, root: Path | None) -> ModuleType:
    """Import a module; one that lies in the project folder wins."""
    path = root / f"{name.replace('.', '/')}.py" if root else None
    spec = importlib.util.spec_from_file_location(name, path) if path and path.is_file() else None
    if spec is None or spec.loader is None:
        return importlib.import_module(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checked(hook: Any, named: str) -> Redact:  # noqa: ANN401 - the user's
    """Let nothing pass that the hook failed on."""

    def redact(text: str) -> str:
        try:
            kept = hook(text)
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            kept, why = None, f"raised {type(error).__name__}"
        else:
            why = f"gave {type(kept).__name__}, not a text"
        if isinstance(kept, str):
            return kept
        raise ConfigError(
            f"[cassettes] redact: {named} {why}.", mend="Mend it; nothing was written."
        ) from None

    return redact
