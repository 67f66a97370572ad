"""Command-line parsing: argparse, with errors that a notebook can show."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from typing_extensions import override

from gatewayx_nb.commands.outcomes import Table
from gatewayx_nb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gatewayx_nb.background import JobList
    from gatewayx_nb.commands.explain import FailedCell
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.replies import Reply


class Session(Protocol):
    """What a command needs from its environment."""

    @property
    def pool(self) -> EnginePool:
        """The engine pool."""
        ...

    @property
    def notebook(self) -> Path | None:
        """Path of the notebook, if the front end reports it."""
        ...

    @property
    def lacking(self) -> str:
        """What this old an IPython limits, in one line."""
        ...

    def ask(self, prompt: str, model: str) -> Reply:
        """Call a model and wait; show the partial answer if it is stopped."""
        ...

    def renew(self) -> None:
        """Build the pool again, for a new project folder."""
        ...

    def forget(self, typed: str) -> bool:
        """Remove a line from the input history; return whether that succeeded."""
        ...

    def ask_secret(self, question: str) -> str:
        """Prompt for a value without showing it."""
        ...

    def show(self, shown: object) -> None:
        """Display something while the command is running."""
        ...

    def compare_view(self, references: Sequence[str]) -> object:
        """Return the widget that compares several models."""
        ...

    def failed(self) -> FailedCell | None:
        """Return the last cell that raised an exception."""
        ...

    @property
    def jobs(self) -> JobList:
        """The background jobs."""
        ...

    def confirm(self, shown: Table, question: str) -> bool:
        """Show a table and ask the user for confirmation; anything but yes means no.

        Raises:
            TrustError: If nobody can answer.
        """
        ...


class Parser(argparse.ArgumentParser):
    """Argument parser that raises `UsageError` where argparse would exit the process."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, add_help=False, allow_abbrev=False)

    def read(self, line: str) -> argparse.Namespace:
        """Parse a line, split as in a shell.

        Raises:
            UsageError: If the line is invalid; the message suggests the nearest option.
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(
                f"`{self.prog} {line.strip()}` cannot be read: {error}.",
                hint="Close the quotation, or put the apostrophe into double quotes.",
            ) from None
        return self.parse_args(words)

    @property
    def synopsis(self) -> str:
        """The usage of the command, in one line."""
        return " ".join(self.format_usage().removeprefix("usage: ").split())

    def table(self) -> Table:
        """Describe the command and each of its arguments and options."""
        rows = tuple(
            (_spelling(action), action.help)
            for action in self._actions
            if action.help not in (None, argparse.SUPPRESS)
        )
        return Table(("word", "what it does"), rows, (f"`{self.synopsis}`", self.description or ""))

    @override
    def error(self, message: str) -> NoReturn:
        known = [option for action in self._actions for option in action.option_strings]
        unknown = re.search(r"unrecognized arguments: (--?\S+)", message)
        hint = did_you_mean(unknown.group(1).split("=")[0], known) if unknown else ""
        raise UsageError(f"{message}.{hint}", hint=f"Usage: `{self.synopsis}`")


def _spelling(action: argparse.Action) -> str:
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
        raw: Whether the rest of the line is passed unparsed, as ``words.text``.
    """

    name: str
    summary: str
    run: Callable[[Session, argparse.Namespace], Any]
    arguments: Callable[[Parser], object] = lambda _: None
    raw: bool = False

    def parser(self) -> Parser:
        """Return the command's parser."""
        parser = Parser(f"%gatewayx {self.name}", self.summary)
        self.arguments(parser)
        return parser

    def __call__(self, session: Session, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Parse a line and run the command."""
        words = argparse.Namespace(text=line) if self.raw else self.parser().read(line)
        return self.run(session, words)
