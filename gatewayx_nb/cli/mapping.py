"""The command ``gatewayx map``: asks a model about each row of a file, and writes the answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb import batch
from gatewayx_nb.cli.call_line import (
    call_options,
    check_folder,
    read_line,
    recording_status,
    refuse_unused,
)
from gatewayx_nb.cli.row_files import check_format, read_rows_file, write_rows_file
from gatewayx_nb.cli.standard_error import warn
from gatewayx_nb.commands import SHELL_COMMANDS, recording
from gatewayx_nb.errors import UsageError
from gatewayx_nb.files import display_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import pandas as pd

    from gatewayx_nb.cli.shell_session import ShellSession

_OPTIONS_IGNORED_BY_PREVIEW = ("max_cost", "fresh", "max_age", "force", "quiet", "cassette")
"""Options that have no effect in a preview, which sends and writes nothing."""

_MAP_COLUMNS = frozenset({"gx_error", "gx_model"})
"""Columns that are in the output of every map."""


def map_file(session: ShellSession, words: Sequence[str]) -> int:
    """Ask about each row with the words after ``gatewayx map``; return the exit status.

    If the user stops the map, the finished rows are written. The same command continues the map.

    Raises:
        GatewayError: If the line is invalid, a file cannot be used, or no row can be answered.
        KeyboardInterrupt: If the user stops the map; the file has then been written.
    """
    parser = SHELL_COMMANDS["map"].parser(session.prog)
    args, other_words = read_line(session, parser, words)
    if len(other_words) != 1 and not (args.dry_run and not other_words):
        raise parser.usage_error(f"`{parser.prog}` needs two files, IN and OUT.")
    if not args.prompt:
        raise parser.usage_error(f"`{parser.prog}` needs `--prompt TEXT`.")
    refuse_unused(parser, args, "dry_run", _OPTIONS_IGNORED_BY_PREVIEW)
    options = call_options(parser, args, words)
    for name in ("concurrency", "missing", "max_age", "name"):
        options |= {} if getattr(args, name) is None else {name: getattr(args, name)}
    source = Path(args.source).expanduser()
    rows = read_rows_file(source)
    if args.dry_run:
        session.show(session.pool.preview_map(rows, args.prompt, args.model, **options))
        return 0
    # If the target is a symbolic link, the file to which it points is replaced.
    target = Path(os.path.realpath(Path(other_words[0]).expanduser()))
    _check_target(source, target, force=args.force)
    return _run_map(session, args, rows, target, options)


def _run_map(
    session: ShellSession,
    args: argparse.Namespace,
    rows: pd.DataFrame,
    target: Path,
    options: dict[str, Any],
) -> int:
    with recording(session.pool, args.cassette) as cassette:
        view = None if args.quiet else batch.default_view()
        session_map = session.pool.plan_map(rows, args.prompt, args.model, view=view, **options)
        frame = session_map.collect("same")
    write_rows_file(frame, target)
    failed_count = int(frame["gx_error"].fillna("").astype(bool).sum())
    if session_map.figures.state == "stopped":
        answered_count = len(frame) - failed_count
        warn(f"stopped; {answered_count:,} of {len(frame):,} rows are in {target.name}.")
        raise KeyboardInterrupt
    reasons = frame["gx_finish_reason"].dropna()
    incomplete_count = int((~reasons.isin(["stop", ""])).sum())
    if failed_count:
        warn(f"{failed_count:,} of {len(frame):,} rows failed; the column gx_error says why.")
    if incomplete_count:
        warn(
            f"{incomplete_count:,} of {len(frame):,} answers are incomplete; see gx_finish_reason."
        )
    return 1 if failed_count or incomplete_count else recording_status(cassette)


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    """Check that the output can be written, and does not replace a file that the user may need.

    Raises:
        UsageError: If the output cannot be written, or would replace another file.
    """
    check_format(target)
    check_folder(target)
    if not target.exists():
        return
    if not target.is_file():
        raise UsageError(
            f"{display_path(target)!r} is not a regular file.", hint="Choose another file."
        )
    if target.samefile(source):
        raise UsageError("OUT must not be the same file as IN.", hint="Choose another OUT.")
    if not force and not _MAP_COLUMNS.issubset(read_rows_file(target).columns):
        raise UsageError(
            f"{display_path(target)!r} exists, and is not the output of a map.",
            hint="Choose another file, or replace it with `--force`.",
        )
