"""The command ``trust``: allows a project to use the user's keys and run code as the user."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Note, Table, text_columns
from gatewayx_nb.errors import ConfigError, TrustError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import display_path, origin

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.secure_config import ImportPlan, Permission


def trust(session: Session, args: argparse.Namespace) -> Note | Table:
    """Show which user keys, code and servers this project would use, and ask for confirmation."""
    project = session.pool.config.project
    if project is None:
        return Note("Nothing to trust: there is no project.")
    if args.show:
        return _list_permissions(session, project.root)
    if args.revoke:
        return _revoke(session, project.root)
    permissions_by_subject = session.pool.untrusted_engines()
    if not permissions_by_subject:
        return Note(
            "Nothing to trust: this project does not redirect your own keys and starts no MCP"
            " server, and its code runs only if you call its engines by name."
        )
    permissions = [
        permission
        for engine_permissions in permissions_by_subject.values()
        for permission in engine_permissions
    ]
    note = f"The project is {display_path(project.root)}."
    keys = {row.name: row.key for row in session.pool.status()}
    keyed_subjects = [
        permission.subject for permission in permissions if keys.get(permission.subject) == "set"
    ]
    ids = ",".join(permission.id for permission in permissions)
    if not session.confirm(_permission_table(permissions, note), "Allow this from now on? [y/N] "):
        raise TrustError(
            "nothing was changed; your keys are not sent, no MCP server is started or reached, and"
            " this code runs only if you call its engine by name.",
            hint=Hint("set_project_key", engine=keyed_subjects[0])
            if keyed_subjects
            else Hint("trust", ids=ids),
        )
    with _write_errors_as_config_error(session):
        session.pool.trust(permissions_by_subject)
    subjects = ", ".join(permissions_by_subject)
    return Note(
        f"{display_path(project.root)} now has your permission for: {subjects}.",
        f"`{session.prog} trust --show` lists what you have allowed, and `--revoke` revokes it.",
    )


def confirm_key_destinations(session: Session, engines: Sequence[str], *, named: bool) -> None:
    """Show where this project sends the keys of engines, and ask whether to allow new destinations.

    Args:
        session: The session.
        engines: Names of engines.
        named: Whether the user named the engines; see `EnginePool.key_destinations`.

    Raises:
        TrustError: If the user refuses, or the front end cannot ask.
    """
    permissions_by_engine = session.pool.key_destinations(*engines, untrusted=True, named=named)
    for engine, destinations in session.pool.key_destinations(*engines).items():
        # The user already knows the code of an engine that they named or allowed.
        host_permissions = [
            permission for permission in destinations if not permission.target.endswith(".py")
        ]
        if host_permissions and engine not in permissions_by_engine:
            hosts_text = " and ".join(
                f"{permission.target} ({permission.where})" for permission in host_permissions
            )
            session.show(Note(f"This project sends the key for {engine} to {hosts_text}."))
    if not permissions_by_engine:
        return
    table = _permission_table(
        itertools.chain.from_iterable(permissions_by_engine.values()),
        "This project decides where these keys are sent.",
    )
    if not session.confirm(table, "Allow this from now on? [y/N] "):
        raise TrustError(
            "no key was stored, and nothing was allowed.",
            hint=Hint("set_key_for_user", engine=next(iter(permissions_by_engine))),
        )
    with _write_errors_as_config_error(session):
        session.pool.trust(permissions_by_engine)


def confirm_import(session: Session, plan: ImportPlan) -> None:
    """Show the destinations of imported keys, and the base URLs, and ask whether to allow them.

    Raises:
        TrustError: If the user refuses, or the front end cannot ask.
    """
    if plan.base_urls:
        _confirm_base_urls(session, plan.base_urls)
    if not plan.user:  # a user key needs a permission only when it is used
        confirm_key_destinations(session, plan.keys, named=False)


def _confirm_base_urls(session: Session, base_urls: Mapping[str, str]) -> None:
    rows = [(engine, origin(url)) for engine, url in base_urls.items()]
    note = "The file decides where the keys and prompts of these engines are sent."
    table = Table(rows, text_columns("engine", "address"), (note,))
    if not session.confirm(table, "Import these addresses? [y/N] "):
        raise TrustError(
            "nothing was imported.",
            hint="To import only the keys, delete the lines with BASE_URL from the file.",
        )


def trust_arguments(parser: LineParser) -> None:
    """Add the arguments of ``trust``: ``[--show | --revoke]``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--show", action="store_true", help="list what you have allowed")
    group.add_argument("--revoke", action="store_true", help="revoke everything you have allowed")


def _list_permissions(session: Session, project: Path) -> Note | Table:
    allowed_permissions = session.pool.config.trusted.permissions(project)
    if not allowed_permissions:
        return Note(f"{display_path(project)} has no permissions.")
    file = display_path(session.pool.config.trusted.path)
    return _permission_table(allowed_permissions, f"For {display_path(project)}, in {file}.")


def _revoke(session: Session, project: Path) -> Note:
    with _write_errors_as_config_error(session):
        session.pool.config.trusted.revoke(project)
    session.pool.refresh()
    return Note(f"{display_path(project)} no longer has any permissions.")


def _permission_table(permissions: Iterable[Permission], note: str) -> Table:
    rows = [
        (permission.subject, permission.target, permission.where, permission.id)
        for permission in permissions
    ]
    return Table(
        rows,
        text_columns("engine, hook or server", "key goes to / code run", "configured in", "ID"),
        (note,),
    )


@contextlib.contextmanager
def _write_errors_as_config_error(session: Session) -> Iterator[None]:
    """Raise a `ConfigError` with one line if the permissions file cannot be written."""
    try:
        yield
    except OSError as error:
        file = display_path(session.pool.config.trusted.path)
        raise ConfigError(
            f"{file} cannot be written: {error.strerror}. Nothing was changed.",
            hint="Make its folder writable.",
        ) from None
