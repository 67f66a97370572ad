"""Redacts cassettes with the user's hook, and holds the keys that must not be written."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import ownership_problem, permission_problem

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

Redact = Callable[[str], str]
"""A function that returns the text to store; must be idempotent."""

PromptForm = Literal["text", "digest"]
"""The form in which a cassette stores requests."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules that keep private text and keys out of a cassette.

    Attributes:
        redact: Applied to text before it is written or looked up.
        secrets: Returns the keys that must not be written, by variable name.
        prompts: Whether requests are stored as text or only as digests.
    """

    redact: Redact
    secrets: Callable[[], Mapping[str, str]]
    prompts: PromptForm = "text"


def load_redact(setting: str | None, folder: Path, *, from_user_settings: bool) -> Redact:
    """Return the hook in ``[cassettes] redact = "module:function"``, or else the identity function.

    Args:
        setting: The value of the setting; ``None`` if it is not set.
        folder: The project or user folder whose settings name the hook; it must contain the hook's
            file.
        from_user_settings: Whether the setting is in the user's settings, which may name any
            installed module.

    Raises:
        ConfigError: If the function cannot be imported, or other users could change its file.
    """
    if not setting:
        return str  # `str` returns a string unchanged
    module, _, function = setting.partition(":")
    path = folder / f"{module.replace('.', '/')}.py"
    try:
        if from_user_settings and not path.exists():
            hook = getattr(importlib.import_module(module), function)
        else:
            hook = getattr(_load_file(module, path, folder), function)
    except Exception as error:  # noqa: BLE001 - user code may raise anything
        raise ConfigError(
            f"[cassettes] redact is {setting!r}, which cannot be imported: {error}.",
            hint='Name a function of the project as "module:function". Nothing was written.',
        ) from None
    return _wrap_hook(hook, setting)


def _load_file(name: str, path: Path, folder: Path) -> ModuleType:
    """Execute a file as a module, unless other users could change it; see `permission_problem`."""
    parents = (parent for parent in path.parents if parent.is_relative_to(folder))
    problems = (permission_problem(path, folder), *map(ownership_problem, parents))
    if problem := next(filter(None, problems), None):
        raise ImportError(f"{path.relative_to(folder)} {problem}")
    # Load the file by its path, because the folder need not be on `sys.path`.
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ImportError(f"{path.relative_to(folder)} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # The loader would prefer bytecode beside the file, which cannot be reviewed.
    source = importlib.util.decode_source(path.read_bytes())
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    return module


def _wrap_hook(hook: Any, setting: str) -> Redact:  # noqa: ANN401 - user code
    """Wrap the hook so that it raises `ConfigError` on failure, before anything is written."""

    def redact(text: str) -> str:
        try:
            redacted_text = hook(text)
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            redacted_text, problem = None, f"raised {type(error).__name__}"
        else:
            problem = f"must return a str, got {type(redacted_text).__name__}"
        if isinstance(redacted_text, str):
            return redacted_text
        raise ConfigError(
            f"[cassettes] redact: {setting} {problem}.",
            hint="Fix the function. Nothing was written.",
        ) from None

    return redact
