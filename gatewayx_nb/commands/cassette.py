"""The command ``cassette``: opens, describes or prunes a cassette, or changes its mode."""

from __future__ import annotations

import contextlib
import difflib
import os
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import cassettes
from gatewayx_nb.calls import Note
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import display_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from gatewayx_nb.cassettes import Cassette, Mode, PruneReport
    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.engine_pool import EnginePool

_MODE_SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("stop", "close", "end", "none"), "off"),
    **dict.fromkeys(("start", "on", "open"), "auto"),
}
"""Synonyms that users may type for a mode."""

_MODES: Mapping[str, str] = {
    "auto": "replays what is recorded and records the rest",
    "record": "calls the models and replaces what is recorded",
    "replay": "only replays",
    "off": "is not used; calls go to the models, and nothing is recorded",
}


def cassette(session: Session, args: argparse.Namespace) -> Note:
    """Open a cassette in place of the open one; without arguments, describe the open cassette."""
    active_cassette = session.pool.active_cassette
    name, mode = _path_and_mode(args)
    if args.prune:
        return _prune(session, args, name, mode)
    if active_cassette and not (name or mode or args.speed is not None):
        return _describe_open(active_cassette)
    if mode == "off" and not (active_cassette or name or session.notebook):
        return Note("No cassette is open: calls go to the models, and nothing is recorded.")
    # Without a path, the open cassette is reopened in another mode.
    path = _chosen_path(session, name, active_cassette)
    if active_cassette and not (name or mode) and active_cassette.mode != "off":
        mode = active_cassette.mode  # only the speed changes
    # Open the new cassette first: if it is invalid, the active one stays open.
    new_cassette = session.pool.cassette(path, mode, speed=args.speed)
    if active_cassette:
        if os.path.realpath(new_cassette.path) == os.path.realpath(active_cassette.path):
            new_cassette.continue_use(active_cassette)
        active_cassette.close()
    # A notebook saves this line, so it must be the same when recording and in every replay. The
    # mode is shown as typed; GATEWAYX_CASSETTE_MODE may override it in a test run, and CI may
    # change the default. The number of entries is shown only if this notebook adds none.
    typed_mode = mode or "auto"
    state = "is closed, mode off" if typed_mode == "off" else f"is open in mode {typed_mode}"
    entries = (
        f" its {_entry_count(len(new_cassette))}"
        if typed_mode == new_cassette.mode == "replay"
        else ""
    )
    line = f"Cassette {display_path(new_cassette.path)} {state}: it {_MODES[typed_mode]}{entries}."
    return Note(line, *filter(None, [new_cassette.problem]))


def cassette_arguments(parser: LineParser) -> None:
    """Add the arguments of ``cassette``: ``[PATH|MODE] [--mode M] [--speed X] [--prune]``."""
    parser.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="a cassette file or a mode; if omitted, the open cassette, or else"
        " cassettes/NOTEBOOK.jsonl next to the notebook",
    )
    parser.add_argument(
        "--mode",
        metavar="M",
        choices=tuple(_MODES),
        help="auto (the default): replay recorded calls and record the rest; record: make every"
        " call and replace its recording; replay: only replay; off: do not use a cassette",
    )
    parser.add_argument(
        "--speed", type=float, metavar="X", help="replay at X times the recorded pace"
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove the entries that have not been used since the cassette was opened, and the"
        " older of two answers to one call",
    )


def _prune(session: Session, args: argparse.Namespace, name: str | None, mode: Mode | None) -> Note:
    """Prune the open cassette, or another cassette."""
    if mode or args.speed is not None:
        other_flag = "--speed" if args.speed is not None else "--mode"
        raise UsageError(
            f"`--prune` cannot be combined with `{other_flag}`.",
            hint=Hint("command", line="cassette --prune"),
        )
    active_cassette = session.pool.active_cassette
    if not (name or active_cassette or session.notebook):
        raise UsageError(
            "no cassette is open.",
            hint=Hint("command", line="cassette cassettes/NAME.jsonl --prune"),
        )
    path = _chosen_path(session, name, active_cassette).expanduser().absolute()
    is_open = active_cassette is not None and os.path.realpath(path) == os.path.realpath(
        active_cassette.path
    )
    if active_cassette and is_open and active_cassette.mode != "off":
        report = cassettes.prune_open(active_cassette)
    else:
        project = session.pool.config.project
        report = cassettes.settle(path, project.root if project else None)
    return Note(*_report_lines(display_path(path), report))


def _report_lines(path: str, report: PruneReport) -> Iterator[str]:
    removed_text = (
        f"{_entry_count(report.removed)} {'was' if report.removed == 1 else 'were'} removed"
    )
    yield f"Cassette {path}: {removed_text}, {report.kept:,} kept."
    if report.conflicts:
        calls = "one call" if report.conflicts == 1 else f"{report.conflicts:,} calls"
        yield f"Of two different answers to {calls}, the newer was kept."
    if report.converted_from:
        yield f"It was converted from format {report.converted_from} to the current format."
    if report.was_used is None:
        yield (
            "Unused entries were not removed. To remove them, open the cassette, run the cells, and"
            " then prune it."
        )
    elif not report.was_used:
        yield "No unused entries were removed, because no cell has used the cassette yet."
    elif report.conflicts and report.unused:
        verb, kept_text = ("has", "was kept") if report.unused == 1 else ("have", "were kept")
        yield (
            f"{_entry_count(report.unused)} {verb} not been used yet and {kept_text}. After"
            " Restart and Run All, prune again to remove what is still unused."
        )
    if report.problem:
        yield report.problem


