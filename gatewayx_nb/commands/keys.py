"""``key`` and ``keys``: prompt for keys, and remove lines that may contain one from the history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.commands.grammar import Parser
from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.errors import UsageError
from gatewayx_nb.model_registry import ENGINE_NAME
from gatewayx_nb.secure_config import display_path, key_state, key_variable, looks_like_key

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Session

_ACTIONS = ("set", "remove", "import")


def key(session: Session, words: argparse.Namespace) -> Note | Table:
    """Set or remove a key, or import keys from another file."""
    read = _read(words.text, session)
    if read is None:
        raise refusal(session, f"key {words.text}")
    if read.action == "import":
        return _import(session, Path(read.name).expanduser(), user=read.user)
    if read.action == "set":
        return _set(session, read.name, user=read.user)
    return _remove(session, read.name)


def key_arguments(parser: Parser) -> None:
    """``set|remove NAME`` or ``import FILE``."""
    parser.usage = "%(prog)s set|remove NAME | import FILE [--user]"
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help=", ".join(_ACTIONS))
    parser.add_argument("name", metavar="NAME", help="an engine; of an import, a file")
    parser.add_argument("--user", action="store_true", help="for all your projects")


def keys(session: Session, _: argparse.Namespace) -> Table:
    """Show which keys are set and where, without any part of a key."""
    session.pool.refresh()
    rows = tuple(
        (row.name, row.key, row.variable, row.found_in)
        for row in session.pool.status()
        if row.key != "not needed" and row.variable
    )
    return Table(("engine", "key", "variable", "found in"), rows, tuple(session.pool.problems))


def refusal(session: Session, typed: str) -> UsageError:
    """Remove a line that may contain a key, and return an error that does not repeat it."""
    forgotten = session.forget(typed)
    kept = (
        "the history has been cleaned of it"
        if forgotten
        else "the history database could not be cleaned of it (`%history -g` shows it)"
    )
    return UsageError(
        "a key is never typed on a line, and `%gatewayx key` takes nothing but `set NAME`,"
        f" `remove NAME` or `import FILE`. If that was a key: {kept}, but the cell still holds"
        " it. Delete it there, and renew that key at the provider.",
        hint="`%gatewayx key set grok` asks for the key.",
    )


def holds_key(line: str) -> bool:
    """Return whether a word in a line looks like a key."""
    return any(map(looks_like_key, line.replace("=", " ").split()))


def _read(line: str, session: Session) -> argparse.Namespace | None:
    """Parse a line; return ``None`` if it may contain a key."""
    parser = Parser("%gatewayx key")
    key_arguments(parser)
    try:
        words = parser.read(line)
    except UsageError:
        return None
    if words.action == "import":
        there = Path(words.name).expanduser().exists()
        return words if there or not looks_like_key(words.name) else None
    known = {row.name for row in session.pool.status()}
    fits = ENGINE_NAME.fullmatch(words.name) and not looks_like_key(words.name)
    return words if words.name in known or fits else None


def _set(session: Session, name: str, *, user: bool) -> Note:
    value = session.ask_secret(f"{key_variable(name)}: ").strip()
    state = key_state(value)
    if state != "set":
        raise UsageError(
            "nothing was entered."
            if state == "missing"
            else "that is no key: a placeholder, or"
            " it holds blanks or characters that are not printable ASCII.",
            hint=f"`%gatewayx key set {name}` asks again; nothing was written.",
        )
    path = session.pool.config.set_key(name, value, user=user)
    session.pool.refresh()
    known = name in {row.name for row in session.pool.status()}
    later = () if known else (f"There is no engine {name!r} yet: it is engines/{name}_engine.py.",)
    return note(f"The key of {name} is set, in {display_path(path)}.", *later)


def _remove(session: Session, name: str) -> Note:
    config = session.pool.config
    held = config.remove_key(name)
    session.pool.refresh()
    left = config.key(name)
    still = (
        (f"It is still set as {left.name} in the {left.source}.",) if left.state == "set" else ()
    )
    if not held:
        return note(f"No key file holds {key_variable(name)}.", *still)
    return note(f"The key of {name} is removed from {', '.join(map(display_path, held))}.", *still)


def _import(session: Session, source: Path, *, user: bool) -> Table:
    done = session.pool.import_keys(source, user=user)
    shown = [entry for entry in done.entries if entry.variable]
    others = [entry.name for entry in done.entries if not entry.variable]
    taken = sum(not entry.left for entry in shown)
    rows = tuple(
        (entry.name, entry.variable, f"left: {entry.left}" if entry.left else "taken")
        for entry in shown
    )
    notes = [f"{taken} taken into {display_path(done.path)}; {source.name} is as it was."]
    if others:
        named = ", ".join(filter(None, others))
        notes.append(f"{len(others)} left, as they are no engine's{f': {named}' * bool(named)}.")
    if done.unread:
        notes.append(f"Lines that set nothing: {done.unread}.")
    if any(entry.left == "another one is set" for entry in shown):
        notes.append("What is set stays: `%gatewayx key remove NAME` makes way for another one.")
    return Table(("name", "variable", "outcome"), rows, tuple(notes))
