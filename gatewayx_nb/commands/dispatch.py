"""Contains the table of commands, and runs the command that a line names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import Note, Table
from gatewayx_nb.commands.command import Command, Handler
from gatewayx_nb.commands.line_parser import GROUPED_COLUMNS
from gatewayx_nb.errors import ConfigError, UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.calls import Excerpt
    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser


def run(session: Session, line: str) -> Any:  # noqa: ANN401 - the command's output
    """Run a line: a command, or a reference followed by a prompt.

    Raises:
        UsageError: If the line is neither a command nor a call.
        GatewayError: If the command fails.
    """
    # The words are padded, because the line may be empty or a single word.
    word, arguments = (*line.split(maxsplit=1), "", "")[:2]
    if not word:
        return Handler("status", "overview")(session)
    if word in _HELP_FLAGS:
        word = "help"
    if word in session.commands:
        if _wants_help(session.commands[word], arguments):
            word, arguments = "help", word
        return session.commands[word](session, arguments)
    names = _callable_names(session)
    if {word, word.partition(":")[0]}.intersection(names):
        return session.ask_line(line)
    # The error for an unknown word would repeat it, and so show a key.
    if Handler("keys", "contains_key")(line):
        raise Handler("keys", "typed_key_error")(session, line)
    # The line begins with an option, a variable with a reference, or a model without its engine. In
    # the last case, the call's error suggests the engine.
    if word.startswith(("-", "{{")) or (arguments and _LIKELY_MODEL_NAME.fullmatch(word)):
        return session.ask_line(line)
    if word.endswith("?") and word[:-1] in session.commands and not arguments:
        return session.commands["help"](session, word[:-1])
    raise _unknown_line_error(session, word, arguments, [*session.commands, *names])


def ask(session: Session, args: argparse.Namespace) -> object:
    """Call a model; the text after the reference and the options is the prompt, verbatim."""
    word, prompt = (*args.text.split(maxsplit=1), "", "")[:2]
    is_reference = word.startswith(("-", "{{")) or word.partition(":")[0] in _callable_names(
        session
    )
    if not (prompt or is_reference):
        # The word is not repeated, because it may be a key.
        missing_text = "or the prompt is" if word else "and the prompt are"
        raise UsageError(
            f"the reference {missing_text} missing.",
            hint=Hint("command", line="ask mock Why is the sky blue?"),
        )
    return session.ask_line(args.text)


def ask_arguments(parser: LineParser) -> None:
    """Add the arguments of ``ask``: ``REF [options] PROMPT…``."""
    parser.usage = "%(prog)s REF [options] PROMPT…"


GROUPS: Mapping[str, tuple[str, ...]] = {
    "Ask": ("ask", "map", "chat", "jobs", "cancel", "tools"),
    "Keys": ("key", "keys", "trust"),
    "Models": ("status", "models", "use", "pull", "init", "new", "reload"),
    "Compare": ("compare", "eval"),
    "Record": ("cassette",),
    "Serve": ("serve",),
    "Cost": ("usage", "history"),
    "Trouble": (
        "explain",
        "doctor",
        "health",
        "security",
        "settings",
        "nest",
        "completion",
        "help",
    ),
}
"""The commands, grouped by purpose as `help` lists them; each is in one group."""

TOPICS: Mapping[str, tuple[str, ...]] = {
    "asking": GROUPS["Ask"],
    "engines": GROUPS["Models"],
    **{title.lower(): GROUPS[title] for title in ("Record", "Cost", "Trouble")},
}
"""The topics of ``help``, whose names are not commands."""


def show_help(session: Session, args: argparse.Namespace) -> Table | Note | Excerpt:
    """List the commands, or explain a command, a topic, a call option, a guide or a message."""
    topic = args.text.strip()
    first_word, _, action = topic.partition(" ")
    # For an action of a command, such as `key set`, explain the command.
    if first_word in session.commands and _may_be_action(session.commands[first_word], action):
        topic = first_word
    if not topic:
        return _list_commands(session)
    if topic in ("ask", "options"):
        return session.ask_parser.table()
    if command := session.commands.get(topic):
        parser = command.parser(session.prog)
        return parser.table() or Note(f"`{parser.synopsis}`", command.summary)
    if topic in TOPICS:
        rows = [("", *usage) for usage in _usages(session, TOPICS[topic])]
        return Table(rows, GROUPED_COLUMNS)
    if help_page := _option_help(session, topic) or _find_page(topic):
        return help_page
    if first_word in session.commands:
        raise UsageError(
            f"{shorten(action, _MAX_QUOTED_LENGTH)!r} is not expected here.",
            hint=Hint("command", line=f"help {first_word}"),
        )
    raise _unknown_error(topic, help_topics(session.commands), "command or topic")


def _may_be_action(command: Command, word: str) -> bool:
    """Return whether a command takes an action and ``word`` is a single word."""
    takes_action = any(argument.dest == "action" for argument in command.parser("").actions)
    return takes_action and len(word.split()) == 1


def help_topics(commands: Iterable[str]) -> list[str]:
    """Return the names that ``help`` accepts: the commands, topics, guides and error entries."""
    guide_names, trouble_names = (
        Handler("guides", "guide_names")(),
        Handler("guides", "trouble_names")(),
    )
    return [*commands, *TOPICS, "options", *guide_names, *trouble_names]


def _find_page(topic: str) -> Excerpt | None:
    """Return a guide, or the entry on an error message, if there is one for a topic."""
    page: Excerpt | None = Handler("guides", "find_guide")(topic)
    return page or Handler("guides", "find_trouble")(topic)


def _option_help(session: Session, topic: str) -> Note | None:
    """Return the help of the call option with this name or flag, if it exists."""
    option = next(
        filter(None, map(session.ask_parser.action_for_flag, (topic, f"--{topic}"))), None
    )
    if option is not None:
        flag = f"{', '.join(option.option_strings)} {option.metavar or ''}".rstrip()
        return Note(f"`{session.ask_prog} REF {flag}`: {option.help}")
    if example := session.ask_parser.param_example(topic):
        name = example.removeprefix("-p ").partition("=")[0]
        help_text = session.ask_parser.param_options[name].help
        return Note(f"`{session.ask_prog} REF {example}`: {help_text}")
    return None


def help_arguments(parser: LineParser) -> None:
    """Add the arguments of ``help``: ``[TOPIC]``."""
    parser.usage = "%(prog)s [COMMAND|TOPIC]"
    parser.add_argument(
        "topic",
        nargs="?",
        metavar="TOPIC",
        help=f"a command, a call option, options, {', '.join(TOPICS)}, the name of a guide, or"
        " words from an error message",
    )


_LIKELY_MODEL_NAME = re.compile(r"[a-z][^\W\d]*+[-/:.\d][\w./:-]*")
"""A word that could be the name of a model, such as ``gpt-4o``."""

_SYNONYMS: Mapping[str, str] = dict.fromkeys(("record", "replay", "save"), "cassette")
"""Synonyms that users may type for a command."""

_HELP_FLAGS = ("-h", "--help")


def _callable_names(session: Session) -> list[str]:
    """Return the names of all engines and aliases; a call of an unusable engine explains why."""
    return [*(row.name for row in session.pool.status()), *session.pool.config.settings.aliases]


def _wants_help(command: Command, arguments: str) -> bool:
    """Return whether a command's line asks for help.

    For ``ask``, only the first word is checked, because the prompt may contain ``-h``.
    """
    words = arguments.split()
    return bool(set(words[:1] if command.name == "ask" else words).intersection(_HELP_FLAGS))


def _usages(session: Session, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the usage and the summary of each command."""
    commands = (session.commands[name] for name in names if name in session.commands)
    return [(command.parser(session.prog).synopsis, command.summary) for command in commands]


