"""Commands, their parser, whose errors any front end can show, and their session."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from typing_extensions import override

from gatewayx_nb.calls import Table, text_columns
from gatewayx_nb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gatewayx_nb.background import JobList
    from gatewayx_nb.calls import Option
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.replies import Reply


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A cell that raised an exception.

    Attributes:
        source: The cell's source; empty if unknown.
        line: The line that raised, counted from 1; 0 if unknown.
        error: The exception's class and message, without the traceback.
    """

    source: str
    line: int
    error: str


class Session(Protocol):
    """What a command needs from its front end."""

    @property
    def prog(self) -> str:
        """How a command line begins in this front end."""

    @property
    def ask_prog(self) -> str:
        """How a call with options begins in this front end."""

    @property
    def pool(self) -> EnginePool:
        """The engine pool."""

    @property
    def notebook(self) -> Path | None:
        """Path of the notebook, if the front end reports it."""

    @property
    def limitations(self) -> str:
        """What does not work in this version of the front end, in one line."""

    @property
    def jobs(self) -> JobList:
        """The background jobs."""

    def ask(self, prompt: str, model: str) -> Reply:
        """Call a model and wait; show the partial answer if it is stopped."""

    def forget(self, line: str) -> bool:
        """Remove a line from the input history; return whether that succeeded."""

    def ask_secret(self, question: str) -> str:
        """Prompt for a value without showing it.

        Raises:
            UsageError: If the front end cannot prompt.
        """

    def show(self, output: object) -> None:
        """Display something while the command is running."""

    def compare_view(self, references: Sequence[str]) -> object:
        """Return the widget that compares several models."""

    def last_failed_cell(self) -> FailedCell | None:
        """Return the last cell that raised an exception."""

    def confirm(self, table: Table, question: str) -> bool:
        """Show a table and ask the user for confirmation; anything but yes means no.

        Raises:
            TrustError: If the front end cannot ask.
        """


class LineParser(argparse.ArgumentParser):
    """Argument parser that raises `UsageError` where argparse would exit the process."""

    def __init__(self, prog: str, description: str = "") -> None:
        # argparse would print help and exit; an abbreviation could clash with a later option.
        super().__init__(prog=prog, description=description, add_help=False, allow_abbrev=False)

    def read(self, line: str) -> argparse.Namespace:
        """Parse a line, split as in a shell.

        Raises:
            UsageError: If the line is invalid; the message suggests the nearest option.
        """
        try:
            return self.parse_args(shlex.split(line))
        except ValueError as error:
            raise UsageError(
                f"`{self.prog} {line.strip()}` cannot be parsed: {error}.",
                hint="Close the quotation, or put the apostrophe in double quotes.",
            ) from None

    def add_call_option(self, name: str, option: Option) -> None:
        """Add a call option's flag, if it has one; the value is stored under the option's name."""
        flags, _, metavar = option.flag.partition(" ")
        if not flags:
            return
        arguments: dict[str, Any] = {"action": "store_true"}  # argparse rejects a metavar for it
        if metavar:
            arguments = {"metavar": metavar, "type": option.parse_flag}
        if option.repeatable:
            arguments |= {"action": "append", "default": []}
        self.add_argument(*flags.split("/"), dest=name, help=option.help, **arguments)

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """The arguments and options."""
        return self._actions  # argparse has no public way to list them

    @property
    def option_strings(self) -> list[str]:
        """The flags of all options."""
        return [option for action in self.actions for option in action.option_strings]

    @property
    def synopsis(self) -> str:
        """The usage of the command, in one line."""
        return " ".join(self.format_usage().removeprefix("usage: ").split())

    def table(self) -> Table:
        """Describe the command and each of its arguments and options."""
        helps = ((action, action.help) for action in self.actions)
        rows = tuple((_usage_of(action), text) for action, text in helps if text)
        notes = (f"`{self.synopsis}`", self.description or "")
        return Table(rows, text_columns("argument", "what it does"), notes)

    @override
    def error(self, message: str) -> NoReturn:
        # argparse reports the error only as text.
        unknown = re.search(r"unrecognized arguments: (--?\S+)", message)
        suggestion = did_you_mean(unknown[1].split("=")[0], self.option_strings) if unknown else ""
        raise UsageError(f"{message}.{suggestion}", hint=f"Usage: `{self.synopsis}`")


def _usage_of(action: argparse.Action) -> str:
    """Return an option with its metavar, or the name of an argument."""
    value = "" if action.nargs == 0 else f" {action.metavar}"
    return f"{', '.join(action.option_strings)}{value}".strip()


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        name: The command's name.
        summary: What it does, in one line.
        run: Runs it with the session and the parsed arguments; returns what to show, or ``None``.
        arguments: Adds its arguments and options to a parser.
        raw: Whether the rest of the line is passed unparsed, as ``args.text``.
    """

    name: str
    summary: str
    run: Callable[[Session, argparse.Namespace], Any]
    arguments: Callable[[LineParser], object] = lambda _: None
    raw: bool = False

    def parser(self, prog: str) -> LineParser:
        """Return the command's parser, for a front end whose command lines begin with ``prog``."""
        parser = LineParser(f"{prog} {self.name}", self.summary)
        self.arguments(parser)
        return parser

    def __call__(self, session: Session, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Parse a line and run the command."""
        args = argparse.Namespace(text=line) if self.raw else self.parser(session.prog).read(line)
        return self.run(session, args)
