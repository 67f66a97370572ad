"""Shows a shell's answers in displays, and binds them to the notebook's variables."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from IPython.display import display as show

from gatewayx_nb import display
from gatewayx_nb.batch import default_view
from gatewayx_nb.magics.cell_notes import MutedNote
from gatewayx_nb.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.batch import ProgressView
    from gatewayx_nb.comparisons import Comparison
    from gatewayx_nb.magics.cell import Cell
    from gatewayx_nb.magics.map_cell import MapCell
    from gatewayx_nb.schema import ResponseSchema

LAST = "_reply"
"""Name of the variable for the last reply."""


class Outputs:
    """The displays and variables of one shell.

    Args:
        shell: The shell.

    Attributes:
        in_kernel: Whether the shell is in a kernel, whose front end can update displays.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.in_kernel = getattr(shell, "kernel", None) is not None
        self._hidden_reply: Reply | None = None

    def view(self, cell: Cell) -> display.View:
        """Return a view of one answer."""
        if cell.quiet:
            return display.QuietView()
        schema = _schema(cell)
        view: display.View = display.TerminalView(cell.output_format, schema)
        if self.in_kernel:
            view = display.NotebookView(output_format=cell.output_format, schema=schema)
        return view if cell.streams else display.FinalView(view)

    def columns(self, cell: Cell) -> display.ColumnsView:
        """Return a view of several answers side by side."""
        if cell.quiet:
            return display.QuietColumns()
        schema = _schema(cell)
        view: display.ColumnsView = display.TerminalColumns(schema)
        if self.in_kernel:
            view = display.NotebookColumns(schema=schema)
        return view if cell.streams else display.FinalColumns(view)

    def binder(self, cell: Cell) -> Callable[[Reply | Comparison], None]:
        """Return a function that binds a result, inserts its code if requested, and shows notes."""

        def bind(result: Reply | Comparison) -> None:
            self._shell.user_ns[LAST] = result
            if cell.target:
                self._shell.user_ns[cell.target.variable] = cell.target.value(result)
            # Code from a replay is not inserted, so that a notebook does not grow when it is rerun.
            if cell.insert and isinstance(result, Reply) and result.parsed and not result.replayed:
                self._shell.set_next_input(result.parsed, replace=False)
            self.show_notes(cell)

        return bind

    def map_view(self, cell: MapCell) -> ProgressView | None:
        """Return a view of a map's progress."""
        if cell.quiet:
            return None
        return display.NotebookMapView() if self.in_kernel else default_view()

    def map_binder(self, cell: MapCell) -> Callable[[object], object]:
        """Return a function that binds the result of a map, or returns it as the cell's value."""

        def bind(result: object) -> object:
            self.show_notes(cell)
            if cell.target is None:
                return result
            self._shell.user_ns[cell.target.variable] = result
            return None

        return bind

    def show_notes(self, cell: Cell | MapCell) -> None:
        """Show the notes on a cell."""
        if cell.notes and not cell.quiet:
            show(MutedNote(*cell.notes))

    def hide_once(self, reply: Reply) -> None:
        """Suppress the display of a reply that becomes the value of the running cell.

        The reply was already shown as it arrived. `Out` and `_` still contain the reply.
        """
        if self._hidden_reply is None:
            formatter = self._shell.display_formatter.ipython_display_formatter
            formatter.for_type(Reply, self._show_unless_hidden)
            self._shell.events.register("post_run_cell", self._stop_hiding)
        self._hidden_reply = reply

    def _show_unless_hidden(self, reply: Reply) -> None:
        is_hidden = reply is self._hidden_reply
        self._stop_hiding()
        if not is_hidden:
            self._shell.display_pub.publish(reply._repr_mimebundle_())

    def _stop_hiding(self, *_: object) -> None:
        if self._hidden_reply is not None:
            self._hidden_reply = None
            self._shell.display_formatter.ipython_display_formatter.pop(Reply, None)
            self._shell.events.unregister("post_run_cell", self._stop_hiding)


def _schema(cell: Cell) -> ResponseSchema | None:
    return cast("ResponseSchema | None", cell.options.get("schema"))
