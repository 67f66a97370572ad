"""The ``%gatewayx`` and ``%%gatewayx`` magics and their short forms ``%gx`` and ``%%gx``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.magic import no_var_expand

from gatewayx_nb import commands, engine_pool, hints
from gatewayx_nb.calls import Note
from gatewayx_nb.magics import cell, completion, transforms
from gatewayx_nb.magics.cell_run import AnswerRun, CellRun, ColumnsRun, dry_run, start_job
from gatewayx_nb.magics.notebook_session import NotebookSession
from gatewayx_nb.magics.outputs import Outputs
from gatewayx_nb.magics.wording import NOTEBOOK

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.calls import Table
    from gatewayx_nb.commands import DryRun
    from gatewayx_nb.magics.cell import Cell


class GatewayMagics:
    """The magics of one shell.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._outputs = Outputs(shell)
        self._session = NotebookSession(shell, self._outputs)
        self._depth = transforms.Depth()
        self._call_cell = transforms.CallCell(self._depth if self._outputs.in_kernel else None)
        # Kept, because `unregister` must remove the same objects.
        self._matchers = completion.matchers(self._session, shell)

    # IPython would replace `$name` and `{name}` in the line before the call.
    @no_var_expand  # type: ignore[untyped-decorator]
    def line(self, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Run the command in ``%gatewayx …``; `%gatewayx help` lists the commands."""
        return commands.run(self._session, line)

    @no_var_expand  # type: ignore[untyped-decorator]
    def cell(self, line: str, body: str) -> Table | DryRun | None:
        """Send the lines below as a prompt; `%%gatewayx -h` lists the options."""
        prepared = self._prepare(line, body)
        if not isinstance(prepared, CellRun):
            return prepared
        prepared.run()
        return None

    @no_var_expand  # type: ignore[untyped-decorator]
    async def awaited(self, line: str, body: str) -> Table | DryRun | None:
        """Send the lines below as a prompt, on the kernel's event loop."""
        prepared = self._prepare(line, body)
        if not isinstance(prepared, CellRun):
            return prepared
        await prepared.arun()
        return None

    def register(self) -> None:
        """Register the magics with the shell."""
        shell = self._shell
        for name in transforms.NAMES:
            shell.register_magic_function(self.line, "line", name)
            shell.register_magic_function(self.cell, "cell", name)
        shell.register_magic_function(self.awaited, "cell", transforms.AWAITED)
        shell.input_transformers_cleanup.append(transforms.keep_question)
        shell.input_transformers_post.append(self._call_cell)
        shell.Completer.custom_matchers.extend(self._matchers)
        shell.events.register("pre_run_cell", self._depth.enter)
        shell.events.register("post_run_cell", self._depth.leave)

    def unregister(self) -> None:
        """Remove the magics from the shell and stop the jobs."""
        self._session.jobs.close()
        shell = self._shell
        for magics in shell.magics_manager.magics.values():
            for name in (*transforms.NAMES, transforms.AWAITED):
                magics.pop(name, None)
        shell.input_transformers_cleanup.remove(transforms.keep_question)
        shell.input_transformers_post.remove(self._call_cell)
        for matcher in self._matchers:
            shell.Completer.custom_matchers.remove(matcher)
        shell.events.unregister("pre_run_cell", self._depth.enter)
        shell.events.unregister("post_run_cell", self._depth.leave)

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
            note = f"Job {job.name} is running; `{job.name}.result()` waits for its answer."
            session.show(Note(note))

    def _cell_id(self) -> str | None:
        """Return the front end's ID of the running cell; nbclient and terminals send none."""
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            return None
        cell_id = kernel.get_parent("shell").get("metadata", {}).get("cellId")
        return None if cell_id is None else str(cell_id)


_loaded: dict[int, GatewayMagics] = {}
"""The magics of each shell, by its ``id``: IPython passes only the shell when it unloads them."""


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load with ``%load_ext gatewayx_nb``: no output, no network, no file access."""
    # Loading twice, as in a notebook that is run again, must not register everything twice.
    if id(shell) not in _loaded:
        magics = _loaded[id(shell)] = GatewayMagics(shell)
        magics.register()
        hints.set_wording(NOTEBOOK)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Unload with ``%unload_ext gatewayx_nb`` and close the engines."""
    magics = _loaded.pop(id(shell), None)
    if magics is not None:
        magics.unregister()
        engine_pool.reset()
        if not _loaded:
            hints.set_wording()
