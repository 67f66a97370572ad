"""The view that prompts several models side by side, with mouse and keyboard."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import ipywidgets
from typing_extensions import override

from gatewayx_nb.comparisons import ComparisonSession
from gatewayx_nb.display import INTERVAL, Throttle
from gatewayx_nb.errors import GatewayError, with_short_traceback
from gatewayx_nb.html import escape, inline_code
from gatewayx_nb.widgets.answer_columns import ComparisonRow
from gatewayx_nb.widgets.code import as_code
from gatewayx_nb.widgets.controls import button, close_all, fold
from gatewayx_nb.widgets.fields import Fields
from gatewayx_nb.widgets.keyboard import Keyboard
from gatewayx_nb.widgets.model_picker import ModelPicker
from gatewayx_nb.widgets.results import Results
from gatewayx_nb.widgets.saving import free, save
from gatewayx_nb.widgets.static_snapshot import StaticSnapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from gatewayx_nb.comparisons import Vote
    from gatewayx_nb.engine_pool import EnginePool

log = logging.getLogger("gatewayx_nb")

_SHARE = 5
"""Several replies may take a fifth of a CPU core to render."""


class ComparisonView(ipywidgets.VBox):  # type: ignore[misc]
    """Several models side by side: prompt them, watch and judge the replies, export the results.

    Args:
        pool: Returns the pool.
        names: Returns the notebook's namespace, for ``{{name}}`` in a prompt.
        prompt: The initial prompt.
        models: Initially selected references, or one.
        options: Initial keywords of the calls, such as ``system`` and ``temperature``.

    Attributes:
        picker: The model picker; its ``value`` contains the selected models.
    """

    def __init__(
        self,
        pool: Callable[[], EnginePool],
        names: Callable[[], Mapping[str, object]],
        prompt: str = "",
        models: str | Iterable[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._pool = pool
        self._contest = ComparisonSession(pool, names)
        self._lock = threading.RLock()  # a thread shows a run while clicks change it
        self._throttle = Throttle(time.monotonic, _SHARE)
        self._lanes: list[ComparisonRow] = []
        self._watcher: threading.Thread | None = None
        self._twin = StaticSnapshot()
        self.picker = ModelPicker(pool, models, is_open=not models)
        self._fields = Fields(prompt, options or {})
        self._keyboard = Keyboard("gatewayx-view", {"run": self._press_run, "stop": self.stop})
        super().__init__(self._parts())
        self.add_class("gatewayx-view")
        self.picker.observe(lambda _: self._offer(), "value")
        self._offer()

    @property
    def results(self) -> pd.DataFrame:
        """A row for each reply of all runs: question, parameters, reply, metrics, vote.

        Raises:
            ConfigError: If pandas is not installed.
        """
        return self._contest.history.to_frame()

    @property
    def code(self) -> str:
        """A cell that repeats the last run; empty before the first."""
        question, rounds = self._contest.question, self._contest.comparisons
        if question is None:
            return ""
        return as_code(question, [one.prompt for one in rounds], rounds[0].drawn)

    def run(self, *, wait: bool = True) -> None:
        """Run the prompt with the parameters in the fields.

        Args:
            wait: Whether to wait until all models have finished; else the replies arrive in the
                background.

        Raises:
            UsageError: If the fields are invalid; nothing was sent.
        """
        question = self._fields.question(self.picker.value)
        with self._lock:
            self._contest.run(question)
            self._begin()
        self._fields.remember(question.prompt)
        if wait:
            self._finish_waiting()

    def stop(self) -> None:
        """Stop the running calls and keep the partial replies."""
        self._contest.stop()

    def save(self, path: str | Path) -> Path:
        """Write all results to a new file: ``.csv``, ``.jsonl`` or ``.md``.

        Raises:
            GatewayError: If there are no results, or the file cannot be created.
        """
        return save(self._contest.history, path)

    @override
    def close(self) -> None:
        self.stop()
        with self._lock:
            self._contest.settle()
            close_all(*self.children, *(part for lane in self._lanes for part in lane.parts))
            close_all(self.layout)
        super().close()

    @override
    def __repr__(self) -> str:
        return f"ComparisonView({', '.join(self.picker.value)})"

    def _ipython_display_(self, **_: object) -> None:
        """Display the controls, with the output saved in the notebook below them."""
        from IPython.display import display

        if hasattr(self, "_repr_mimebundle_"):
            display(self._repr_mimebundle_(), raw=True)
        else:  # pragma: no cover - ipywidgets 7
            super()._ipython_display_()
        self._twin.show()

    # Actions of the buttons of a column.

    def stop_one(self, row: int, place: int) -> None:
        """Stop one column and keep its partial reply."""
        self._contest.comparisons[row].columns[place].stop()

    def retry(self, row: int, place: int) -> None:
        """Call one model again; show the reason if that is not possible."""
        self._trying(lambda: self._ask_again(row, place))

    def judge(self, row: int, vote: Vote, place: int | None = None) -> None:
        """Vote on a row of replies."""
        with self._lock:
            self._trying(lambda: self._contest.judge(row, vote, place))
            self._show(final=True)

    def remark(self, row: int, note: str) -> None:
        """Store the reason for a vote."""
        with self._lock:
            self._contest.remark(row, note)

    def _ask_again(self, row: int, place: int) -> None:
        with self._lock:
            self._contest.retry(row, place)
            self._begin()

    def _parts(self) -> list[ipywidgets.Widget]:
        """Create the parts, from top to bottom."""
        models = fold(
            "Models", self.picker, is_open=not self.picker.value, opened=self.picker.unfold
        )
        more = fold("Parameters, inputs, images", self._fields.more, is_open=False)
        self._run = button("Run", self._press_run, "Ask all (Ctrl-Enter)", "primary")
        self._stop = button("Stop", self.stop, "Stop all, and keep what has come (Esc)")
        self._stop.disabled = True
        self._mode = ipywidgets.ToggleButtons(
            options=[("Rendered", "rendered"), ("Raw", "raw"), ("Differences", "differences")],
            tooltips=["formatted", "as it was written", "only what differs, word by word"],
            style={"button_width": "auto"},
        )
        self._mode.observe(lambda _: self._show(final=True), "value")
        self._chosen, self._status = ipywidgets.HTML(), ipywidgets.HTML()
        self._answers = ipywidgets.VBox()
        self._results = Results(self._press_save, self._press_code)
        bar = ipywidgets.HBox([self._run, self._stop, self._mode], layout={"flex_flow": "row wrap"})
        return [
            self._keyboard,
            *models,
            self._chosen,
            self._fields.prompt,
            *more,
            bar,
            self._status,
            self._answers,
            self._results.box,
        ]

    def _press_run(self) -> None:
        """Run, unless a run is in progress."""
        if not self._contest.running:
            self._trying(lambda: self.run(wait=False))

    def _press_save(self) -> None:
        ending = self._results.ending
        self._trying(lambda: self._say(f"Saved {self.save(free('comparison', ending))}."))

    def _press_code(self) -> None:
        self._results.show_code(self.code)

    def _trying(self, act: Callable[[], object]) -> None:
        """Perform the action of a button; show an error in one line."""
        try:
            act()
        except GatewayError as error:
            self._say(str(error))
        except Exception as error:
            log.exception("the comparison view failed")
            self._say(f"{type(error).__name__}: {error}; the answers are in `results`.")

    def _say(self, line: str) -> None:
        self._status.value = f'<div role="status">{inline_code(line)}</div>'

    def _offer(self) -> None:
        """Show the selected models and the fields that all of them support."""
        chosen = self.picker.value
        names = ", ".join(chosen) or "no model is chosen"
        self._chosen.value = f"Models: {escape(names)}"
        takes: list[frozenset[str]] = []
        for reference in chosen:
            try:
                takes.append(self._pool().features(reference))
            except GatewayError as error:
                self._say(str(error))
        self._fields.offer(frozenset.intersection(*takes) if takes else frozenset())

    def _begin(self) -> None:
        """Show a run in a background thread, so that the kernel stays free."""
        self._run.disabled, self._stop.disabled, self._keyboard.running = True, False, True
        self._say("")
        self._trying(self._show)
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="gatewayx-view", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        """Update the run until its end; a reply that cannot be shown does not affect others."""
        while True:
            while not self._contest.join(INTERVAL):
                self._trying(self._show)
            with self._lock:
                if not self._contest.running:  # a retry may have started
                    self._watcher = None
                    self._end()
                    return

    def _end(self) -> None:
        """Show and save the complete results."""
        self._contest.settle()
        self._run.disabled, self._stop.disabled, self._keyboard.running = False, True, False
        self._trying(lambda: self._show(final=True))

    def _finish_waiting(self) -> None:
        """Block until a run ends; Ctrl-C stops it and keeps the partial replies."""
        watcher = self._watcher
        try:
            while watcher is not None and watcher.is_alive():
                watcher.join(INTERVAL)
        except KeyboardInterrupt as stop:
            self.stop()
            raise with_short_traceback(stop) from None

    def _show(self, *, final: bool = False) -> None:
        """Update the columns if an update is due."""
        with self._lock:
            if not (final or self._throttle.is_due) or not self._contest.comparisons:
                return
            with self._throttle.timed():
                self._show_lanes()
            if final and not self._contest.running:
                self._show_results()

    def _show_lanes(self) -> None:
        rounds = self._contest.comparisons
        while len(self._lanes) < len(rounds):
            self._lanes.append(ComparisonRow(len(self._lanes), self))
        shown = self._lanes[: len(rounds)]
        for lane in shown:
            lane.show(self._contest, self._mode.value)
        boxes = tuple(lane.box for lane in shown)
        if self._answers.children != boxes:
            self._answers.children = boxes
        self._throttle.length = sum(lane.length for lane in shown)

    def _show_results(self) -> None:
        """Show dispersion and rankings, and update the saved output."""
        contest = self._contest
        hidden = any(map(contest.is_hidden, range(len(contest.comparisons))))
        self._results.show(contest, hidden=hidden)
        records = [contest.record(row) for row in range(len(contest.comparisons))]
        self._twin.update([record for record in records if record and not hidden])
