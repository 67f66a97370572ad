"""Keys out of another tool's file: a ``.env``, or the ``keys.json`` of the command ``llm``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import keyfile, keytext
from gatewayx_nb.secure_config.keys import variable
from gatewayx_nb.secure_config.secret import may_be_key, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OURS = re.compile(r"GATEWAYX_[A-Z0-9_]{1,63}_(?:API_KEY|BASE_URL|MODEL)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of the file, and what becomes of it.

    Attributes:
        name: The name; empty where it may be a key itself.
        variable: The variable that it is for; empty where it is for none.
        left: Why it is not taken; empty where it is.
    """

    name: str
    variable: str
    left: str = ""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import.

    Attributes:
        path: The key file that was written to.
        entries: What becomes of each name, in the order of the file.
        unread: How many lines of it are no NAME=VALUE.
    """

    path: Path
    entries: tuple[Entry, ...]
    unread: int = 0


def run(source: Path, path: Path, engines: Mapping[str, str]) -> Imported:
    """Take into a key file what another file has for engines that are known.

    What is set stays as it is, and the source is neither changed nor narrowed.

    Args:
        source: A ``.env``, or a JSON object of keys by name.
        path: The key file.
        engines: The engine that each name is for: vendors' variables, engines and aliases.

    Raises:
        ConfigError: A file cannot be read or written.
    """
    text = keyfile.read_foreign(source)
    read = [] if text.lstrip("\ufeff \t\r\n")[:1] in ("", "{") else keytext.lines(text)
    if read:
        found = keytext.values(read)
        engines = {name: engine for name, engine in engines.items() if name.isupper()}
    else:
        found = _from_json(text, source)
    held, taken, entries = dict(keyfile.read(path).values), {}, []
    for name in sorted(found, key=lambda name: not _OURS.fullmatch(name)):  # ours win
        entry = _entry(name, found[name].strip(), held, engines)
        if entry.variable and not entry.left:
            taken[entry.variable] = held[entry.variable] = found[name].strip()
        entries.append(entry)
    if taken:
        keyfile.write(path, taken)
    return Imported(path, tuple(entries), sum(line.broken for line in read))


def _entry(name: str, value: str, held: Mapping[str, str], engines: Mapping[str, str]) -> Entry:
    wanted = name if _OURS.fullmatch(name) else variable(engines[name]) if name in engines else ""
    told = "" if may_be_key(name) else name
    if not wanted:
        return Entry(told, "", "no engine's")
    state = state_of(value)
    if state != "set":
        return Entry(told, wanted, "empty" if state == "missing" else "a placeholder, no key")
    there = held.get(wanted, "").strip()
    if there == value:
        return Entry(told, wanted, "is there already")
    if state_of(there) == "set":
        return Entry(told, wanted, "another one is set")
    return Entry(told, wanted)


def _from_json(text: str, source: Path) -> dict[str, str]:
    try:
        table = json.loads(text.removeprefix("\ufeff") or "{}")
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise ConfigError(
            f"{str(source)!r} is no JSON object of keys by name.",
            mend="`%gatewayx key import FILE` takes a `.env` file or llm's keys.json.",
        )
    return {name: value for name, value in table.items() if isinstance(value, str)}
