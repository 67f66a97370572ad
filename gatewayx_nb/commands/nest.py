"""``%gatewayx nest``: makes ``asyncio.run`` work in a notebook, where a loop is running."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Note, note

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session

_OURS = "Calls of gatewayx need none of this: `gx.ask(…)` and `await gx.aask(…)` work as they are."


def nest(_: Session, words: argparse.Namespace) -> Note:
    """Enable or disable nested event loops, or report whether they are enabled."""
    on = bool(getattr(asyncio, "_nest_patched", False))
    if words.to == "on" and not on:
        importlib.import_module(_package()).apply()
        return note(
            "Loops nest now, until the kernel restarts: `asyncio.run(…)` works in a cell.",
            "Clicks on widgets wait until such a cell has ended, and tasks take twice as long.",
        )
    if words.to == "off" and on:
        return note("Loops nest, and only a restart of the kernel takes that back.", _OURS)
    return note("Loops nest." if on else "Loops do not nest: `%gatewayx nest on`.", _OURS)


def nest_arguments(parser: Parser) -> None:
    """``[on|off]``."""
    parser.add_argument("to", nargs="?", choices=("on", "off"), metavar="on|off", help="which")


def _package() -> str:
    """Return the maintained fork if installed (ipykernel 7.1 and later depend on it)."""
    return "nest_asyncio2" if importlib.util.find_spec("nest_asyncio2") else "nest_asyncio"