def _list_commands(session: Session) -> Table:
    prog, ask_prog = session.prog, session.ask_prog
    rows = [
        (f"{ask_prog} [REF …] [options]", "send the lines below; `-h` lists the options"),
        (f"{prog} REF PROMPT…", "call a model in one line"),
    ]
    title_by_index = {0: "Ask"}
    for group, names in GROUPS.items():
        title_by_index.setdefault(len(rows), "" if group == "Ask" else group)
        commands = (session.commands[name] for name in names if name in session.commands)
        rows += [(command.parser(prog).short_usage, command.summary) for command in commands]
    grouped_rows = [(title_by_index.get(index, ""), *row) for index, row in enumerate(rows)]
    help_note = f"`{prog} help COMMAND` explains one; REF is an engine or engine:model."
    return Table(grouped_rows, GROUPED_COLUMNS, (help_note,))


def _unknown_error(
    word: str, candidates: Iterable[str], expected: str = "command or engine"
) -> UsageError:
    """Return the error for a word that is not one of the candidates."""
    if word in _SYNONYMS:
        return UsageError(
            f"there is no {expected} {word!r}. Did you mean {_SYNONYMS[word]!r}?",
            hint=Hint("command", line=f"help {_SYNONYMS[word]}"),
        )
    return UsageError(
        f"there is no {expected} {word!r}.{did_you_mean(word, candidates)}",
        hint=Hint("command", line="help") | Hint("list_engines"),
    )


