"""Import of another tool's keys: a ``.env``, or the ``keys.json`` of the ``llm`` command."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secrets import key_state, looks_like_key
from gatewayx_nb.secure_config import dotenv, key_store
from gatewayx_nb.secure_config.key_lookup import key_variable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OWN_VARIABLE = re.compile(r"GATEWAYX_[A-Z0-9_]{1,63}_(?:API_KEY|BASE_URL|MODEL)")


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """One name in the file, and how it was imported.

    Attributes:
        name: The name; empty if it may be a key itself.
        variable: The variable that it sets; empty if there is none.
        left: Why it is not imported; empty if it is.
    """

    name: str
    variable: str
    skip_reason: str = ""


@dataclass(frozen=True, slots=True)
class KeyImport:
    """The result of an import.

    Attributes:
        path: The key file that was written.
        entries: The result for each name, in the order of the file.
        unread: Number of lines that are not NAME=VALUE.
    """

    path: Path
    entries: tuple[ImportedKey, ...]
    invalid_lines: int = 0


def run(source: Path, path: Path, engines: Mapping[str, str]) -> KeyImport:
    """Copy the keys of known engines from another file into a key file.

    Existing keys are kept. The source and its permissions are not changed.

    Args:
        source: A ``.env``, or a JSON object of keys by name.
        path: The key file.
        engines: The engine for each name: vendors' variables, engines and aliases.

    Raises:
        ConfigError: If a file cannot be read or written.
    """
    text = key_store.read_foreign(source)
    parsed = [] if text.lstrip("\ufeff \t\r\n")[:1] in ("", "{") else dotenv.parse_lines(text)
    if parsed:
        candidates = dotenv.values(parsed)
        engines = {name: engine for name, engine in engines.items() if name.isupper()}
    else:
        candidates = _from_json(text, source)
    existing, imported, entries = dict(key_store.read(path).values), {}, []
    for name in sorted(
        candidates, key=lambda name: not _OWN_VARIABLE.fullmatch(name)
    ):  # GATEWAYX_ wins
        entry = _import_entry(name, candidates[name].strip(), existing, engines)
        if entry.variable and not entry.skip_reason:
            imported[entry.variable] = existing[entry.variable] = candidates[name].strip()
        entries.append(entry)
    if imported:
        key_store.write(path, imported)
    return KeyImport(path, tuple(entries), sum(line.broken for line in parsed))


def _import_entry(
    name: str, value: str, existing: Mapping[str, str], engines: Mapping[str, str]
) -> ImportedKey:
    variable = (
        name
        if _OWN_VARIABLE.fullmatch(name)
        else key_variable(engines[name])
        if name in engines
        else ""
    )
    shown_name = "" if looks_like_key(name) else name
    if not variable:
        return ImportedKey(shown_name, "", "not an engine's variable")
    state = key_state(value)
    if state != "set":
        return ImportedKey(shown_name, variable, "empty" if state == "missing" else "a placeholder")
    current = existing.get(variable, "").strip()
    if current == value:
        return ImportedKey(shown_name, variable, "already set")
    if key_state(current) == "set":
        return ImportedKey(shown_name, variable, "another one is set")
    return ImportedKey(shown_name, variable)


def _from_json(text: str, source: Path) -> dict[str, str]:
    try:
        table = json.loads(text.removeprefix("\ufeff") or "{}")
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError(
            f"{str(source)!r} must be a JSON object of keys by name, or a .env file.",
            hint=Hint("import_keys"),
        )
    return {name: value for name, value in table.items() if isinstance(value, str)}
