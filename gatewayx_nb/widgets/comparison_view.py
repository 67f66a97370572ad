"""A view for prompting several models side by side, with the mouse or the keyboard."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import ipywidgets
from typing_extensions import override

from gatewayx_nb.comparisons import ComparisonSession, save_history, unused_path
from gatewayx_nb.display import INTERVAL, Throttle
from gatewayx_nb.errors import GatewayError, with_short_traceback
from gatewayx_nb.html import escape, inline_code
from gatewayx_nb.widgets.answer_columns import ComparisonRow
from gatewayx_nb.widgets.controls import (
    ROW_LAYOUT,
    button,
    close_all,
    collapsible,
    handle_in_current_thread,
    marimo_note,
    set_children,
)
from gatewayx_nb.widgets.keyboard import Keyboard
from gatewayx_nb.widgets.model_picker import ModelPicker
from gatewayx_nb.widgets.results import ResultsPanel
from gatewayx_nb.widgets.static_snapshot import StaticSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from gatewayx_nb.comparisons import Vote
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.widgets.fields import ComparisonFields

log = logging.getLogger("gatewayx_nb")

_PAUSE_FACTOR = 5
"""Pause after an update, as a multiple of the update's duration: at most 1/6 of a core is used."""


class ComparisonView(ipywidgets.VBox):  # type: ignore[misc]
    """A view in which to prompt several models side by side, judge replies and export results.

    Args:
        get_pool: Returns the pool.
        get_namespace: Returns the notebook's namespace, for ``{{name}}`` in a prompt.
        fields: The fields for the prompt and the parameters, with their initial values.
        models: The initially selected reference or references.

    Attributes:
        picker: The model picker; its ``value`` contains the selected models.
    """

    def __init__(
        self,
        get_pool: Callable[[], EnginePool],
        get_namespace: Callable[[], Mapping[str, object]],
        fields: ComparisonFields,
        models: str | Iterable[str] = (),
    ) -> None:
        self._get_pool = get_pool
        self._session = ComparisonSession(get_pool, get_namespace)
        self._lock = threading.RLock()  # a thread shows the run while clicks may change it
        self._throttle = Throttle(time.monotonic, _PAUSE_FACTOR)
        self._rows: list[ComparisonRow] = []
        self._thread: threading.Thread | None = None
        self._snapshot = StaticSnapshot()
        self.picker = ModelPicker(get_pool, models, is_open=not models)
        self._fields = fields
        self._keyboard = Keyboard("gatewayx-view", {"run": self._run_if_idle, "stop": self.stop})
        super().__init__(self._create_widgets())
        self.add_class("gatewayx-view")
        self.picker.observe(lambda _: self._update_fields(), "value")
        self._update_fields()

    @property
    def results(self) -> pd.DataFrame:
        """One row per reply, across all runs: prompt, parameters, reply, metrics, vote.

        Raises:
            ConfigError: If pandas is not installed.
        """
        return self._session.history.to_frame()

    @property
    def code(self) -> str:
        """The code of a cell that repeats the last run; empty before the first run."""
        return self._session.code

    def run(self, *, wait: bool = True) -> None:
        """Run the prompt with the parameters in the fields.

        Args:
            wait: Whether to wait until all models have finished; otherwise, the replies arrive in
                the background.

        Raises:
            UsageError: If the fields are invalid; nothing was sent.
        """
        request = self._fields.request(self.picker.value)
        with self._lock:
            self._session.run(request)
            self._show_in_background()
        # The prompt is stored only now, so that an invalid prompt is not remembered.
        self._fields.remember(request.prompt)
        if wait:
            self._wait()

    def stop(self) -> None:
        """Stop the running calls and keep the partial replies."""
        self._session.stop()

    def save(self, path: str | Path) -> Path:
        """Write all results to a new file: ``.csv``, ``.jsonl`` or ``.md``.

        Raises:
            GatewayError: If there are no results, or the file cannot be created.
        """
        return save_history(self._session.history, path)

    @override
    def close(self) -> None:
        self.stop()
        with self._lock:
            self._session.record_finished()
            # Rows and columns of earlier, larger runs are not among the children.
            close_all(*self.children, *(widget for row in self._rows for widget in row.widgets))
            close_all(self.layout)
        super().close()

    @override
    def __repr__(self) -> str:
        return f"ComparisonView({', '.join(self.picker.value)})"

    def _ipython_display_(self, **_: object) -> None:
        """Display the controls, and the output that the notebook saves below them."""
        from IPython.display import display

        if hasattr(self, "_repr_mimebundle_"):  # ipywidgets 8
            display(self._repr_mimebundle_(), raw=True)
        else:  # pragma: no cover - ipywidgets 7
            super()._ipython_display_()
        self._snapshot.show()

    def _mime_(self) -> tuple[str, str]:
        """Return the output for marimo, which does not support ipywidgets."""
        return marimo_note()

    # The methods below are the actions of a column's buttons.

    def stop_column(self, row: int, column: int) -> None:
        """Stop one column and keep its partial reply."""
        self._session.comparisons[row].columns[column].stop()

    def retry(self, row: int, column: int) -> None:
        """Call the model in one column again; show an error if this is not possible."""
        self._report_errors(lambda: self._retry(row, column))

    def vote(self, row: int, vote: Vote, column: int | None = None) -> None:
        """Vote on a row of replies."""
        with self._lock:
            self._report_errors(lambda: self._session.vote(row, vote, column))
            self._show(force=True)

    def set_note(self, row: int, note: str) -> None:
        """Store the reason for a vote."""
        with self._lock:
            self._session.set_note(row, note)

    def _retry(self, row: int, column: int) -> None:
        with self._lock:
            self._session.retry(row, column)
            self._show_in_background()

    def _create_widgets(self) -> list[ipywidgets.Widget]:
        """Create the widgets in the view, from top to bottom."""
        models = collapsible(
            "Models", self.picker, is_open=not self.picker.value, on_open=self.picker.unfold
        )
        parameters = collapsible(
            "Parameters, inputs, images", self._fields.parameter_box, is_open=False
        )
        self._run_button = button(
            "Run", self._run_if_idle, "Call all models (Ctrl-Enter)", "primary"
        )
        self._stop_button = button(
            "Stop", self.stop, "Stop all models and keep the partial replies (Esc)"
        )
        self._stop_button.disabled = True
        self._mode = ipywidgets.ToggleButtons(
            options=[("Rendered", "rendered"), ("Raw", "raw"), ("Differences", "differences")],
            tooltips=["formatted", "as written by the model", "only the differences, word by word"],
            style={"button_width": "auto"},
        )
        self._mode.observe(lambda _: self._show(force=True), "value")
        self._selection, self._status = ipywidgets.HTML(), ipywidgets.HTML()
        self._answers = ipywidgets.VBox()
        self._results = ResultsPanel(self._save_results, lambda: self._results.show_code(self.code))
        bar = ipywidgets.HBox(
            [self._run_button, self._stop_button, self._mode], layout=dict(ROW_LAYOUT)
        )
        return [
            self._keyboard,
            *models,
            self._selection,
            self._fields.prompt,
            *parameters,
            bar,
            self._status,
            self._answers,
            self._results.box,
        ]

    def _run_if_idle(self) -> None:
        """Run, unless a run is in progress."""
        if not self._session.is_running:
            self._report_errors(lambda: self.run(wait=False))

    def _save_results(self) -> None:
        path = unused_path("comparison", self._results.suffix)
        self._report_errors(lambda: self._results.show_saved(self.save(path)))

    def _report_errors(self, action: Callable[[], object]) -> None:
        """Perform a button's action; show an error in one line."""
        try:
            action()
        except GatewayError as error:
            self._set_status(error.describe())
        # A widget's callback must not raise: the traceback would go only to the kernel's log.
        except Exception as error:
            log.exception("the comparison view failed")
            self._set_status(f"{type(error).__name__}: {error}; the replies are in `results`.")

    def _set_status(self, line: str) -> None:
        self._status.value = f'<div role="status">{inline_code(line)}</div>'

    def _update_fields(self) -> None:
        """Show the selected models and the fields that all of them support."""
        references = self.picker.value
        self._selection.value = f"Models: {escape(', '.join(references) or 'none selected')}"
        features: list[frozenset[str]] = []
        for reference in references:
            try:
                features.append(self._get_pool().features(reference))
            except GatewayError as error:
                self._set_status(error.describe())
        self._fields.show_supported(features)

    def _show_in_background(self) -> None:
        """Show a run in a background thread, so that the kernel is not blocked."""
        self._set_running(running=True)
        self._set_status("")
        self._report_errors(self._show)
        if self._thread is None:  # after a retry, the run's thread may still be alive
            self._thread = threading.Thread(
                target=self._show_until_finished, name="gatewayx-view", daemon=True
            )
            self._thread.start()

    def _show_until_finished(self) -> None:
        """Update the columns until the run ends, even if a reply cannot be shown."""
        while True:
            while not self._session.join(INTERVAL):
                self._report_errors(self._show)
            with self._lock:
                if not self._session.is_running:  # a retry may have begun
                    self._thread = None
                    self._session.record_finished()
                    self._set_running(running=False)
                    self._report_errors(lambda: self._show(force=True))
                    return

    def _set_running(self, *, running: bool) -> None:
        self._run_button.disabled = self._keyboard.running = running
        self._stop_button.disabled = not running
        # Otherwise, changes to the fields might be handled only after the running cell has ended.
        handle_in_current_thread(self.picker, self._fields.prompt, self._fields.parameter_box)

    def _wait(self) -> None:
        """Block until a run ends; Ctrl-C stops it and keeps the partial replies."""
        # The lock is needed, because a thread that is about to end may still show the final
        # results.
        with self._lock:
            thread = self._thread
        try:
            # The wait is split into intervals, because Ctrl-C does not interrupt `join` on Windows.
            while thread is not None and thread.is_alive():
                thread.join(INTERVAL)
        except KeyboardInterrupt as interrupt:
            self.stop()
            raise with_short_traceback(interrupt) from None

    def _show(self, *, force: bool = False) -> None:
        """Update the columns if an update is due or forced, and the results after a run."""
        with self._lock:
            if not (force or self._throttle.is_due) or not self._session.comparisons:
                return
            with self._throttle.measure():
                self._show_rows()
            if force and not self._session.is_running:
                self._show_results()

    def _show_rows(self) -> None:
        count = len(self._session.comparisons)
        while len(self._rows) < count:
            self._rows.append(ComparisonRow(len(self._rows), self))
        rows = self._rows[:count]
        for row in rows:
            row.show(self._session, self._mode.value)
        set_children(self._answers, tuple(row.box for row in rows))
        self._throttle.html_length = sum(row.html_length for row in rows)

    def _show_results(self) -> None:
        """Show the statistics and rankings, and update the saved output."""
        session = self._session
        hide_names = any(map(session.is_hidden, range(len(session.comparisons))))
        self._results.show(session, hide_names=hide_names)
        records = [session.record(row) for row in range(len(session.comparisons))]
        self._snapshot.update([record for record in records if record and not hide_names])
