"""What the magics of a shell do: run a command, ask a model, complete a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb import commands, engine_pool
from gatewayx_nb.calls import Note
from gatewayx_nb.magics import cell
from gatewayx_nb.magics.cell_run import AnswerRun, CellRun, ColumnsRun, dry_run, start_job
from gatewayx_nb.magics.completion import complete
from gatewayx_nb.magics.notebook_session import NotebookSession
from gatewayx_nb.magics.outputs import Outputs

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.calls import Table
    from gatewayx_nb.commands import DryRun
    from gatewayx_nb.magics.cell import Cell
    from gatewayx_nb.magics.completion import Completions


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

    def cell(self, line: str, body: str) -> Table | DryRun | None:
        """Send the lines below as a prompt; `%%gatewayx -h` lists the options."""
        prepared = self._prepare(line, body)
        if not isinstance(prepared, CellRun):
            return prepared
        prepared.run()
        return None

    async def awaited(self, line: str, body: str) -> Table | DryRun | None:
        """Send the lines below as a prompt, on the kernel's event loop."""
        prepared = self._prepare(line, body)
        if not isinstance(prepared, CellRun):
            return prepared
        await prepared.arun()
        return None

    def complete(self, text: str) -> Completions | None:
        """Return the completions of a cell's text up to the cursor; see `completion.complete`."""
        return complete(self._session, text, self._shell.user_ns)

    def close(self) -> None:
        """Stop the jobs and close the engines."""
        self._session.jobs.close()
        engine_pool.reset()

    def _prepare(self, line: str, body: str) -> CellRun | Table | DryRun | None:
        """Parse a cell; return its run, or its output if there is nothing to wait for."""
        if cell.wants_help(line):
            return cell.parser().table()
        if line.split()[:1] == ["key"]:
            raise commands.typed_key_error(self._session, f"{line}\n{body}")
        pool = self._session.pool
        pool.refresh()
        rows = pool.config.settings.limits.table_rows
        parsed = cell.read(line, body, self._shell.user_ns, rows)
        parsed = parsed.in_chat(pool.chats, self._cell_id())
        if parsed.dry_run:
            return dry_run(pool, parsed)
        if parsed.background:
            self._start_job(parsed)
            return None
        bind = self._outputs.binder(parsed)
        if parsed.references:
            return ColumnsRun(pool, parsed, self._outputs.columns(parsed), bind)
        return AnswerRun(pool, parsed, self._outputs.view(parsed), bind)

    def _start_job(self, parsed: Cell) -> None:
        """Start a job and bind it; without a page to show it, print how to get its answer."""
        session = self._session
        job = start_job(session.pool, session.jobs, parsed, self._outputs.columns(parsed))
        self._shell.user_ns[job.name] = job
        if not self._outputs.in_kernel and not parsed.quiet:
            session.show(
                Note(f"Job {job.name} is running; `{job.name}.result()` waits for its answer.")
            )

    def _cell_id(self) -> str | None:
        """Return the front end's ID of the running cell; nbclient and terminals send none."""
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            return None
        cell_id = kernel.get_parent("shell").get("metadata", {}).get("cellId")
        return None if cell_id is None else str(cell_id)
