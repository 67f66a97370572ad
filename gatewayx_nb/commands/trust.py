"""``%gatewayx trust``: the only place where a user lets a project use their own keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.errors import ConfigError, TrustError
from gatewayx_nb.secure_config import display_path

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Session


def trust(session: Session, _: argparse.Namespace) -> Note:
    """Show where this project would send your own keys, and ask for confirmation."""
    pool = session.pool
    doubtful, project = pool.untrusted_engines(), pool.config.project
    if project is None or not doubtful:
        return note("Nothing to trust: no key of your own would go where a project says.")
    rows = tuple(
        (engine, way.target, way.where) for engine, ways in doubtful.items() for way in ways
    )
    asked = Table(
        ("your key of", "would go to", "as the project says in"),
        rows,
        (f"The project is {display_path(project.root)}.",),
    )
    if not session.confirm(asked, "May it have these keys from now on? [y/N] "):
        raise TrustError(
            "the keys stay here; nothing was changed.",
            hint="A key of the project's own needs no trust: "
            f"`%gatewayx key set {next(iter(doubtful))}`.",
        )
    try:
        pool.trust(doubtful)
    except OSError as error:
        raise ConfigError(
            f"{display_path(pool.config.trusted.path)} cannot be written: {error.strerror}.",
            hint="Make that folder yours to write; until then nothing is trusted.",
        ) from None
    return note(
        f"Trusted, in {display_path(project.root)}: {', '.join(doubtful)}.",
        f"Saved in {display_path(pool.config.trusted.path)}; delete its lines to revoke that.",
    )
