"""The table of commands, and the dispatch of a line to one of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import Note, Table, text_columns
from gatewayx_nb.commands.cassette import cassette, cassette_arguments
from gatewayx_nb.commands.command import Command
from gatewayx_nb.commands.keys import contains_key, key, key_arguments, keys, trust, typed_key_error
from gatewayx_nb.commands.notebook import (
    cancel,
    cancel_arguments,
    chat,
    chat_arguments,
    compare,
    compare_arguments,
    explain,
    explain_arguments,
    jobs,
    nest,
    nest_arguments,
)
from gatewayx_nb.commands.project import init, new, new_arguments, pull, pull_arguments
from gatewayx_nb.commands.status import (
    health,
    health_arguments,
    models,
    models_arguments,
    overview,
    reload,
    security,
    status,
    status_arguments,
    use,
    use_arguments,
)
from gatewayx_nb.commands.usage import history, history_arguments, usage
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.commands.command import LineParser, Session
    from gatewayx_nb.replies import Reply


def run(session: Session, line: str) -> Any:  # noqa: ANN401 - the command's output
    """Run a line: a command, or a reference followed by a prompt.

    Raises:
        UsageError: If the line is neither.
        GatewayError: If the command fails.
    """
    # Padded, because a line may be empty or a single word.
    word, rest = (*line.split(maxsplit=1), "", "")[:2]
    if not word:
        return overview(session)
    if word in ("-h", "--help"):
        word = "help"
    if word in COMMANDS:
        return COMMANDS[word](session, rest)
    # Unusable ones too, so that calling one says what it lacks.
    engines = {row.name for row in session.pool.status()}
    aliases = session.pool.config.settings.aliases
    if word.partition(":")[0] in engines or word in aliases:
        return ask(session, argparse.Namespace(text=line))
    # The error for an unknown word repeats it, and would show a key.
    if contains_key(line):
        raise typed_key_error(session, line)
    raise _unknown(word, [*COMMANDS, *engines, *aliases])


def ask(session: Session, args: argparse.Namespace) -> Reply:
    """Call a model; the rest of the line is the prompt, verbatim."""
    reference, prompt = (*args.text.split(maxsplit=1), "", "")[:2]
    if not prompt.strip():
        raise UsageError(
            "the prompt is missing." if reference else "the reference and the prompt are missing.",
            hint=Hint("command", line=f"ask {reference or 'mock'} Why is the sky blue?"),
        )
    return session.ask(prompt.strip(), reference)


def ask_arguments(parser: LineParser) -> None:
    """Add the arguments of ``ask``: ``REF PROMPT…``."""
    parser.usage = "%(prog)s REF PROMPT…"


def show_help(session: Session, args: argparse.Namespace) -> Table | Note:
    """List the commands, or explain one."""
    if not args.command:
        return _list_commands(session)
    command = COMMANDS.get(args.command)
    if command is None:
        raise _unknown(args.command, COMMANDS)
    parser = command.parser(session.prog)
    table = parser.table()
    return table or Note(f"`{parser.synopsis}`", command.summary)


def help_arguments(parser: LineParser) -> None:
    """Add the arguments of ``help``: ``[COMMAND]``."""
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="a command")


def _list_commands(session: Session) -> Table:
    prog, ask_prog = session.prog, session.ask_prog
    rows = [(command.parser(prog).synopsis, command.summary) for command in COMMANDS.values()]
    stream = "send the lines below and stream the answer; -h lists the options"
    rows += [(f"{prog} REF PROMPT…", "the same as ask"), (f"{ask_prog} [REF …] [options]", stream)]
    return Table(rows, text_columns("command", "what it does"))


def _unknown(word: str, candidates: Iterable[str]) -> UsageError:
    """Return the error for a word that is neither a command nor an engine."""
    return UsageError(
        f"no command or engine {word!r}.{did_you_mean(word, candidates)}",
        hint=Hint("command", line="help") | Hint("list_engines"),
    )


COMMANDS = {
    command.name: command
    for command in (
        Command("ask", "call a model in one line; returns the reply", ask, ask_arguments, raw=True),
        Command("cancel", "stop a background job", cancel, cancel_arguments),
        Command("cassette", "record and replay replies", cassette, cassette_arguments),
        Command("chat", "list, reset or export conversations", chat, chat_arguments),
        Command("compare", "choose, call and judge models in a widget", compare, compare_arguments),
        Command("explain", "ask a model why the last cell failed", explain, explain_arguments),
        Command("health", "check that engines work", health, health_arguments),
        Command("help", "list the commands, or explain one", show_help, help_arguments),
        Command("history", "show the latest calls and their cost", history, history_arguments),
        Command("init", "create config/ and engines/ in this repository", init),
        Command("jobs", "list the background jobs", jobs),
        Command(
            "key",
            "set a key (you are prompted) or remove it; import keys from a .env file",
            key,
            key_arguments,
            raw=True,
        ),
        Command("keys", "show which keys are set, and where", keys),
        Command("models", "list the models that can be called", models, models_arguments),
        Command("nest", "make `asyncio.run` work in a cell", nest, nest_arguments),
        Command("new", "create an engine file or settings entry", new, new_arguments),
        Command("pull", "download a model that runs on this machine", pull, pull_arguments),
        Command("reload", "reload all files", reload),
        Command("security", "show who can read keys and change code", security),
        Command("status", "show every engine and what it needs", status, status_arguments),
        Command("trust", "let this project use your own keys; asks first", trust),
        Command("usage", "show this session's calls and cost", usage),
        Command("use", "choose the default model", use, use_arguments),
    )
}
