"""Imports keys from the file of another tool: a ``.env`` file, or llm's ``keys.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secrets import key_state, looks_like_key
from gatewayx_nb.secure_config import dotenv, key_store
from gatewayx_nb.secure_config.key_lookup import engine_variable

if TYPE_CHECKING:
    from pathlib import Path

_VARIABLE_PATTERN = re.compile(r"GATEWAYX_([A-Z0-9_]{1,63})_(API_KEY|BASE_URL|MODEL)")


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import is about to write.

    Attributes:
        keys: The engines whose keys are imported.
        base_urls: The imported base URLs, by engine.
        user: Whether the keys are written to the user's key file, which applies to all projects.
    """

    keys: tuple[str, ...]
    base_urls: Mapping[str, str]
    user: bool


ConfirmImport = Callable[[ImportPlan], object]
"""Called before anything is written; raises an error to cancel the import."""


class SkipReason(StrEnum):
    """Why a name is not imported, in the words shown to users."""

    NOT_A_VARIABLE = "not an engine's variable"
    EMPTY = "empty"
    PLACEHOLDER = "a placeholder"
    ALREADY_SET = "already set"
    OTHER_KEY_SET = "another key is set"


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A name in the imported file, and whether it was imported.

    Attributes:
        name: The name; empty if it may be a key itself.
        variable: The variable to set; empty if there is none.
        skip_reason: Why the name is not imported; ``None`` if it is imported.
    """

    name: str
    variable: str
    skip_reason: SkipReason | None = None


@dataclass(frozen=True, slots=True)
class KeyImport:
    """The result of an import.

    Attributes:
        path: The key file that was written.
        entries: The result for each name, in the order of the file.
        invalid_lines: Number of lines that are not NAME=VALUE.
    """

    path: Path
    entries: tuple[ImportedKey, ...]
    invalid_lines: int = 0


def run(
    source: Path,
    path: Path,
    engines: Mapping[str, str],
    confirm: ConfirmImport,
    *,
    user: bool,
) -> KeyImport:
    """Copy the keys of known engines from another file into a key file.

    Existing keys are kept. The source and its permissions are not changed.

    Args:
        source: A ``.env`` file, or a JSON object that maps names to keys.
        path: The key file.
        engines: Maps vendors' variables, engine names and aliases to engines.
        confirm: Called with the plan before anything is written; raises an error to cancel the
            import.
        user: Whether ``path`` is the user's key file, which applies to all projects.

    Raises:
        ConfigError: If a file cannot be read or written.
    """
    # The mode is not changed, because the file belongs to another tool.
    text = key_store.read_foreign(source)
    dotenv_lines = [] if text.lstrip("\ufeff \t\r\n")[:1] in ("", "{") else dotenv.parse_lines(text)
    # A .env contains only variables, which are upper-case; a JSON file may also contain the names
    # of engines and aliases.
    known_names = filter(str.isupper, engines) if dotenv_lines else engines
    variables = {name: engine_variable(engines[name]) for name in known_names}
    candidates = dotenv.values(dotenv_lines) if dotenv_lines else _from_json(text, source)
    existing_values, imported_values, entries = dict(key_store.read(path).values), {}, []
    # GATEWAYX_ variables come first, so that they take precedence over vendors' variables.
    for name in sorted(candidates, key=lambda name: not _VARIABLE_PATTERN.fullmatch(name)):
        variable = name if _VARIABLE_PATTERN.fullmatch(name) else variables.get(name, "")
        value = candidates[name].strip()
        skip_reason = _skip_reason(variable, value, existing_values)
        if not skip_reason:
            imported_values[variable] = existing_values[variable] = value
        entries.append(ImportedKey("" if looks_like_key(name) else name, variable, skip_reason))
    if imported_values:
        keys, base_urls = (
            _by_engine(imported_values, "API_KEY"),
            _by_engine(imported_values, "BASE_URL"),
        )
        confirm(ImportPlan(tuple(keys), base_urls, user))
        key_store.write(path, imported_values)
    return KeyImport(path, tuple(entries), sum(line.is_broken for line in dotenv_lines))


def _by_engine(variables: Mapping[str, str], suffix: str) -> dict[str, str]:
    """Return the values of the variables with a suffix, by engine."""
    matches = filter(None, map(_VARIABLE_PATTERN.fullmatch, variables))
    return {match[1].lower(): variables[match[0]] for match in matches if match[2] == suffix}


def _skip_reason(
    variable: str, value: str, existing_values: Mapping[str, str]
) -> SkipReason | None:
    if not variable:
        return SkipReason.NOT_A_VARIABLE
    state = key_state(value)
    if state != "set":
        return SkipReason.EMPTY if state == "missing" else SkipReason.PLACEHOLDER
    # A real key is kept, but a placeholder, for example from a copied example file, is replaced.
    current_value = existing_values.get(variable, "").strip()
    if current_value == value:
        return SkipReason.ALREADY_SET
    return SkipReason.OTHER_KEY_SET if key_state(current_value) == "set" else None


def _from_json(text: str, source: Path) -> dict[str, str]:
    try:
        table = json.loads(text.removeprefix("\ufeff") or "{}")
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError(
            f"{str(source)!r} must be a .env file or a JSON object that maps names to keys.",
            hint=Hint("import_keys"),
        )
    return {name: value for name, value in table.items() if isinstance(value, str)}
