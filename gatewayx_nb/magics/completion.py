"""Completes words in ``%gatewayx`` lines and cells for the Tab key."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import weights
from gatewayx_nb.calls import PARAM_OPTIONS
from gatewayx_nb.commands import COMMANDS, JOB_ACTIONS, help_topics
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.magics import cell, transforms
from gatewayx_nb.magics.map_cell import column_names, frame_names
from gatewayx_nb.magics.notebook_values import image_names, tool_names
from gatewayx_nb.magics.type_expression import schema_names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.commands import LineParser, Session

_OPEN_PLACEHOLDER = re.compile(r"\{\{ ?(\w*)$")
_MAP_OPTION = re.compile(r"\s--map[ =]\s*(\S+)")
_ENGINE_COMMANDS = ("compare", "explain", "health", "models", "status", "use")
"""Commands whose arguments are engines or references."""

_FILE_METAVARS = ("PATH", "FILE")
"""Placeholders, in the usage, of arguments that may be files."""


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
    lines_before, _, last_line = text.rpartition("\n")
    cell_magic = transforms.MAGIC.match(text)
    # The lines below a cell's first line are the prompt, in which only `{{name}}` is completed.
    if cell_magic and cell_magic[1] == "%%" and lines_before:
        placeholder_match = _OPEN_PLACEHOLDER.search(last_line)
        names = _in_placeholder(text.partition("\n")[0], namespace)
        return _matching_words(placeholder_match[1], names) if placeholder_match else None
    magic = transforms.MAGIC.match(last_line)
    if magic is None:
        return None
    if magic[1] == "%" and (placeholder_match := _OPEN_PLACEHOLDER.search(last_line)):
        return _matching_words(placeholder_match[1], _in_placeholder(last_line, namespace))
    *words_before, fragment = last_line[magic.end() :].split(" ")
    words = [word for word in words_before if word]
    if magic[1] == "%%":
        candidates = _in_cell(session, words, fragment, namespace)
    else:
        candidates = _in_line(session, words, fragment, namespace)
    return _matching_words(fragment, candidates)


def _in_placeholder(line: str, namespace: Mapping[str, object]) -> list[str]:
    """Return completions for ``{{``: the columns of ``--map``, and the notebook's variables."""
    map_match = _MAP_OPTION.search(line)
    columns = column_names(map_match[1], namespace) if map_match else []
    return [*columns, *(name for name in namespace if not name.startswith("_"))]


def _in_cell(
    session: Session, words: list[str], fragment: str, namespace: Mapping[str, object]
) -> Iterable[str]:
    """Return completions for the first line of a cell."""
    parser = cell.parser()
    action = parser.action_for_flag(words[-1]) if words else None
    if action is None or action.nargs == 0:
        return (
            *_callable_references(session),
            *_engines_without_key(session),
            *_long_options(parser),
        )
    return _value_words(session, action, fragment, namespace)


def _in_line(
    session: Session, words: list[str], fragment: str, namespace: Mapping[str, object]
) -> Iterable[str]:
    """Return completions for a line."""
    if not words:
        return (*COMMANDS, *_callable_references(session), *_engines_without_key(session))
    command = COMMANDS.get(words[0])
    if command is None:
        return _before_prompt(session, words, fragment, namespace)
    if command.name == "ask" and words[1:]:
        return _before_prompt(session, words[1:], fragment, namespace)
    if command.name == "ask":
        return (*_callable_references(session), *_engines_without_key(session))
    parser = command.parser(session.prog)
    option = parser.action_for_flag(words[-1])
    if option is not None and option.nargs != 0:
        return _value_words(session, option, fragment, namespace)
    positional_actions = [action for action in parser.actions if not action.option_strings]
    candidates = _long_options(parser)
    for action in positional_actions[len(words) - 1 : len(words)]:
        candidates += _value_words(session, action, fragment, namespace)
    return [*candidates, *_argument_words(session, words, fragment)]


def _argument_words(session: Session, words: list[str], fragment: str) -> Iterable[str]:
    """Return completions for arguments whose possible values the command's parser does not list."""
    names: Iterable[str] = ()
    match words:
        case ["chat", _]:
            names = (chat.name for chat in session.pool.chats)
        case ["cancel"]:
            names = (*(job.name for job in session.jobs), *_map_names(session))
        case ["jobs", *actions] if len(actions) <= 1:
            names = (*([] if actions else JOB_ACTIONS), *_map_names(session))
        case ["help"]:
            names = help_topics(COMMANDS)
        case ["pull", *options] if not options or "--remove" in options:
            model_names = (model.name for model in weights.pulled_models())
            names = model_names if options else weights.catalogue()
        case ["key", "import"]:
            names = _matching_paths(fragment)
        case ["key", _]:
            names = (row.name for row in session.pool.status(probe=False))
        case [name, *_] if name in _ENGINE_COMMANDS:
            names = _callable_references(session)
    return names


def _before_prompt(
    session: Session, words: list[str], fragment: str, namespace: Mapping[str, object]
) -> Iterable[str]:
    """Return completions for the options between a reference and its prompt."""
    parser = cell.parser()
    option = parser.action_for_flag(words[-1])
    if option is not None and option.nargs != 0:
        return _value_words(session, option, fragment, namespace)
    has_prompt = any(
        not word.startswith("-") and not parser.takes_value(previous_word)
        for previous_word, word in itertools.pairwise(words)
    )
    return () if has_prompt else _long_options(parser)


def _value_words(
    session: Session, action: argparse.Action, fragment: str, namespace: Mapping[str, object]
) -> Iterable[str]:
    """Return completions for the value of an option or argument."""
    values: Iterable[str] = tuple(action.choices or ())
    match action.dest:
        case "chat":
            values = (chat.name for chat in session.pool.chats)
        case "map":
            values = frame_names(namespace)
        case "schema":
            values = schema_names(namespace)
        case "tools":
            servers = session.pool.config.settings.mcp
            values = (*tool_names(namespace), *(f"mcp:{name}" for name in servers))
        case "images":
            values = (*image_names(namespace), *_matching_paths(fragment))
        case "params":
            values = (f"{name}=" for name in PARAM_OPTIONS)
        case _ if action.metavar == "REF":
            values = _callable_references(session)
        case _ if action.metavar in _FILE_METAVARS:
            values = _matching_paths(fragment)
    return values


def _map_names(session: Session) -> list[str]:
    try:
        return [job.name for job in session.pool.map_jobs()]
    except GatewayError:  # the store cannot be read
        return []


def _matching_paths(fragment: str) -> list[str]:
    """Return the files and folders whose path begins with a fragment."""
    folder, _, name = fragment.rpartition("/")
    root = Path(f"{folder}/" if "/" in fragment else "").expanduser()
    prefix = f"{folder}/" if "/" in fragment else ""
    try:
        paths = [path for path in root.iterdir() if name.startswith(".") or path.name[0] != "."]
    except OSError:
        return []
    return [f"{prefix}{path.name}{'/' if os.path.isdir(path) else ''}" for path in sorted(paths)]


def _long_options(parser: LineParser) -> list[str]:
    return [option for option in parser.option_strings if option.startswith("--")]


def _callable_references(session: Session) -> list[str]:
    """Return the references that can be called: engines, models and aliases."""
    try:
        models = session.pool.models()
    except GatewayError:
        return []
    # Aliases of engines that cannot be called are omitted.
    ready_engines = {model.engine for model in models}
    aliases = [
        alias
        for alias, reference in session.pool.config.settings.aliases.items()
        if reference.partition(":")[0] in ready_engines
    ]
    return [*sorted(ready_engines), *(str(model) for model in models if model.model), *aliases]


def _engines_without_key(session: Session) -> list[str]:
    """Return the engines that lack only a key; the error of a call explains how to set the key."""
    return [row.name for row in session.pool.status(probe=False) if row.state == "no key"]


def _matching_words(fragment: str, candidates: Iterable[str]) -> Completions:
    """Return the words that start with the fragment; options match only after a dash."""
    words = (
        word
        for word in dict.fromkeys(candidates)
        if word.startswith(fragment) and word.startswith("-") == fragment.startswith("-")
    )
    return Completions(fragment, tuple(words))
