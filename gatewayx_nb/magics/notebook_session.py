"""The session for commands run in a notebook: its pool, file, display and history."""

from __future__ import annotations

import contextlib
import getpass
import os
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import IPython
from IPython.core.error import StdinNotImplementedError
from IPython.display import display
from typing_extensions import override

from gatewayx_nb import engine_pool, widgets
from gatewayx_nb.background import JobList, notebook_jobs
from gatewayx_nb.calls import Note
from gatewayx_nb.commands import COMMANDS, Session
from gatewayx_nb.errors import GatewayError, TrustError, UsageError
from gatewayx_nb.magics import cell, cell_history
from gatewayx_nb.magics.cell_run import (
    AnswerRun,
    CellRun,
    ColumnsRun,
    MapCellRun,
    dry_run,
    start_job,
)
from gatewayx_nb.magics.map_cell import MapCell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.background import Job
    from gatewayx_nb.batch import MapPreview
    from gatewayx_nb.calls import ConversationSlot, Table
    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.commands import Command, FailedCell, LineParser
    from gatewayx_nb.engine_pool import DryRun, EnginePool
    from gatewayx_nb.magics.outputs import Outputs
    from gatewayx_nb.replies import Reply

# The first versions with these features: of IPython for the first two, of ipykernel for the last.
_TIME_STOPS_SINCE, _TAB_COMPLETES_SINCE, _CLICKS_HANDLED_SINCE = (8, 0), (8, 6), (7, 0)


