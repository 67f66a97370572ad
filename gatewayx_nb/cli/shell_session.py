"""The session for commands run from a shell: its pool, terminal output and prompts."""

from __future__ import annotations

import contextlib
import getpass
import shlex
import sys
from typing import TYPE_CHECKING, NoReturn, cast

from typing_extensions import override

from gatewayx_nb._lazy import attach
from gatewayx_nb.cli.asking import ask, ask_parser
from gatewayx_nb.cli.mapping import map_file
from gatewayx_nb.cli.standard_input import has_piped_text, piped_text
from gatewayx_nb.commands import SHELL_COMMANDS, Session
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import GatewayError, TrustError, UsageError
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayx_nb.background import JobList
    from gatewayx_nb.calls import Table
    from gatewayx_nb.cli.evaluating import evaluate_file  # noqa: F401 - imported on first use
    from gatewayx_nb.commands import Command, FailedCell, LineParser

# Imported on first use, because other commands need neither judges nor statistics.
_import_lazily, _ = attach(__name__, {"evaluate_file": "gatewayx_nb.cli.evaluating"})


class ShellSession(Session):
    """The session for one command line; its pool is created on first use."""

    prog = "gatewayx"
    ask_prog = "gatewayx ask"
    notebook = None
    limitations = ""

    def __init__(self) -> None:
        self._pool: EnginePool | None = None

    @property
    @override
    def pool(self) -> EnginePool:
        if self._pool is None:
            self._pool = EnginePool()
        return self._pool

    def close(self) -> None:
        """Close the pool, if there is one."""
        if self._pool is not None:
            self._pool.close()

    @property
    @override
    def commands(self) -> Mapping[str, Command]:
        return SHELL_COMMANDS

    @property
    @override
    def ask_parser(self) -> LineParser:
        return ask_parser()

    @override
    def ask_line(self, line: str) -> int:
        return ask(self, shlex.split(line))

    @override
    def map_line(self, line: str) -> int:
        return map_file(self, shlex.split(line))

    @override
    def eval_line(self, line: str) -> int:
        evaluate = cast("Callable[[Session, list[str]], int]", _import_lazily("evaluate_file"))
        return evaluate(self, shlex.split(line))

    def is_reference(self, word: str) -> bool:
        """Return whether a word is the name of an engine, an alias or ``engine:model``."""
        names = {row.name for row in self.pool.status(probe=False)}
        return not names.union(self.pool.config.settings.aliases).isdisjoint(
            (word, word.partition(":")[0])
        )

    @override
    def show(self, output: object) -> None:
        sys.stdout.write(f"{output!r}\n")

    @override
    def forget(self, line: str) -> str:
        return "your shell history still contains it"

    @override
    def ask_secret(self, question: str) -> str:
        if has_piped_text():
            return piped_text().strip()
        with contextlib.suppress(EOFError):
            if sys.stdin is not None and sys.stdin.isatty():
                return getpass.getpass(question)
        variable = question.strip(": ")  # `key set` asks "VARIABLE: "
        file = (self.pool.config.project or self.pool.config.user).keys
        raise UsageError(
            "entering the key requires a terminal.",
            hint=f"Pipe the key into this command, or add `{variable}=…` to {file} in an editor.",
        )

    @override
    def confirm(self, table: Table, question: str) -> bool:
        sys.stderr.write(f"{table!r}\n")
        try:
            if sys.stdin is not None and sys.stdin.isatty():
                return input(question).strip().lower() in ("y", "yes")
        except EOFError:
            return False
        # The ID is the last column of a row that is a tuple.
        ids = ",".join(getattr(row, "id", row[-1]) for row in table)
        raise TrustError(
            "confirmation requires a terminal; nothing was changed.",
            hint=Hint("trust", ids=ids),
        )

    # Shell commands do not use the members below, which only a notebook supports.

    @property
    @override
    def jobs(self) -> JobList:
        _only_in_a_notebook()

    @override
    def answer(self, prompt: str, model: str, *notes: str) -> None:
        _only_in_a_notebook()

    @override
    def compare_view(self, references: Sequence[str]) -> object:
        _only_in_a_notebook()

    @override
    def last_failed_cell(self) -> FailedCell | None:
        _only_in_a_notebook()


def _only_in_a_notebook() -> NoReturn:
    raise GatewayError("this command works only in a notebook.")
