"""Import of another tool's keys: a ``.env``, or the ``keys.json`` of the ``llm`` command."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secrets import key_state, looks_like_key
from gatewayx_nb.secure_config import dotenv, key_store
from gatewayx_nb.secure_config.keys import key_variable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OURS = re.compile(r"GATEWAYX_[A-Z0-9_]{1,63}_(?:API_KEY|BASE_URL|MODEL)")


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
    left: str = ""


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
    unread: int = 0


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
    read = [] if text.lstrip("\ufeff \t\r\n")[:1] in ("", "{") else dotenv.lines(text)
    if read:
        found = dotenv.values(read)
        engines = {name: engine for name, engine in engines.items() if name.isupper()}
    else:
        found = _from_json(text, source)
    held, taken, entries = dict(key_store.read(path).values), {}, []
    for name in sorted(found, key=lambda name: not _OURS.fullmatch(name)):  # GATEWAYX_ wins
        entry = _entry(name, found[name].strip(), held, engines)
        if entry.variable and not entry.left:
            taken[entry.variable] = held[entry.variable] = found[name].strip()
        entries.append(entry)
    if taken:
        key_store.write(path, taken)
    return KeyImport(path, tuple(entries), sum(line.broken for line in read))


def _entry(
    name: str, value: str, held: Mapping[str, str], engines: Mapping[str, str]
) -> ImportedKey:
    wanted = (
        name if _OURS.fullmatch(name) else key_variable(engines[name]) if name in engines else ""
    )
    told = "" if looks_like_key(name) else name
    if not wanted:
        return ImportedKey(told, "", "no engine's")
    state = key_state(value)
    if state != "set":
        return ImportedKey(told, wanted, "empty" if state == "missing" else "a placeholder, no key")
    there = held.get(wanted, "").strip()
    if there == value:
        return ImportedKey(told, wanted, "is there already")
    if key_state(there) == "set":
        return ImportedKey(told, wanted, "another one is set")
    return ImportedKey(told, wanted)


def _from_json(text: str, source: Path) -> dict[str, str]:
    try:
        table = json.loads(text.removeprefix("\ufeff") or "{}")
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError(
            f"{str(source)!r} is no JSON object of keys by name.",
            hint="`%gatewayx key import FILE` takes a `.env` file or llm's keys.json.",
        )
    return {name: value for name, value in table.items() if isinstance(value, str)}
