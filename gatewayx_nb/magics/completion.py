"""Tab completion in ``%gatewayx`` lines and cells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.commands import COMMANDS
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.magics import cell, transforms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.commands import LineParser, Session

_FIELD = re.compile(r"\{\{ ?(\w*)$")
_ENGINE_COMMANDS = ("ask", "explain", "health", "key", "models", "status", "use")
"""Commands whose arguments are engines or references."""


@dataclass(frozen=True, slots=True)
class Completions:
    """Completions for the text before the cursor.

    Attributes:
        fragment: The incomplete word.
        words: Its completions.
    """

    fragment: str
    words: tuple[str, ...]


def complete(session: Session, text: str, namespace: Mapping[str, object]) -> Completions | None:
    """Return the completions, or ``None`` if the text is not a ``%gatewayx`` line or cell.

    No engine is called or loaded; only models that are already known are offered.

    Args:
        session: Provides the engines, conversations and jobs.
        text: The cell up to the cursor.
        namespace: The notebook's variables.
    """
    head, _, last = text.rpartition("\n")
    first = transforms.MAGIC.match(text)
    # Below the first line of a cell is the prompt, in which only `{{name}}` is completed.
    if first and first[1] == "%%" and head:
        field = _FIELD.search(last)
        public = [name for name in namespace if not name.startswith("_")]
        return _matching(field[1], public) if field else None
    line = transforms.MAGIC.match(last)
    if line is None:
        return None
    *before, fragment = last[line.end() :].split(" ")
    words = [word for word in before if word]
    candidates = _in_cell(session, words) if line[1] == "%%" else _in_line(session, words)
    return _matching(fragment, candidates)


def _in_cell(session: Session, words: list[str]) -> Iterable[str]:
    """Return completions for the first line of a cell."""
    parser = cell.parser()
    options = {option: action for action in parser.actions for option in action.option_strings}
    action = options.get(words[-1]) if words else None
    if action is None or action.nargs == 0:
        return (*_references(session), *_options(parser))
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
    parser = command.parser(session.prog)
    positional = [action for action in parser.actions if not action.option_strings]
    candidates = _options(parser)
    for action in positional[len(words) - 1 : len(words)]:
        candidates += action.choices or ()
    match command.name:
        case "chat" if len(words) == 2:  # noqa: PLR2004 - after `chat reset`
            candidates += (chat.name for chat in session.pool.chats)
        case "cancel":
            candidates += (job.name for job in session.jobs)
        case "help":
            candidates += COMMANDS
        case name if name in _ENGINE_COMMANDS and not (name == "key" and len(words) == 1):
            candidates += _references(session)
    return candidates


def _options(parser: LineParser) -> list[str]:
    return [option for option in parser.option_strings if option.startswith("--")]


def _references(session: Session) -> list[str]:
    """Return the references that can be called: engines, models and aliases."""
    try:
        models = session.pool.models()
    except GatewayError:
        return []
    # Aliases of engines that cannot be called are omitted.
    ready = {model.engine for model in models}
    aliases = [
        alias
        for alias, reference in session.pool.config.settings.aliases.items()
        if reference.partition(":")[0] in ready
    ]
    return [*sorted(ready), *(str(model) for model in models if model.model), *aliases]


def _matching(fragment: str, candidates: Iterable[str]) -> Completions:
    """Return the words that start with the fragment; options only after a dash."""
    words = (
        word
        for word in dict.fromkeys(candidates)
        if word.startswith(fragment) and word.startswith("-") == fragment.startswith("-")
    )
    return Completions(fragment, tuple(words))
