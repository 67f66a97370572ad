"""``cassette``: open a file of recorded replies, change its mode, or show its status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Note
from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser

_MODES: Mapping[str, str] = {
    "auto": "replays what is recorded and records the rest",
    "record": "calls the models and replaces what is recorded",
    "replay": "only replays",
    "off": "is not used; calls go to the models, and nothing is recorded",
}


def cassette(session: Session, args: argparse.Namespace) -> Note:
    """Open a cassette in place of the open one; without arguments, describe the open one."""
    active = session.pool.active_cassette
    if active and not (args.path or args.mode or args.speed):
        return _describe(active)
    # Without a path, the open cassette is opened again in another mode.
    path = Path(args.path) if args.path else active.path if active else _default_path(session)
    # Opened first, so that an invalid file or mode leaves the active one open.
    opened = session.pool.cassette(path, args.mode or "auto", speed=args.speed)
    if active:
        active.close()
    # The same command prints the same text when recording and replaying, because notebooks save
    # their output.
    state = "is open"
    if args.mode == "off" == opened.mode:
        state = f"is closed, mode off: it {_MODES['off']}"
    elif args.mode == "replay" == opened.mode:
        state = f"is in mode replay: it {_MODES['replay']}"
    elif args.mode in ("auto", "record"):
        # What was typed, because GATEWAYX_CASSETTE_MODE may make a test run differ.
        state = f"is open with `--mode {args.mode}`, which {_MODES[args.mode]}"
    return Note(f"Cassette {opened.path.name} {state}.", *filter(None, [opened.problem]))


def cassette_arguments(parser: LineParser) -> None:
    """Add the arguments of ``cassette``: ``[PATH] [--mode M] [--speed X]``."""
    parser.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="its file; if omitted, the open one or cassettes/NOTEBOOK.jsonl beside the notebook",
    )
    modes = "; ".join(f"{mode} {meaning}" for mode, meaning in _MODES.items())
    parser.add_argument(
        "--mode", metavar="M", choices=tuple(_MODES), help=f"auto if omitted: {modes}"
    )
    parser.add_argument(
        "--speed", type=float, metavar="X", help="replay at X times the recorded pace"
    )


def _describe(active: Cassette) -> Note:
    missed = f", {active.missed} missed" if active.missed else ""
    return Note(
        f"Cassette {active.path.name} is in mode {active.mode}: it {_MODES[active.mode]}.",
        f"{len(active)} {'entry' if len(active) == 1 else 'entries'};"
        f" {active.replayed} replayed, {active.recorded} recorded{missed} so far.",
        *filter(None, [active.problem]),
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
