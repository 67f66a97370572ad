"""The ``%gatewayx`` and ``%%gatewayx`` magics and their short forms ``%gx`` and ``%%gx``."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import IPython
from IPython.core.error import StdinNotImplementedError
from IPython.core.magic import no_var_expand
from IPython.display import display as show
from typing_extensions import override

import gatewayx_nb  # for the modules that it imports on first use
from gatewayx_nb import commands, display, engine_pool
from gatewayx_nb.background import JobList
from gatewayx_nb.commands import Session, Table
from gatewayx_nb.errors import TrustError, UsageError
from gatewayx_nb.magics import (
    background,
    cell,
    columns,
    completer,
    history_purge,
    last_error,
    transforms,
    versions,
)
from gatewayx_nb.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.commands import FailedCell, Sheet
    from gatewayx_nb.comparisons import Comparison
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.magics.cell import Cell
    from gatewayx_nb.output_formats import OutputFormat


class GatewayMagics(Session):
    """The magics of one shell.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._depth = transforms.Depth()
        self._jobs = JobList()
        self._in_kernel = getattr(shell, "kernel", None) is not None
        self._tab = completer.matchers(self, shell)
        self._call_cell = transforms.CallCell(self._depth if self._in_kernel else None)

    @property
    @override
    def pool(self) -> EnginePool:
        return engine_pool.pool()

    @property
    @override
    def notebook(self) -> Path | None:
        names = self._shell.user_ns
        told = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        path = Path(str(told or names.get("__session__") or ""))
        return path if path.suffix == ".ipynb" else None

    @property
    @override
    def lacking(self) -> str:
        kernel = getattr(self._shell, "kernel", None)
        return versions.lacking(
            IPython.__version__, getattr(kernel, "implementation_version", None)
        )

    @override
    def ask(self, prompt: str, model: str) -> Reply:
        self.pool.refresh()
        asked = cell.Cell(prompt, {"model": model})
        view = display.PartialView(self._view(asked))
        return cell.ask(self.pool, asked, view, self._bind)

    @property
    @override
    def jobs(self) -> JobList:
        return self._jobs

    @override
    def show(self, shown: object) -> None:
        show(shown)

    @override
    def compare_view(self, references: Sequence[str]) -> object:
        return gatewayx_nb.compare_view(models=references)

    @override
    def failed(self) -> FailedCell | None:
        return last_error.last_failed_cell()

    @override
    def renew(self) -> None:
        opened = self.pool.active_cassette
        engine_pool.reset()
        if opened:
            self.pool.cassette(opened.path, opened.mode, speed=opened.speed)

    @override
    def forget(self, typed: str) -> bool:
        return history_purge.purge(self._shell, typed)

    @override
    def ask_secret(self, question: str) -> str:
        try:
            return getpass.getpass(question)
        except (StdinNotImplementedError, EOFError):
            keys = (self.pool.config.project or self.pool.config.user).keys
            raise UsageError(
                "this front end cannot ask for a key.",
                hint=f"Write `{question.strip(': ')}=…` into {keys} with an editor.",
            ) from None

    @override
    def confirm(self, shown: Table, question: str) -> bool:
        show(shown)
        try:
            return input(question).strip().lower() in ("y", "yes")
        except (StdinNotImplementedError, EOFError):
            raise TrustError(
                "there is nobody to ask here, and nothing was changed.",
                hint="Run the line in a notebook, or in a terminal's IPython.",
            ) from None

    @no_var_expand  # type: ignore[untyped-decorator]
    def line(self, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Run the command in ``%gatewayx …``; `%gatewayx help` lists the commands."""
        return commands.run(self, line)

    @no_var_expand  # type: ignore[untyped-decorator]
    def cell(self, line: str, body: str) -> Table | Sheet | None:
        """Send the lines below as a prompt; `%%gatewayx -h` lists the options."""
        if cell.wants_help(line):
            return cell.parser().table()
        asked = self._read(line, body)
        if asked.dry or asked.background:
            return self._without_waiting(asked)
        if asked.references:
            columns.compare(self.pool, asked, self._columns(asked), self._binder(asked))
            return None
        cell.ask(self.pool, asked, self._view(asked), self._binder(asked))
        return None

    @no_var_expand  # type: ignore[untyped-decorator]
    async def awaited(self, line: str, body: str) -> Table | Sheet | None:
        """Do the same on the kernel's event loop."""
        if cell.wants_help(line):
            return cell.parser().table()
        asked = self._read(line, body)
        if asked.dry or asked.background:
            return self._without_waiting(asked)
        if asked.references:
            await columns.acompare(self.pool, asked, self._columns(asked), self._binder(asked))
            return None
        await cell.aask(self.pool, asked, self._view(asked), self._binder(asked))
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
        shell.Completer.custom_matchers.extend(self._tab)
        shell.events.register("pre_run_cell", self._depth.enter)
        shell.events.register("post_run_cell", self._depth.leave)

    def unregister(self) -> None:
        """Remove the magics from the shell and stop the jobs."""
        self._jobs.close()
        shell = self._shell
        for name in transforms.NAMES:
            shell.magics_manager.magics["line"].pop(name, None)
            shell.magics_manager.magics["cell"].pop(name, None)
        shell.magics_manager.magics["cell"].pop(transforms.AWAITED, None)
        shell.input_transformers_cleanup.remove(transforms.keep_question)
        shell.input_transformers_post.remove(self._call_cell)
        for matcher in self._tab:
            shell.Completer.custom_matchers.remove(matcher)
        shell.events.unregister("pre_run_cell", self._depth.enter)
        shell.events.unregister("post_run_cell", self._depth.leave)

    def _read(self, line: str, body: str) -> Cell:
        """Parse a cell and check whether keys, settings or engines have changed."""
        if line.split()[:1] == ["key"]:
            raise commands.refusal(self, f"{line}\n{body}")
        self.pool.refresh()
        rows = self.pool.config.settings.limits.table_rows
        asked = cell.read(line, body, self._shell.user_ns, rows)
        return asked.in_chat(self.pool.chats, self._cell_id())

    def _without_waiting(self, asked: Cell) -> Sheet | None:
        """Return a preview of the request, or start a job."""
        if asked.dry:
            models = asked.references or (asked.options.get("model"),)
            calls: list[CallOptions] = [{**asked.options, "model": model} for model in models]
            return commands.sheet([self.pool.preview(asked.prompt, **call) for call in calls])
        job = background.start(self.pool, self.jobs, asked, self._columns(asked))
        self._shell.user_ns[job.name] = job
        if not self._in_kernel and not asked.quiet:
            show(commands.note(f"Job {job.name} runs; `{job.name}.result()` waits for its answer."))
        return None

    def _cell_id(self) -> str | None:
        """Return the front end's ID of the running cell; nbclient and terminals send none."""
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            return None
        cell_id = kernel.get_parent("shell").get("metadata", {}).get("cellId")
        return None if cell_id is None else str(cell_id)

    def _view(self, asked: Cell) -> display.View:
        if asked.quiet:
            return display.QuietView()
        if asked.at_once:
            return display.WholeView(self._shown_in(asked.form))
        return self._shown_in(asked.form)

    def _shown_in(self, form: OutputFormat) -> display.View:
        if self._in_kernel:
            return display.NotebookView(form=form)
        return display.TerminalView(form)

    def _columns(self, asked: Cell) -> display.ColumnsView:
        if asked.quiet:
            return display.QuietColumns()
        view = display.NotebookColumns() if self._in_kernel else display.TerminalColumns()
        return display.WholeColumns(view) if asked.at_once else view

    def _binder(self, asked: Cell) -> Callable[[Reply | Comparison], None]:
        def bind(reply: Reply | Comparison) -> None:
            self._bind(reply, asked.output)
            if asked.insert and isinstance(reply, Reply) and reply.parsed and not reply.replayed:
                self._shell.set_next_input(reply.parsed, replace=False)

        return bind

    def _bind(self, reply: Reply | Comparison, *names: str | None) -> None:
        self._shell.user_ns.update({name: reply for name in (cell.LAST, *names) if name})


_loaded: dict[int, GatewayMagics] = {}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load with ``%load_ext gatewayx_nb``: no output, no network, no file access."""
    if id(shell) not in _loaded:
        magics = _loaded[id(shell)] = GatewayMagics(shell)
        magics.register()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Unload with ``%unload_ext gatewayx_nb`` and close the engines."""
    magics = _loaded.pop(id(shell), None)
    if magics is not None:
        magics.unregister()
        engine_pool.reset()
