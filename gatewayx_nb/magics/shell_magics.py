"""Implements a shell's magics: runs commands, calls models and completes lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb import commands, engine_pool
from gatewayx_nb.background import Job
from gatewayx_nb.errors import UsageError
from gatewayx_nb.magics import cell
from gatewayx_nb.magics.cell_run import CellRun, MapCellRun
from gatewayx_nb.magics.completion import complete
from gatewayx_nb.magics.notebook_session import NotebookSession
from gatewayx_nb.magics.outputs import Outputs
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.batch import MapPreview
    from gatewayx_nb.calls import Table
    from gatewayx_nb.engine_pool import DryRun
    from gatewayx_nb.magics.completion import Completions

_MAX_LINE_LENGTH = 60
"""Maximum number of characters of a line in an error message."""


class ShellMagics:
    """The magics of one shell.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._outputs = Outputs(shell)
        self._session = NotebookSession(shell, self._outputs)

    def line(self, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Run the command in ``%gatewayx …``; `%gatewayx help` lists the commands."""
        return commands.run(self._session, line)

    def line_as_value(self, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Run a line whose output is the cell's value; do not show its reply a second time."""
        result = self.line(line)
        if isinstance(result, Reply) and result is self._session.last_shown:
            self._outputs.hide_once(result)
        return result

    def cell(self, line: str, body: str) -> object:
        """Send the lines below as a prompt; `%%gatewayx -h` lists the options."""
        run_or_output = self._prepare(line, body)
        if not isinstance(run_or_output, CellRun):
            return run_or_output
        value = run_or_output.run()
        return value if isinstance(run_or_output, MapCellRun) else None

    async def acell(self, line: str, body: str) -> object:
        """Send the lines below as a prompt, on the kernel's event loop."""
        run_or_output = self._prepare(line, body)
        if not isinstance(run_or_output, CellRun):
            return run_or_output
        value = await run_or_output.arun()
        return value if isinstance(run_or_output, MapCellRun) else None

    def complete(self, text: str) -> Completions | None:
        """Return the completions of a cell's text up to the cursor; see `completion.complete`."""
        return complete(self._session, text, self._shell.user_ns)

    def close(self) -> None:
        """Stop the jobs and close the engines."""
        self._session.jobs.close()
        engine_pool.reset()

    def _prepare(self, line: str, body: str) -> CellRun | Table | DryRun | MapPreview | None:
        """Parse a cell; return its run, or the cell's output if there is nothing to wait for."""
        session = self._session
        word = (*line.split(maxsplit=1), "")[0]
        if word == "key":
            raise commands.typed_key_error(session, f"{line}\n{body}")
        if word in commands.COMMANDS:
            raise _command_error(word, line)
        if cell.wants_help(line):
            return session.ask_parser.table()
        pool = session.pool
        pool.refresh()
        rows = pool.config.settings.limits.table_rows
        parsed_cell = cell.read(line, body, self._shell.user_ns, rows)
        run_or_output = session.prepare(parsed_cell, session.cell_id())
        return None if isinstance(run_or_output, Job) else run_or_output


def _command_error(word: str, line: str) -> UsageError:
    """Return the error for a cell whose first word is a command."""
    hint = f"Use one %: `%gatewayx {shorten(line, _MAX_LINE_LENGTH)}`."
    if word == "ask":
        hint = "Write `%%gatewayx REF`, and the prompt on the lines below it."
    return UsageError(f"{word!r} is a command, and commands begin with one %.", hint=hint)
