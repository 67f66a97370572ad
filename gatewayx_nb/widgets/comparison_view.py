"""The view that asks several models side by side, with the mouse and by keys."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import ipywidgets
from typing_extensions import override

from gatewayx_nb import rendering
from gatewayx_nb.display import INTERVAL, Throttle
from gatewayx_nb.errors import GatewayError, in_one_line
from gatewayx_nb.widgets.code import as_code
from gatewayx_nb.widgets.contest import Contest
from gatewayx_nb.widgets.controls import button, close_all, fold
from gatewayx_nb.widgets.fields import Fields
from gatewayx_nb.widgets.keyboard import Keyboard
from gatewayx_nb.widgets.lanes import Lane
from gatewayx_nb.widgets.model_picker import ModelPicker
from gatewayx_nb.widgets.results import Results
from gatewayx_nb.widgets.saving import free, save
from gatewayx_nb.widgets.twin import Twin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import pandas as pd

    from gatewayx_nb.comparisons import Vote
    from gatewayx_nb.engine_pool import EnginePool

log = logging.getLogger("gatewayx_nb")

_SHARE = 5
"""Several answers may take a fifth of a core to render."""


class ComparisonView(ipywidgets.VBox):  # type: ignore[misc]
    """Several models side by side: asked, watched, judged, and taken along as data.

    Args:
        pool: Gives the pool.
        names: Gives the notebook's names, for ``{{name}}`` in a prompt.
        prompt: The prompt at first.
        models: References that are chosen at first, or one.
        options: Keywords of the calls at first, such as ``system`` and ``temperature``.

    Attributes:
        picker: The models that are chosen, its ``value``.
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
        self._contest = Contest(pool, names)
        self._lock = threading.RLock()  # a run is shown by a thread, and changed by who clicks
        self._throttle = Throttle(time.monotonic, _SHARE)
        self._lanes: list[Lane] = []
        self._watcher: threading.Thread | None = None
        self._twin = Twin()
        self.picker = ModelPicker(pool, models, is_open=not models)
        self._fields = Fields(prompt, options or {})
        self._keyboard = Keyboard("gatewayx-view", {"run": self._press_run, "stop": self.stop})
        super().__init__(self._parts())
        self.add_class("gatewayx-view")
        self.picker.observe(lambda _: self._offer(), "value")
        self._offer()

    @property
    def results(self) -> pd.DataFrame:
        """A row for each answer of all runs: question, parameters, answer, figures, vote.

        Raises:
            ConfigError: pandas is not installed.
        """
        return self._contest.journal.to_frame()

    @property
    def code(self) -> str:
        """A cell that asks again what the last run asked; empty before the first."""
        question, rounds = self._contest.question, self._contest.rounds
        if question is None:
            return ""
        return as_code(question, [one.prompt for one in rounds], rounds[0].drawn)

    def run(self, *, wait: bool = True) -> None:
        """Ask what the fields say.

        Args:
            wait: Whether to wait until all have ended; else the answers come while the notebook
                goes on.

        Raises:
            UsageError: It cannot be asked; nothing was sent.
        """
        question = self._fields.question(self.picker.value)
        with self._lock:
            self._contest.run(question)
            self._begin()
        self._fields.remember(question.prompt)
        if wait:
            self._finish_waiting()

    def stop(self) -> None:
        """Stop what runs, and keep what has come."""
        self._contest.stop()

    def save(self, path: str | Path) -> Path:
        """Write all results into a new file: ``.csv``, ``.jsonl`` or ``.md``.

        Raises:
            GatewayError: There is nothing to write, or the file cannot be made.
        """
        return save(self._contest.journal, path)

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
        """Show the controls, and below them what is saved of the answers."""
        from IPython.display import display

        if hasattr(self, "_repr_mimebundle_"):
            display(self._repr_mimebundle_(), raw=True)
        else:  # pragma: no cover - ipywidgets 7
            super()._ipython_display_()
        self._twin.show()

    # What the buttons of a column do.

    def stop_one(self, row: int, place: int) -> None:
        """Stop one column, and keep what has come of it."""
        self._contest.rounds[row].columns[place].stop()

    def retry(self, row: int, place: int) -> None:
        """Ask one model again; where that cannot be done, a line says why."""
        self._trying(lambda: self._ask_again(row, place))

    def judge(self, row: int, vote: Vote, place: int | None = None) -> None:
        """Vote on a row of answers."""
        with self._lock:
            self._trying(lambda: self._contest.judge(row, vote, place))
            self._show(final=True)

    def remark(self, row: int, note: str) -> None:
        """Note why a vote was given."""
        with self._lock:
            self._contest.remark(row, note)

    def _ask_again(self, row: int, place: int) -> None:
        with self._lock:
            self._contest.retry(row, place)
            self._begin()

    def _parts(self) -> list[ipywidgets.Widget]:
        """Make the parts, from top to bottom."""
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
        """Run, unless that was pressed before and goes on."""
        if not self._contest.running:
            self._trying(lambda: self.run(wait=False))

    def _press_save(self) -> None:
        ending = self._results.ending
        self._trying(lambda: self._say(f"Saved {self.save(free('comparison', ending))}."))

    def _press_code(self) -> None:
        self._results.show_code(self.code)

    def _trying(self, act: Callable[[], object]) -> None:
        """Do what was pressed; why it cannot be done is said in one line."""
        try:
            act()
        except GatewayError as error:
            self._say(str(error))
        except Exception as error:
            log.exception("the comparison view failed")
            self._say(f"{type(error).__name__}: {error}; the answers are in `results`.")

    def _say(self, line: str) -> None:
        self._status.value = f'<div role="status">{rendering.coded(line)}</div>'

    def _offer(self) -> None:
        """Show who is chosen, and the fields that all of them take."""
        chosen = self.picker.value
        names = ", ".join(chosen) or "no model is chosen"
        self._chosen.value = f"Models: {rendering.escape(names)}"
        takes: list[frozenset[str]] = []
        for reference in chosen:
            try:
                takes.append(self._pool().features(reference))
            except GatewayError as error:
                self._say(str(error))
        self._fields.offer(frozenset.intersection(*takes) if takes else frozenset())

    def _begin(self) -> None:
        """Show a run from its start, on a thread of its own, while the kernel does other things."""
        self._run.disabled, self._stop.disabled, self._keyboard.running = True, False, True
        self._say("")
        self._trying(self._show)
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="gatewayx-view", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        """Show a run until its end; an answer that cannot be shown takes no other with it."""
        while True:
            while not self._contest.join(INTERVAL):
                self._trying(self._show)
            with self._lock:
                if not self._contest.running:  # a retry may have come
                    self._watcher = None
                    self._end()
                    return

    def _end(self) -> None:
        """Show what came, whole, and keep it."""
        self._contest.settle()
        self._run.disabled, self._stop.disabled, self._keyboard.running = False, True, False
        self._trying(lambda: self._show(final=True))

    def _finish_waiting(self) -> None:
        """Wait for a run on this thread; Ctrl-C stops it, and keeps what came."""
        watcher = self._watcher
        try:
            while watcher is not None and watcher.is_alive():
                watcher.join(INTERVAL)
        except KeyboardInterrupt as stop:
            self.stop()
            raise in_one_line(stop) from None

    def _show(self, *, final: bool = False) -> None:
        """Show how the columns stand, if that is due."""
        with self._lock:
            if not (final or self._throttle.is_due) or not self._contest.rounds:
                return
            with self._throttle.timed():
                self._show_lanes()
            if final and not self._contest.running:
                self._show_results()

    def _show_lanes(self) -> None:
        rounds = self._contest.rounds
        while len(self._lanes) < len(rounds):
            self._lanes.append(Lane(len(self._lanes), self))
        shown = self._lanes[: len(rounds)]
        for lane in shown:
            lane.show(self._contest, self._mode.value)
        boxes = tuple(lane.box for lane in shown)
        if self._answers.children != boxes:
            self._answers.children = boxes
        self._throttle.length = sum(lane.length for lane in shown)

    def _show_results(self) -> None:
        """Show spread and standings, and what is saved."""
        contest = self._contest
        hidden = any(map(contest.is_hidden, range(len(contest.rounds))))
        self._results.show(contest, hidden=hidden)
        records = [contest.record(row) for row in range(len(contest.rounds))]
        self._twin.update([record for record in records if record and not hidden])