def _path_and_mode(args: argparse.Namespace) -> tuple[str | None, Mode | None]:
    """Return the typed path and mode; a mode may be typed instead of the path.

    Raises:
        UsageError: If two modes are typed.
    """
    if args.path not in _MODES:
        return args.path, args.mode
    if args.mode not in (None, args.path):
        raise UsageError(
            f"`{args.path}` and `--mode {args.mode}` are different modes; use only one.",
            hint=Hint("command", line=f"cassette {args.path}"),
        )
    return None, args.path


def _chosen_path(session: Session, name: str | None, active_cassette: Cassette | None) -> Path:
    """Return the typed path; if omitted, the path of the open cassette or the default path.

    Raises:
        UsageError: If the path is invalid, or the front end does not report the notebook.
    """
    if name:
        return _checked_path(name)
    return active_cassette.path if active_cassette else _default_path(session)


def _checked_path(name: str) -> Path:
    """Return the typed path; without a suffix, it must exist, since it may be a mistyped mode.

    Raises:
        UsageError: If the file does not exist; the hint suggests a mode or file.
    """
    path = Path(name)
    try:
        expanded_path = path.expanduser()
    except RuntimeError:
        raise UsageError(
            f"the home folder in {name!r} does not exist.", hint="Use a path without `~`."
        ) from None
    if os.path.isdir(expanded_path):
        raise UsageError(
            f"{name!r} is a folder, but a cassette is a file.",
            hint=Hint("command", line=f"cassette {shlex.quote(str(path / 'NAME.jsonl'))}"),
        )
    if path.suffix or os.path.exists(expanded_path):
        return path
    file = f"{name}.jsonl"
    file_hint = Hint("command", line=f"cassette {shlex.quote(file)}")
    word = _MODE_SYNONYMS.get(name.lower(), name.lower())
    modes = difflib.get_close_matches(word, _MODES, 1)
    if not modes or os.path.exists(Path(file).expanduser()):
        raise UsageError(f"{name!r} is neither a cassette nor a mode.", hint=file_hint)
    raise UsageError(
        f"{name!r} is neither a cassette nor a mode. Did you mean {modes[0]!r}?",
        hint=Hint("command", line=f"cassette --mode {modes[0]}") | file_hint,
    )


def _entry_count(entries: int) -> str:
    return f"{entries:,} {'entry' if entries == 1 else 'entries'}"


def describe_file(session: Session, args: argparse.Namespace) -> Note:
    """Describe a cassette file, or remove the older of two answers to the same call."""
    path = _checked_path(args.path)
    if args.prune:
        project = session.pool.config.project
        report = cassettes.settle(path.expanduser().absolute(), project.root if project else None)
        return Note(f"{_entry_count(report.removed)} removed from {display_path(path)}.")
    with session.pool.cassette(path, "replay") as cassette:
        models = Counter(
            f"{entry.engine}:{entry.model}".rstrip(":") for entry in cassette.entries
        ).most_common()
        model_counts = ", ".join(f"{model} ({count:,})" for model, count in models)
        line = f"Cassette {display_path(cassette.path)} has {_entry_count(len(cassette))}"
        return Note(
            f"{line}{': ' if model_counts else ''}{model_counts}.",
            *filter(None, [cassette.problem]),
        )


def describe_file_arguments(parser: LineParser) -> None:
    """Add the arguments of ``cassette`` in a shell: ``FILE [--prune]``."""
    parser.add_argument("path", metavar="FILE", help="a cassette")
    prune_help = "settle a merge, and remove the older of two answers to one call"
    parser.add_argument("--prune", action="store_true", help=prune_help)


def _describe_open(active_cassette: Cassette) -> Note:
    beginning = (
        f"Cassette {display_path(active_cassette.path)} is in mode {active_cassette.mode}: it"
    )
    if active_cassette.mode == "off":
        return Note(f"{beginning} {_MODES[active_cassette.mode]}.")
    unused_count, entries = len(active_cassette.unused), _entry_count(len(active_cassette))
    unused_text = f", {unused_count:,} not used since it was opened" if unused_count else ""
    missed_text = f", {active_cassette.missed} missed" if active_cassette.missed else ""
    return Note(
        f"{beginning} {_MODES[active_cassette.mode]}.",
        f"{entries}{unused_text}; {active_cassette.replayed} replayed,"
        f" {active_cassette.recorded} recorded{missed_text} so far.",
        *filter(None, [active_cassette.problem]),
    )


def _default_path(session: Session) -> Path:
    """Return the path of the notebook's cassette, if the front end reports the notebook."""
    notebook = session.notebook
    if notebook is None:
        raise UsageError(
            "this front end does not report the notebook's name.",
            hint=Hint("open_cassette", path="cassettes/NAME.jsonl", mode="auto"),
        )
    return notebook.parent / "cassettes" / f"{notebook.stem}.jsonl"


@contextlib.contextmanager
def recording(pool: EnginePool, path: str | None) -> Iterator[Cassette | None]:
    """Use a cassette in the ``with`` block, if there is a path.

    Raises:
        UsageError: If the path is empty, for example because a shell variable is not set.
    """
    if path is None:
        yield None
        return
    if not path.strip():
        raise UsageError("`--cassette` needs a file, got an empty string.", hint="Name the file.")
    with pool.cassette(path) as cassette:
        yield cassette
