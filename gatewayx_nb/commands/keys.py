"""The commands ``key`` and ``keys``: set, import and list keys.

A line that may contain a key is refused and removed from the input history.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Note, Table, text_columns
from gatewayx_nb.commands.line_parser import LineParser
from gatewayx_nb.commands.trust import confirm_import, confirm_key_destinations
from gatewayx_nb.errors import ConfigError, UsageError, did_you_mean, nearest_name
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.mcp_client import key_engine_name
from gatewayx_nb.mcp_server import SERVER_NAME
from gatewayx_nb.model_registry import why_unusable
from gatewayx_nb.secure_config import (
    SkipReason,
    display_path,
    engine_variable,
    key_fault,
    key_state,
    looks_like_key,
    may_be_committed,
    origin,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.secure_config import KeyImport

_ACTIONS = ("set", "remove", "import")

_ASSIGNMENT = re.compile(r"(?:export )?[A-Z][A-Z0-9_]*=|['\"]")
"""The text before a key if a whole line of a key file was copied."""

_SERVER_PREFIX = "mcp:"
"""The prefix of the name of an MCP server, as in ``--tools mcp:NAME``."""


def key(session: Session, args: argparse.Namespace) -> Note | Table:
    """Set or remove a key, or import keys from another file."""
    if not args.text.strip():
        return _create_parser(session).table()
    parsed_line = _parse_line(session, args.text)
    if parsed_line.action == "import":
        return _import(session, Path(parsed_line.name).expanduser(), is_for_user=parsed_line.user)
    if parsed_line.action == "set":
        if parsed_line.name.startswith(_SERVER_PREFIX):
            _check_server(session, parsed_line.name, is_new=parsed_line.new)
        elif not parsed_line.new:
            _require_engine(session, parsed_line.name)
        return _set(session, parsed_line.name, is_for_user=parsed_line.user)
    return _remove(session, parsed_line.name)


def key_arguments(parser: LineParser) -> None:
    """Add the arguments of ``key``: ``set|remove NAME`` or ``import FILE``."""
    parser.usage = "%(prog)s set NAME [--user] [--new] | remove NAME | import FILE [--user]"
    parser.add_argument("action", choices=_ACTIONS, metavar="ACTION", help=", ".join(_ACTIONS))
    parser.add_argument(
        "name", metavar="NAME", help="an engine, or mcp:NAME for an MCP server; for import, a file"
    )
    parser.add_argument("--user", action="store_true", help="for all your projects")
    parser.add_argument(
        "--new", action="store_true", help="for an engine or a server that does not exist yet"
    )


def keys(session: Session, _: argparse.Namespace) -> Table:
    """Show which keys are set and where, without revealing any part of them."""
    session.pool.refresh()
    rows = [
        (row.name, row.variable, f"{row.key} in {row.found_in}" if row.found_in else row.key)
        for row in session.pool.status()
        if row.key != "not needed" and row.variable
    ]
    for server, url in _server_urls(session).items():
        if url:
            server_key = session.pool.config.key(key_engine_name(server))
            state = (
                f"{server_key.state} in {server_key.source}"
                if server_key.source
                else server_key.state
            )
            rows.append((_SERVER_PREFIX + server, _variable_name(_SERVER_PREFIX + server), state))
    columns = text_columns("engine", "variable", "key")
    return Table(rows, columns, session.pool.problems)


def typed_key_error(session: Session, line: str) -> UsageError:
    """Remove a line that may contain a key, and return an error that does not repeat it."""
    words, names = line.replace("=", " ").split(), set(_engine_names(session))
    return UsageError(
        f"a key must not be part of a command; `{session.prog} key` takes only `set NAME`,"
        f" `remove NAME` or `import FILE`. If that was a key: {session.forget(line)}. Delete it"
        " there, and renew that key at the provider.",
        hint=Hint("set_key", engine=next(filter(names.__contains__, words), "grok")),
        topic="key-in-command",
    )


def contains_key(line: str) -> bool:
    """Return whether a word in a line looks like a key."""
    return any(map(looks_like_key, line.replace("=", " ").split()))


def _create_parser(session: Session) -> LineParser:
    parser = LineParser(
        f"{session.prog} key",
        "set a key (you are prompted) or remove it; import keys from a .env file",
        f"{session.prog} key",
    )
    key_arguments(parser)
    return parser


def _parse_line(session: Session, line: str) -> argparse.Namespace:
    """Parse a line.

    Raises:
        UsageError: If the line is invalid. A line that may contain a key is removed from the
            history, and the error does not repeat the line.
    """
    words = line.replace("=", " ").split()
    # Another word after NAME may be a key, perhaps in quotation marks.
    may_contain_key = words[:1] == ["set"] and not {"--user", "--new"}.issuperset(words[2:])
    if contains_key(line) and not _is_file_import(words):
        raise typed_key_error(session, f"key {line}")
    if words[:1] == ["import"] and all(word.startswith("-") for word in words[1:]):
        raise _create_parser(session).usage_error(f"`{session.prog} key import` needs FILE.")
    args = None if may_contain_key else _create_parser(session).read(line)
    if args is None:
        raise typed_key_error(session, f"key {line}")
    if args.action == "import":
        return args
    if args.name.startswith(_SERVER_PREFIX) and SERVER_NAME.fullmatch(
        args.name.removeprefix(_SERVER_PREFIX)
    ):
        return args
    if args.name not in _engine_names(session):  # an existing engine may have any name
        reason = why_unusable(args.name)
        if reason:
            raise _create_parser(session).usage_error(f"engine {args.name!r} {reason}.")
    return args


def _is_file_import(words: Sequence[str]) -> bool:
    """Return whether the only word that looks like a key is a file to import."""
    return words[:1] == ["import"] and os.path.exists(Path(" ".join(words[1:2])).expanduser())


def _engine_names(session: Session) -> list[str]:
    return [row.name for row in session.pool.status()]


def _require_engine(session: Session, name: str) -> None:
    """Check, before the user is prompted for its key, that an engine exists.

    Raises:
        UsageError: If the engine does not exist; the message suggests the most similar name.
    """
    names, aliases = _engine_names(session), session.pool.config.settings.aliases
    if name in names:
        return
    suggested_name = aliases.get(name) or nearest_name(name, names)
    suggestion = f" Did you mean {suggested_name!r}?" if suggested_name else ""
    advice = f"For an engine that you will add: `{session.prog} key set {name} --new`."
    raise UsageError(
        f"there is no engine {name!r}.{suggestion}",
        hint=Hint("set_key", engine=suggested_name) | advice if suggested_name else as_hint(advice),
    )


def _server_urls(session: Session) -> dict[str, str]:
    """Return the URL of each known MCP server; it is empty if a command starts the server."""
    config = session.pool.config
    configured_url_by_name = {name: row.url for name, row in config.settings.mcp.items()}
    pool_url_by_name = {state.server.name: state.server.url for state in session.pool.mcp_servers()}
    return {**pool_url_by_name, **configured_url_by_name}


def _check_server(session: Session, name: str, *, is_new: bool) -> None:
    """Check, before the user is prompted, that an MCP server uses a key; show the server's URL.

    A server of the project receives the key only after ``trust``.

    Raises:
        UsageError: If the server does not exist or is started by a command.
    """
    url_by_server = _server_urls(session)
    url = url_by_server.get(name.removeprefix(_SERVER_PREFIX))
    if url:
        session.show(Note(f"The key for {name} is sent to {origin(url)}."))
    elif url is not None:
        raise UsageError(
            f"the MCP server {name.removeprefix(_SERVER_PREFIX)!r} is started by a command and"
            " receives no key.",
            hint="Set the variables that its `env` names in config/secrets/.env.local.",
            topic="mcp-server",
        )
    elif not is_new:
        key_names = [_SERVER_PREFIX + server for server, url in url_by_server.items() if url]
        raise UsageError(
            f"there is no MCP server {name.removeprefix(_SERVER_PREFIX)!r} with a URL."
            f"{did_you_mean(name, key_names)}",
            hint=f"For a server that you will add: `{session.prog} key set {name} --new`.",
            topic="mcp-server",
        )


def _stored_name(name: str) -> str:
    """Return the name under which the key for an engine or a server is stored."""
    return (
        key_engine_name(name.removeprefix(_SERVER_PREFIX))
        if name.startswith(_SERVER_PREFIX)
        else name
    )


def _variable_name(name: str) -> str:
    return engine_variable(_stored_name(name))


def _set(session: Session, name: str, *, is_for_user: bool) -> Note:
    is_server = name.startswith(_SERVER_PREFIX)
    if not (is_for_user or is_server):  # a user key needs a permission only when it is used
        confirm_key_destinations(session, [name], named=True)
    # The user is prompted for the key, because a key in a cell would be saved with the notebook.
    value = session.ask_secret(f"{_variable_name(name)}: ").strip()
    if assignment := _ASSIGNMENT.match(value):
        raise UsageError(
            f"the key begins with {assignment[0]!r}; nothing was written.",
            hint="Enter only the key, without a variable name or quotation marks.",
        )
    if "\n" in value:
        raise UsageError(
            "the key has more than one line; nothing was written.", hint="Enter only the key."
        )
    state = key_state(value)
    if state != "set":
        fault = "is empty" if state == "missing" else key_fault(value) or "is a placeholder"
        hint = Hint("set_key", engine=name)
        raise UsageError(f"the key {fault}; nothing was written.", hint=hint)
    former_default = _default_model(session)
    path = session.pool.config.set_key(_stored_name(name), value, user=is_for_user)
    session.pool.refresh()
    change_notes = _default_change_notes(session, former_default)
    notes = [f"The key for {name} is set in {display_path(path)}.", *change_notes]
    if may_be_committed(path):
        notes.append("Git does not ignore this file: add it to .gitignore before you commit.")
    if not is_server and name not in {row.name for row in session.pool.status()}:
        notes.append(f"There is no engine {name!r} yet: create engines/{name}_engine.py.")
    return Note(*notes)


def _default_model(session: Session) -> str:
    """Return the default model; empty if there is none."""
    try:
        return session.pool.default_model()
    except ConfigError:
        return ""


def _default_change_notes(session: Session, former_default: str) -> Iterator[str]:
    """Yield a note if the default model has changed, with a command to keep the former model."""
    current_default = _default_model(session)
    if current_default == former_default:
        return
    ready_names = {row.name for row in session.pool.status() if row.readiness == "ready"}
    is_ready = former_default.partition(":")[0] in ready_names
    keep_note = (
        f"; `{session.prog} use {former_default}` keeps {former_default}" if is_ready else ""
    )
    change_note = (
        f"The default model is now {current_default}"
        if current_default
        else "There is no default model now"
    )
    yield f"{change_note}{keep_note}."


def _remove(session: Session, name: str) -> Note:
    config, former_default = session.pool.config, _default_model(session)
    files = config.remove_key(_stored_name(name))
    session.pool.refresh()
    remaining_key = config.key(
        _stored_name(name)
    )  # for example in the environment, which a command cannot change
    still_set_note = f"It is still set as {remaining_key.variable} in the {remaining_key.source}."
    notes = [still_set_note] if remaining_key.state == "set" else []
    notes += _default_change_notes(session, former_default)
    if not files:
        names = [
            *_engine_names(session),
            *(_SERVER_PREFIX + server for server in _server_urls(session)),
        ]
        suggestion = "" if name in names else did_you_mean(name, names)
        return Note(f"No key file contains {_variable_name(name)}.{suggestion}", *notes)
    paths = ", ".join(map(display_path, files))
    return Note(f"The key for {name} is removed from {paths}.", *notes)


def _import(session: Session, source: Path, *, is_for_user: bool) -> Table:
    former_default = _default_model(session)
    confirm = functools.partial(confirm_import, session)
    result = session.pool.import_keys(source, user=is_for_user, confirm=confirm)
    session.pool.refresh()
    rows = []
    for entry in result.entries:
        if entry.variable:
            outcome = f"skipped: {entry.skip_reason}" if entry.skip_reason else "imported"
            rows.append((entry.name, entry.variable, outcome))
    notes = [
        *_import_notes(session, source, result),
        *_default_change_notes(session, former_default),
    ]
    return Table(rows, text_columns("name", "variable", "outcome"), notes)


def _import_notes(session: Session, source: Path, result: KeyImport) -> Iterator[str]:
    imported_count = sum(bool(entry.variable and not entry.skip_reason) for entry in result.entries)
    yield f"{imported_count} imported into {display_path(result.path)}; {source.name} is unchanged."
    # A .env file may also contain other programs' variables.
    unused_names = [entry.name for entry in result.entries if not entry.variable]
    if unused_names:
        names = ", ".join(filter(None, unused_names))
        yield f"{len(unused_names)} skipped, as no engine uses them{f': {names}' * bool(names)}."
    if result.invalid_lines:
        yield f"Lines that are not NAME=VALUE: {result.invalid_lines}."
    if any(entry.skip_reason is SkipReason.OTHER_KEY_SET for entry in result.entries):
        yield (
            f"Existing keys are kept; to replace one, run `{session.prog} key remove NAME` before"
            " importing."
        )
