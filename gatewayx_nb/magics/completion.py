"""Tab completion in ``%gatewayx`` lines and cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.commands import COMMANDS
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.magics import cell, transforms

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.commands import Parser, Session

_MAGIC = re.compile(rf"[ \t]*(?:[\w., ]+=[ \t]*)?(%%?)(?:{'|'.join(transforms.NAMES)})[ \t]+")
_FIELD = re.compile(r"\{\{ ?(\w*)$")
_ENGINES = ("ask", "explain", "health", "key", "models", "status", "use")
"""Commands whose arguments are engines or references."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Completions for the text before the cursor.

    Attributes:
        fragment: The incomplete word.
        words: Its completions.
    """

    fragment: str
    words: tuple[str, ...]


def offer(session: Session, typed: str, names: Mapping[str, object]) -> Offer | None:
    """Return the completions, or ``None`` if the text is not a ``%gatewayx`` line or cell.

    No engine is called or loaded; only models that are already known are offered.

    Args:
        session: Provides the engines, conversations and jobs.
        typed: The cell up to the cursor.
        names: The notebook's variables.
    """
    head, _, last = typed.rpartition("\n")
    first = _MAGIC.match(typed)
    if first and first[1] == "%%" and head:
        field = _FIELD.search(last)
        return _fitting(field[1], _public(names)) if field else None
    line = _MAGIC.match(last)
    if line is None:
        return None
    *before, fragment = last[line.end() :].split(" ")
    words = [word for word in before if word]
    known = _in_cell(session, words) if line[1] == "%%" else _in_line(session, words)
    return _fitting(fragment, known)


def _in_cell(session: Session, words: list[str]) -> Iterable[str]:
    """Return completions for the first line of a cell."""
    action = _option(cell.parser(), words[-1]) if words else None
    if action is None or action.nargs == 0:
        return (*_references(session), *_options(cell.parser()))
    if action.dest == "chat":
        return (chat.name for chat in session.pool.chats)
    return action.choices or (_references(session) if action.metavar == "REF" else ())


def _in_line(session: Session, words: list[str]) -> Iterable[str]:
    """Return completions for a line."""
    if not words:
        return (*COMMANDS, *_references(session))
    command = COMMANDS.get(words[0])
    if command is None:  # a reference followed by a prompt
        return ()
    parser = command.parser()
    known = [*_options(parser), *_choices(parser, len(words) - 1)]
    match command.name:
        case "chat" if len(words) == 2:  # noqa: PLR2004 - after `chat reset`
            known += (chat.name for chat in session.pool.chats)
        case "cancel":
            known += (job.name for job in session.jobs)
        case "help":
            known += COMMANDS
        case "key" if len(words) == 1:
            known += ("set", "remove", "import")
        case name if name in _ENGINES:
            known += _references(session)
    return known


def _choices(parser: Parser, position: int) -> Iterable[str]:
    places = [action for action in parser._actions if not action.option_strings]  # noqa: SLF001 - as in `grammar`
    return places[position].choices or () if position < len(places) else ()


def _options(parser: Parser) -> list[str]:
    return [
        option
        for action in parser._actions  # noqa: SLF001 - as in `_choices`
        for option in action.option_strings
        if option.startswith("--")
    ]


def _option(parser: Parser, word: str) -> argparse.Action | None:
    actions = parser._actions  # noqa: SLF001 - as in `_choices`
    return next((action for action in actions if word in action.option_strings), None)


def _references(session: Session) -> list[str]:
    """Return the references that can be called: engines, models and aliases."""
    try:
        models = session.pool.models()
    except GatewayError:
        return []
    aliases = session.pool.config.settings.aliases
    ready = {model.engine for model in models}
    short = [alias for alias, meant in aliases.items() if meant.partition(":")[0] in ready]
    return [*sorted(ready), *(str(model) for model in models if model.model), *short]


def _public(names: Mapping[str, object]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


def _fitting(fragment: str, known: Iterable[str]) -> Offer:
    """Return the words that start with the fragment; options only after a dash."""
    fits = (
        word
        for word in dict.fromkeys(known)
        if word.startswith(fragment) and word.startswith("-") == fragment.startswith("-")
    )
    return Offer(fragment, tuple(fits))
