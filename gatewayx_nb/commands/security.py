"""``security``: where keys come from, file permissions, and the files' git status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gatewayx_nb.commands.grammar import Session
    from gatewayx_nb.engine_pool import SecurityStatus
    from gatewayx_nb.secure_config import FileSecurity


def security(session: Session, _: argparse.Namespace) -> Table:
    """Show `EnginePool.security_status` as a table with hints below."""
    status = session.pool.security_status()
    places = {place.owner: place for place in session.pool.config.places}
    named = [
        (file, places[file.place].label(places[file.place].root / file.path))
        for file in status.files
        if file.exists
    ]
    rows = tuple(
        (file.place, name, file.mode or "", _owner(file), _git(file)) for file, name in named
    )
    advice = (line for file, name in named for line in _advice(file, name))
    opened = session.pool.active_cassette
    notes = (*_summary(status), *advice, *filter(None, [opened.warning if opened else ""]))
    return Table(("folder", "file", "mode", "owner", "git"), rows, notes)


def _summary(status: SecurityStatus) -> Iterator[str]:
    counts = status.counts
    where = [key.source for key in status.keys if key.state == "set"]
    told = ", ".join(f"{where.count(source)} in the {source}" for source in dict.fromkeys(where))
    found = f" ({told})" if told else ""
    left = counts["placeholder"]
    yield f"Keys: {counts['set']} set{found}, {left} placeholder{'' if left == 1 else 's'}."
    yield f"Started engines: {', '.join(status.started) or 'none'}."
    for refusal in status.refused:
        yield " ".join(filter(None, ("Refused:", refusal.what, refusal.source, refusal.why)))


def _advice(file: FileSecurity, name: str) -> Iterator[str]:
    """Yield what is wrong with a file and how to fix it."""
    if file.tracked:
        yield (
            f"Git has {name}: `git rm --cached {name}`, commit, and renew its keys,"
            " as the history keeps them."
        )
    elif file.ignored is False:
        folder = name.rpartition("/")[0]
        yield f"Git does not ignore {name}: `echo '*' > {folder}/.gitignore`"
    if file.others_write and not file.link:
        yield f"Others may change {name}: `chmod go-w {name}`"


def _owner(file: FileSecurity) -> str:
    if file.yours is None:
        return "unknown"
    return "you" if file.yours else "root" if file.root else "someone else"


def _git(file: FileSecurity) -> str:
    if file.tracked:
        return "tracked"
    return {True: "ignored", False: "not ignored", None: ""}[file.ignored]
