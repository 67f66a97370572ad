"""Table of the ``%gatewayx`` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands import files, keys, new, security, state
from gatewayx_nb.commands.cassette import cassette, cassette_arguments
from gatewayx_nb.commands.chat import chat, chat_arguments
from gatewayx_nb.commands.compare import compare, compare_arguments
from gatewayx_nb.commands.explain import explain, explain_arguments
from gatewayx_nb.commands.grammar import Command
from gatewayx_nb.commands.health import health, health_arguments
from gatewayx_nb.commands.jobs import cancel, cancel_arguments, jobs
from gatewayx_nb.commands.nest import nest, nest_arguments
from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.commands.spending import history, history_arguments, usage
from gatewayx_nb.commands.trust import trust
from gatewayx_nb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.replies import Reply


def ask(session: Session, words: argparse.Namespace) -> Reply:
    """Call a model; the rest of the line is the prompt, verbatim."""
    reference, prompt = (*words.text.split(maxsplit=1), "", "")[:2]
    if not prompt.strip():
        raise UsageError(
            "there is no prompt." if reference else "there is no reference and no prompt.",
            hint=f"`%gatewayx ask {reference or 'mock'} Why is the sky blue?`",
        )
    return session.ask(prompt.strip(), reference)


def ask_arguments(parser: Parser) -> None:
    """``REF PROMPT…``."""
    parser.usage = "%(prog)s REF PROMPT…"


def show_help(_: Session, words: argparse.Namespace) -> Table | Note:
    """List the commands, or explain one."""
    if not words.command:
        rows = tuple((command.parser().synopsis, command.summary) for command in COMMANDS.values())
        return Table(("command", "what it does"), (*rows, *CELL_ROWS))
    command = COMMANDS.get(words.command)
    if command is None:
        raise unknown(words.command, COMMANDS)
    parser = command.parser()
    described = parser.table()
    return described if described.rows else note(f"`{parser.synopsis}`", command.summary)


def help_arguments(parser: Parser) -> None:
    """``[COMMAND]``."""
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one command")


def unknown(word: str, known: Iterable[str]) -> UsageError:
    """Return the error for a word that is neither a command nor an engine."""
    return UsageError(
        f"no command or engine {word!r}.{did_you_mean(word, known)}",
        hint="`%gatewayx help` lists the commands, `%gatewayx status` the engines.",
    )


COMMANDS = {
    command.name: command
    for command in (
        Command("ask", "ask a model in one line; gives the reply", ask, ask_arguments, raw=True),
        Command("cancel", "stop a job that runs in the background", cancel, cancel_arguments),
        Command(
            "cassette",
            "record replies in a file, and play them back",
            cassette,
            cassette_arguments,
        ),
        Command("chat", "list, reset or export conversations", chat, chat_arguments),
        Command(
            "compare", "choose, ask and judge models with the mouse", compare, compare_arguments
        ),
        Command("explain", "ask a model why the last cell failed", explain, explain_arguments),
        Command("health", "ask engines whether they work", health, health_arguments),
        Command("help", "list the commands, or tell of one", show_help, help_arguments),
        Command("history", "show the last calls and their cost", history, history_arguments),
        Command("init", "make config/ and engines/ in this repository", files.init),
        Command("jobs", "list what runs in the background", jobs),
        Command(
            "key",
            "set or remove a key, which is asked for; or take keys out of a .env file",
            keys.key,
            keys.key_arguments,
            raw=True,
        ),
        Command("keys", "show which keys are set, and where", keys.keys),
        Command("models", "list what can be called now", state.models, state.models_arguments),
        Command("nest", "let `asyncio.run` work in a cell", nest, nest_arguments),
        Command("new", "make an engine of your own", new.new, new.new_arguments),
        Command(
            "pull", "fetch a model that answers on this machine", files.pull, files.pull_arguments
        ),
        Command("reload", "look at all files again", state.reload),
        Command("security", "show who may read keys and change code", security.security),
        Command(
            "status", "show every engine, and what it lacks", state.status, state.status_arguments
        ),
        Command("trust", "let this project have keys that are your own; asks first", trust),
        Command("usage", "show what this kernel's calls took and cost", usage),
        Command("use", "choose the default model", state.use, state.use_arguments),
    )
}

CELL_ROWS = (
    ("%gatewayx REF PROMPT…", "the same as ask"),
    (
        "%%gatewayx [REF …] [options]",
        "ask with the prompt below, and see it come; -h lists the options",
    ),
)
