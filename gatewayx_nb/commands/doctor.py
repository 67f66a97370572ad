"""The command ``doctor``: checks what a call needs, and explains how to fix each problem."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from operator import attrgetter
from typing import TYPE_CHECKING

from gatewayx_nb._version import __version__
from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.commands.status import file_warnings
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.secure_config import display_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from gatewayx_nb.commands.command import Session

_EXTRAS = {"local": "xllamacpp", "prices": "genai-prices", "data": "pandas", "mcp": "mcp"}
"""The package that each extra installs."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: What was checked.
        ok: Whether the check found no problem.
        detail: What was found and, if it is a problem, what to do.
    """

    name: str
    ok: bool
    detail: str


def doctor(session: Session, _: argparse.Namespace) -> Table[Check]:
    """Check the installation, the project, the keys, the models and the files."""
    checks = list(_checks(session))
    problem_count = sum(not check.ok for check in checks)
    conclusion = (
        f"{problem_count} of {len(checks)} need attention."
        if problem_count
        else "No problems found."
    )
    return Table(checks, _COLUMNS, [conclusion])


def _checks(session: Session) -> Iterator[Check]:
    versions = f"gatewayx-nb {__version__}, Python {platform.python_version()}"
    yield Check("installation", ok=True, detail=f"{versions}, {sys.platform}")
    yield Check("extras", ok=True, detail=", ".join(map(_extra_version, _EXTRAS)))
    try:
        session.pool.refresh()
    except GatewayError as error:  # the other checks need the settings
        yield Check("settings", ok=False, detail=error.describe())
        return
    pool = session.pool
    project = pool.config.project
    folder = display_path(project.root) if project else f"none; `{session.prog} init` creates one"
    yield Check("project", ok=True, detail=folder)
    yield _check_default_model(session)
    ready_names = [row.name for row in pool.status() if row.readiness == "ready"]
    yield Check(
        "engines", ok=bool(ready_names), detail=f"ready: {', '.join(ready_names) or 'none'}"
    )
    yield from (Check("file", ok=False, detail=problem) for problem in pool.problems)
    yield from _check_key_files(session)
    yield _check_storage(session)


def _extra_version(extra: str) -> str:
    try:
        return f"{extra}: {_EXTRAS[extra]} {metadata.version(_EXTRAS[extra])}"
    except metadata.PackageNotFoundError:
        return f"{extra}: not installed"


def _check_default_model(session: Session) -> Check:
    try:
        return Check("default model", ok=True, detail=session.pool.default_model())
    except GatewayError as error:
        return Check("default model", ok=False, detail=error.describe())


def _check_key_files(session: Session) -> Iterator[Check]:
    """Yield a check for each problem with the key files; a single check if all are safe."""
    warnings = file_warnings(session)
    yield from (Check("key files", ok=False, detail=warning) for warning in warnings)
    if not warnings:
        yield Check("key files", ok=True, detail="only you can read them, and git ignores them")


def _check_storage(session: Session) -> Check:
    folder = session.pool.ledger.parent
    existing_folder = next(path for path in (folder, *folder.parents) if path.exists())
    is_writable = os.access(existing_folder, os.W_OK)
    note = "" if is_writable else ": not writable, so calls and answers of maps are not stored"
    return Check("storage", ok=is_writable, detail=f"{display_path(folder)}{note}")


_COLUMNS: tuple[TableColumn[Check], ...] = (
    TableColumn("check", attrgetter("name")),
    TableColumn("", lambda check: "ok" if check.ok else "problem"),
    TableColumn("found", attrgetter("detail")),
)
