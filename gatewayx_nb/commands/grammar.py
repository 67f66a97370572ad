"""How a command's line is read: argparse, with errors that a notebook can show."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from typing_extensions import override

from gatewayx_nb.commands.outcomes import Table
from gatewayx_nb.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gatewayx_nb.commands.explain import Failed
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.jobs import Jobs
    from gatewayx_nb.messages import Reply


class Session(Protocol):
    """What a command acts on and asks."""

    @property
    def pool(self) -> EnginePool:
        """The engines."""
        ...

    @property
    def notebook(self) -> Path | None:
        """The notebook's file, where the front end tells it."""
        ...

    @property
    def lacking(self) -> str:
        """What works less on an IPython as old as this one, in one line."""
        ...

    def ask(self, prompt: str, model: str) -> Reply:
        """Ask a model and wait; what came of an answer that was stopped is shown."""
        ...

    def renew(self) -> None:
        """Build the pool anew, for a project folder that was just made."""
        ...

    def forget(self, typed: str) -> bool:
        """Take what was typed out of what a history keeps; tell whether that could be done."""
        ...

    def ask_secret(self, question: str) -> str:
        """Ask a person for a value that is not shown."""
        ...

    def show(self, shown: object) -> None:
        """Show something before the command has ended."""
        ...

    def compare_view(self, references: Sequence[str]) -> object:
        """Give the widget in which several models are compared."""
        ...

    def failed(self) -> Failed | None:
        """Give the last cell that raised."""
        ...

    @property
    def jobs(self) -> Jobs:
        """What runs in the background."""
        ...

    def confirm(self, shown: Table, question: str) -> bool:
        """Show a table and ask a person for yes or no; anything but a yes is a no.

        Raises:
            TrustError: There is nobody to ask.
        """
        ...


class Parser(argparse.ArgumentParser):
    """Reads words, and raises `UsageError` where argparse would end the process."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog=prog, description=description, add_help=False, allow_abbrev=False)

    def read(self, line: str) -> argparse.Namespace:
        """Read a line as a shell splits it.

        Raises:
            UsageError: It does not fit; the nearest option is named.
        """
        try:
            words = shlex.split(line)
        except ValueError as error:
            raise UsageError(
                f"`{self.prog} {line.strip()}` cannot be read: {error}.",
                mend="Close the quotation, or put the apostrophe into double quotes.",
            ) from None
        return self.parse_args(words)

    @property
    def synopsis(self) -> str:
        """How a line is written, in one line."""
        return " ".join(self.format_usage().removeprefix("usage: ").split())

    def table(self) -> Table:
        """Tell what the line is for, and each word and option of it."""
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
        hint = nearest(unknown.group(1).split("=")[0], known) if unknown else ""
        raise UsageError(f"{message}.{hint}", mend=f"Usage: `{self.synopsis}`")


def _spelling(action: argparse.Action) -> str:
    """Write an option with its value, or a word."""
    value = "" if action.nargs == 0 else f" {action.metavar}"
    return f"{', '.join(action.option_strings)}{value}".strip()


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: The word it is called by.
        summary: What it does, in one line.
        run: Does it; takes the session and the parsed words, gives what is shown, or ``None``.
        arguments: Adds its words and options to a parser.
        raw: Whether the rest of the line is taken as it was typed, as ``words.text``.
    """

    name: str
    summary: str
    run: Callable[[Session, argparse.Namespace], Any]
    arguments: Callable[[Parser], object] = lambda _: None
    raw: bool = False

    def parser(self) -> Parser:
        """Give the parser of its line."""
        parser = Parser(f"%gatewayx {self.name}", self.summary)
        self.arguments(parser)
        return parser

    def __call__(self, session: Session, line: str) -> Any:  # noqa: ANN401 - whatever it shows
        """Read a line and do it."""
        words = argparse.Namespace(text=line) if self.raw else self.parser().read(line)
        return self.run(session, words)
