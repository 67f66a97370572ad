"""Defines commands, and the interface of the session in which they run."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from gatewayx_nb._lazy import attach
from gatewayx_nb.commands.line_parser import LineParser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gatewayx_nb.background import JobList
    from gatewayx_nb.calls import Table
    from gatewayx_nb.engine_pool import EnginePool


Where = Literal["everywhere", "notebook", "shell"]


@dataclass(frozen=True, slots=True)
class FailedCell:
    """A cell that raised an exception.

    Attributes:
        source: The cell's source; empty if unknown.
        line: Number of the line that raised the exception, from 1; 0 if unknown.
        error: The exception's class and message, without the traceback.
        advice: The exception's own advice; empty if there is none.
    """

    source: str
    line: int
    error: str
    advice: str = ""


class Session(Protocol):
    """The services that a command needs from its front end."""

    @property
    def prog(self) -> str:
        """The prefix of a command line in this front end."""

    @property
    def ask_prog(self) -> str:
        """The prefix of a call with options in this front end."""

    @property
    def commands(self) -> Mapping[str, Command]:
        """The commands of this front end, by name."""

    @property
    def pool(self) -> EnginePool:
        """The engine pool."""

    @property
    def notebook(self) -> Path | None:
        """Path of the notebook, if the front end reports it."""

    @property
    def limitations(self) -> str:
        """A line on the features that do not work in this front end; empty if all work."""

    @property
    def jobs(self) -> JobList:
        """The background jobs."""

    @property
    def ask_parser(self) -> LineParser:
        """The parser of the options of a call."""

    def ask_line(self, line: str) -> object:
        """Call a model with a line that contains a reference, options and the prompt as typed.

        Returns:
            The reply, which has already been shown.
        """

    def map_line(self, line: str) -> object:
        """Ask about each row of a file; the line contains the files and the options."""

    def eval_line(self, line: str) -> object:
        """Score prompts and models on the rows of a file; the line names the file and options."""

    def answer(self, prompt: str, model: str, *notes: str) -> None:
        """Call a model and show its answer as it arrives, with metrics and notes."""

    def forget(self, line: str) -> str:
        """Remove a line from the input history; return a clause that says where copies remain."""

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
        """Show a table and ask the user for confirmation; any answer other than yes means no.

        Raises:
            TrustError: If the front end cannot ask.
        """


@dataclass(frozen=True, slots=True)
class Handler:
    """A function of this package whose module is imported at the first call.

    A front end thus imports only the commands that it runs, and `gatewayx ask` starts faster.
    """

    module: str
    name: str

    def load(self) -> Callable[..., Any]:
        """Return the function."""
        module_name = f"{_PACKAGE}.{self.module}"
        get, _ = attach(module_name, {self.name: module_name})
        return cast("Callable[..., Any]", get(self.name))

    def __call__(self, *args: object) -> Any:  # noqa: ANN401 - the function's result
        """Call the function."""
        return self.load()(*args)


_PACKAGE = "gatewayx_nb.commands"


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        name: The command's name.
        summary: What the command does, in one line.
        run: Runs the command with the session and the parsed arguments; returns the output to show,
            or ``None``.
        arguments: Adds the command's arguments and options to a parser.
        raw: Whether the rest of the line is passed unparsed, as ``args.text``.
        where: The front ends that have the command.
    """

    name: str
    summary: str
    run: Callable[[Session, argparse.Namespace], Any]
    arguments: Callable[[LineParser], object] = lambda _: None
    raw: bool = False
    where: Where = "everywhere"

    def parser(self, prog: str) -> LineParser:
        """Return the command's parser, for a front end whose command lines begin with ``prog``."""
        prog, help_line = f"{prog} {self.name}", f"{prog} help {self.name}"
        parser = LineParser(prog, self.summary, help_line, is_from_shell=self.where == "shell")
        self.arguments(parser)
        return parser

    def __call__(self, session: Session, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Parse a line and run the command."""
        args = argparse.Namespace(text=line) if self.raw else self.parser(session.prog).read(line)
        return self.run(session, args)
