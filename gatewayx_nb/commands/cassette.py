"""``cassette``: opens a file of recorded replies, changes its mode, or shows its status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Note, note
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.commands.grammar import Parser, Session

_DOES = {
    "auto": "plays back what is recorded, and records the rest",
    "record": "asks again, and renews",
    "replay": "plays back alone",
    "off": "does nothing",
}


def cassette(session: Session, words: argparse.Namespace) -> Note:
    """Open a cassette in place of the open one; without arguments, describe the open one."""
    opened = session.pool.active_cassette
    if opened and not (words.path or words.mode or words.speed):
        return note(*_state(opened))
    path = Path(words.path) if words.path else opened.path if opened else _beside(session)
    fresh = session.pool.cassette(path, words.mode or "auto", speed=words.speed)
    if opened:
        opened.close()
    # The same text in every mode, because notebooks save this line.
    return note(f"Cassette {fresh.path.name} is open.", *filter(None, [fresh.problem]))


def cassette_arguments(parser: Parser) -> None:
    """``[PATH] [--mode M] [--speed X]``."""
    parser.add_argument(
        "path",
        nargs="?",
        metavar="PATH",
        help="its file; cassettes/NOTEBOOK.jsonl beside the notebook, where it is left out",
    )
    parser.add_argument(
        "--mode", metavar="M", help="auto, record, replay or off; auto where it is left out"
    )
    parser.add_argument(
        "--speed", type=float, metavar="X", help="play back at X times the recorded pace"
    )


def _state(opened: Cassette) -> tuple[str, ...]:
    counts = f"{len(opened)} entries; {opened.replayed} played back, {opened.recorded} recorded"
    missed = f", {opened.missed} missed" if opened.missed else ""
    told = f"Cassette {opened.path.name}: {opened.mode}, which {_DOES[opened.mode]}."
    return (told, f"{counts}{missed} so far.", *filter(None, [opened.problem]))


def _beside(session: Session) -> Path:
    """Return the path of the notebook's cassette, if the front end reports the notebook."""
    notebook = session.notebook
    if notebook is None:
        raise UsageError(
            "this front end does not tell the notebook's name.",
            hint="Name the file: `%gatewayx cassette cassettes/NAME.jsonl`",
        )
    return notebook.parent / "cassettes" / f"{notebook.stem}.jsonl"