def _unknown_line_error(
    session: Session, word: str, arguments: str, candidates: Iterable[str]
) -> UsageError:
    """Return the error for a line that does not begin with a command or an engine."""
    # A question begins with a capital letter; a misspelled name does not.
    if not arguments or word in _SYNONYMS or (word.islower() and did_you_mean(word, candidates)):
        return _unknown_error(word, candidates)
    return UsageError(
        f"{shorten(word, _MAX_QUOTED_LENGTH)!r} is neither a command nor a model.",
        hint=Hint(
            "command", line=shorten(f"{_any_model(session)} {word} {arguments}", _MAX_QUOTED_LENGTH)
        )
        | Hint("list_engines"),
    )


def _any_model(session: Session) -> str:
    """Return a model that can be called, preferably the default model."""
    try:
        return session.pool.default_model()
    except ConfigError:
        return "mock"


_MAX_QUOTED_LENGTH = 60
"""Maximum number of characters from a line in an error message."""


_COMMANDS = (
    Command("ask", "call a model in one line; returns the reply", ask, ask_arguments, raw=True),
    Command(
        "cancel",
        "stop a job",
        Handler("jobs", "cancel"),
        Handler("jobs", "cancel_arguments"),
        where="notebook",
    ),
    Command(
        "cassette",
        "record and replay replies",
        Handler("cassette", "cassette"),
        Handler("cassette", "cassette_arguments"),
        where="notebook",
    ),
    Command(
        "cassette",
        "describe a file of recorded replies",
        Handler("cassette", "describe_file"),
        Handler("cassette", "describe_file_arguments"),
        where="shell",
    ),
    Command(
        "chat",
        "list, reset or export conversations",
        Handler("notebook", "chat"),
        Handler("notebook", "chat_arguments"),
        where="notebook",
    ),
    Command(
        "compare",
        "choose, call and judge models in a widget",
        Handler("notebook", "compare"),
        Handler("notebook", "compare_arguments"),
        where="notebook",
    ),
    Command(
        "explain",
        "ask a model why the last cell failed",
        Handler("notebook", "explain"),
        Handler("notebook", "explain_arguments"),
        where="notebook",
    ),
    Command(
        "completion",
        "print the completion script of a shell",
        Handler("shell_completion", "completion"),
        Handler("shell_completion", "completion_arguments"),
        where="shell",
    ),
    Command(
        "doctor",
        "check what a call needs, and say what to do",
        Handler("doctor", "doctor"),
        where="shell",
    ),
    Command(
        "eval",
        "score prompts and models on the rows of a file",
        Handler("eval_rows", "eval_file"),
        Handler("eval_rows", "eval_arguments"),
        raw=True,
        where="shell",
    ),
    Command(
        "health",
        "check that engines work",
        Handler("status", "health"),
        Handler("status", "health_arguments"),
    ),
    Command("help", "list the commands, or explain one", show_help, help_arguments, raw=True),
    Command(
        "history",
        "show the latest calls and their cost",
        Handler("usage", "history"),
        Handler("usage", "history_arguments"),
    ),
    Command("init", "create config/ and engines/ in this repository", Handler("project", "init")),
    Command(
        "jobs",
        "list the jobs, export or forget maps",
        Handler("jobs", "jobs"),
        Handler("jobs", "jobs_arguments"),
        where="notebook",
    ),
    Command(
        "key",
        "set a key (you are prompted) or remove it; import keys from a .env file",
        Handler("keys", "key"),
        Handler("keys", "key_arguments"),
        raw=True,
    ),
    Command("keys", "show which keys are set, and where", Handler("keys", "keys")),
    Command(
        "map",
        "ask a model about each row of a file",
        Handler("map_rows", "map_file"),
        Handler("map_rows", "map_arguments"),
        raw=True,
        where="shell",
    ),
    Command(
        "models",
        "list the models that can be called",
        Handler("status", "models"),
        Handler("status", "models_arguments"),
    ),
    Command(
        "nest",
        "make `asyncio.run` work in a cell",
        Handler("notebook", "nest"),
        Handler("notebook", "nest_arguments"),
        where="notebook",
    ),
    Command(
        "new",
        "create an engine file, settings entry or package",
        Handler("project", "new"),
        Handler("project", "new_arguments"),
    ),
    Command(
        "pull",
        "download a model that runs on this machine",
        Handler("project", "pull"),
        Handler("project", "pull_arguments"),
    ),
    Command("reload", "reload all files", Handler("status", "reload"), where="notebook"),
    Command("security", "show who can read keys and change code", Handler("status", "security")),
    Command(
        "serve",
        "serve other libraries in this notebook",
        Handler("serving", "serve_notebook"),
        where="notebook",
    ),
    Command(
        "serve",
        "serve other programs in the formats of OpenAI and Anthropic",
        Handler("serving", "serve_standalone"),
        Handler("serving", "serve_arguments"),
        where="shell",
    ),
    Command(
        "settings", "show every setting, its value and what it means", Handler("status", "settings")
    ),
    Command(
        "status",
        "show every engine and what it needs",
        Handler("status", "status"),
        Handler("status", "status_arguments"),
    ),
    Command(
        "tools",
        "list the MCP servers and their tools",
        Handler("tools", "tools"),
        Handler("tools", "tools_arguments"),
    ),
    Command(
        "trust",
        "allow this project to use your keys or to run its own code; asks first",
        Handler("trust", "trust"),
        Handler("trust", "trust_arguments"),
    ),
    Command(
        "usage",
        "show this session's calls and cost",
        Handler("usage", "usage"),
        Handler("usage", "usage_arguments"),
        where="notebook",
    ),
    Command(
        "use",
        "choose the default model",
        Handler("status", "use"),
        Handler("status", "use_arguments"),
        where="notebook",
    ),
    Command(
        "use",
        "save the default model",
        Handler("status", "save_default"),
        Handler("status", "reference_argument"),
        where="shell",
    ),
)

COMMANDS = {command.name: command for command in _COMMANDS if command.where != "shell"}
"""The commands of a notebook, by name."""

SHELL_COMMANDS = {command.name: command for command in _COMMANDS if command.where != "notebook"}
"""The commands of a shell, by name."""