class NotebookSession(Session):
    """The session of one shell.

    Args:
        shell: The shell.
        outputs: Shows and binds the shell's answers.

    Attributes:
        last_shown: The last reply that a line has shown.
    """

    prog = "%gatewayx"
    ask_prog = "%%gatewayx"

    def __init__(self, shell: InteractiveShell, outputs: Outputs) -> None:
        self._shell = shell
        self._outputs = outputs
        self._line_count: tuple[object, int] = (None, 0)
        self._last_default = ""
        self._bypassed_cassette: Callable[[], Cassette | None] = lambda: None
        self.last_shown: Reply | None = None

    @property
    @override
    def commands(self) -> Mapping[str, Command]:
        return COMMANDS

    @property
    @override
    def pool(self) -> EnginePool:
        return engine_pool.pool()

    @property
    @override
    def notebook(self) -> Path | None:
        names = self._shell.user_ns
        # VS Code sets the first variable and Jupyter Server 2 the second, which ipykernel copies to
        # `__session__`.
        reported_path = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        path = Path(str(reported_path or names.get("__session__") or ""))
        return path if path.suffix == ".ipynb" else None

    @property
    @override
    def limitations(self) -> str:
        kernel = getattr(self._shell, "kernel", None)
        return limitations(IPython.__version__, getattr(kernel, "implementation_version", None))

    @property
    @override
    def jobs(self) -> JobList:
        return notebook_jobs

    @property
    @override
    def ask_parser(self) -> LineParser:
        return cell.parser()

    @override
    def ask_line(self, line: str) -> object:
        self.pool.refresh()
        rows = self.pool.config.settings.limits.table_rows
        parsed_cell = cell.read_line(line, self._shell.user_ns, rows)
        if parsed_cell is None:
            return self.ask_parser.table()
        run_or_output = self.prepare(parsed_cell, self._line_id())
        if isinstance(run_or_output, MapCellRun):
            return run_or_output.run()
        if not isinstance(run_or_output, AnswerRun):
            return run_or_output
        reply = run_or_output.run()
        # With `-q`, the reply has not been shown, so it is displayed if it is the line's value.
        self.last_shown = None if parsed_cell.quiet else reply
        return reply

    @override
    def map_line(self, line: str) -> object:
        raise UsageError(
            "the command `map` works only in a shell.", hint="Use `%%gatewayx REF --map FRAME`."
        )

    @override
    def eval_line(self, line: str) -> object:
        raise UsageError(
            "the command `eval` works only in a shell.",
            hint="Call `gx.evaluate(rows, prompts, …)`.",
        )

    def prepare(
        self, parsed_cell: cell.Cell | MapCell, cell_id: str | None
    ) -> CellRun | DryRun | MapPreview | Job:
        """Return the run of a cell, or the cell's output if there is nothing to wait for.

        Args:
            parsed_cell: The cell.
            cell_id: Identifies the cell's turn in a conversation, which a rerun replaces.
        """
        if isinstance(parsed_cell, MapCell):
            if parsed_cell.dry_run:
                return self.pool.preview_map(**parsed_cell.arguments)
            parsed_cell = replace(
                parsed_cell, notes=(*parsed_cell.notes, *self._notes(parsed_cell))
            )
            view, bind_result = (
                self._outputs.map_view(parsed_cell),
                self._outputs.map_binder(parsed_cell),
            )
            return MapCellRun(self.pool, parsed_cell, view, bind_result)
        parsed_cell = parsed_cell.in_chat(self.pool.chats, self._shell.user_ns, cell_id)
        if parsed_cell.dry_run:
            return dry_run(self.pool, parsed_cell)
        parsed_cell = replace(parsed_cell, notes=(*parsed_cell.notes, *self._notes(parsed_cell)))
        if parsed_cell.background:
            return self._start_job(parsed_cell)
        bind = self._outputs.binder(parsed_cell)
        if parsed_cell.references:
            return ColumnsRun(self.pool, parsed_cell, self._outputs.columns(parsed_cell), bind)
        return AnswerRun(self.pool, parsed_cell, self._outputs.view(parsed_cell), bind)

    def _notes(self, parsed_cell: cell.Cell | MapCell) -> Iterator[str]:
        """Return the notes on the default model and the bypassed cassette of a cell."""
        has_several_models = isinstance(parsed_cell, cell.Cell) and bool(parsed_cell.references)
        default_note = "" if has_several_models else self._default_note(parsed_cell)
        return filter(None, (default_note, self._fresh_note(parsed_cell)))

    def _default_note(self, parsed_cell: cell.Cell | MapCell) -> str:
        """Return a note for the first answer after changed keys have changed the default."""
        slot = cast("ConversationSlot | None", parsed_cell.options.get("chat"))
        if parsed_cell.options.get("model") or (slot and slot.model):
            return ""
        with contextlib.suppress(GatewayError):  # there is no default; the call raises the error
            previous_default, self._last_default = self._last_default, self.pool.default_model()
            # With a cassette, the output must not depend on this machine's keys.
            is_automatic = self.pool.chosen_default is None and self.pool.active_cassette is None
            if is_automatic and previous_default not in ("", self._last_default):
                return (
                    f"The default model is now `{self._last_default}` instead of"
                    f" `{previous_default}`, because keys have changed; `{self.prog} use"
                    f" {previous_default}` chooses `{previous_default}` again."
                )
        return ""

    def _fresh_note(self, parsed_cell: cell.Cell | MapCell) -> str:
        """Return a note for the first answer that bypasses the open cassette."""
        active_cassette = self.pool.active_cassette
        if (
            active_cassette is None
            or active_cassette.mode == "off"
            or self._bypassed_cassette() is active_cassette
        ):
            return ""
        if parsed_cell.quiet or not parsed_cell.options.get("fresh"):
            return ""
        self._bypassed_cassette = weakref.ref(active_cassette)
        renewal_hint = "" if active_cassette.mode == "replay" else " `--renew` replaces it."
        return (
            f"`--fresh` bypassed the cassette {active_cassette.path.name}; any entry for this call"
            f" is unchanged.{renewal_hint}"
        )

    def cell_id(self) -> str | None:
        """Return the front end's ID of the running cell; nbclient and terminals send none."""
        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            return None
        cell_id = kernel.get_parent("shell").get("metadata", {}).get("cellId")
        return None if cell_id is None else str(cell_id)

    def _line_id(self) -> str | None:
        """Return an ID for the running line: its cell's ID and its number within the cell."""
        cell_id = self.cell_id()
        running_cell = (self._shell.execution_count, cell_id)
        count = self._line_count[1] + 1 if self._line_count[0] == running_cell else 1
        self._line_count = (running_cell, count)
        return None if cell_id is None else f"{cell_id}:{count}"

    def _start_job(self, parsed_cell: cell.Cell) -> Job:
        """Start a job and bind it; in a terminal, print how to get its answer."""
        job = start_job(self.pool, self.jobs, parsed_cell, self._outputs.columns(parsed_cell))
        self._shell.user_ns[job.name] = job
        if not self._outputs.in_kernel and not parsed_cell.quiet:
            self.show(
                Note(f"Job {job.name} is running; `{job.name}.result()` waits for its answer.")
            )
        self._outputs.show_notes(parsed_cell)
        return job

    @override
    def answer(self, prompt: str, model: str, *notes: str) -> None:
        self.pool.refresh()
        parsed_cell = cell.Cell(prompt, {"model": model}, notes=notes)
        view, bind = self._outputs.view(parsed_cell), self._outputs.binder(parsed_cell)
        AnswerRun(self.pool, parsed_cell, view, bind).run()

    @override
    def forget(self, line: str) -> str:
        if cell_history.purge(self._shell, line):
            return "it was removed from the history, but the cell still contains it"
        database = "the history database (`%history -g` shows it)"
        return f"it could not be removed from {database}, and the cell still contains it"

    @override
    def ask_secret(self, question: str) -> str:
        try:
            return getpass.getpass(question)
        # nbclient and other non-interactive executors cannot prompt.
        except (StdinNotImplementedError, EOFError):
            file = (self.pool.config.project or self.pool.config.user).keys
            raise UsageError(
                "this front end cannot prompt for a key.",
                hint=f"Add `{question.strip(': ')}=…` to {file} in an editor.",
            ) from None

    @override
    def show(self, output: object) -> None:
        display(output)

    @override
    def compare_view(self, references: Sequence[str]) -> object:
        return widgets.compare_view(models=references)

    @override
    def last_failed_cell(self) -> FailedCell | None:
        return cell_history.last_failed_cell(self._shell)

    @override
    def confirm(self, table: Table, question: str) -> bool:
        display(table)
        try:
            return input(question).strip().lower() in ("y", "yes")
        except (StdinNotImplementedError, EOFError):
            raise TrustError(
                "this front end cannot ask for confirmation; nothing was changed.",
                hint="Run the line in a notebook, or in IPython in a terminal.",
            ) from None


def limitations(ipython: str, ipykernel: str | None) -> str:
    """Describe in one line what does not work in these versions; empty if everything works.

    >>> limitations("8.31.0", "6.29.5")
    'Limited on ipykernel 6.29.5: clicks on widgets wait while a cell streams.'

    Args:
        ipython: IPython's version.
        ipykernel: The version of ipykernel; ``None`` in a terminal.
    """
    packages, limitation_texts = [], []
    if _major_and_minor(ipython) < _TAB_COMPLETES_SINCE:
        packages.append(f"IPython {ipython}")
        limitation_texts.append("Tab does not complete gatewayx lines")
    if _major_and_minor(ipython) < _TIME_STOPS_SINCE:
        limitation_texts.append("`%%time` continues after a failed or stopped cell within it")
    if ipykernel is not None and _major_and_minor(ipykernel) < _CLICKS_HANDLED_SINCE:
        packages.append(f"ipykernel {ipykernel}")
        limitation_texts.append("clicks on widgets wait while a cell streams")
    return (
        f"Limited on {' and '.join(packages)}: {'; '.join(limitation_texts)}."
        if limitation_texts
        else ""
    )


def _major_and_minor(version: str) -> tuple[int, ...]:
    """Return the major and minor version numbers."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
