"""Manages the comparisons and votes of one view, independently of its widgets."""

from __future__ import annotations

import random
import string
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gatewayx_nb import images, prompts
from gatewayx_nb.comparisons.export import to_code
from gatewayx_nb.comparisons.history import ComparisonHistory, ComparisonRecord
from gatewayx_nb.comparisons.live import LiveComparison
from gatewayx_nb.comparisons.verdicts import Verdict
from gatewayx_nb.errors import UsageError
from gatewayx_nb.secure_config import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.comparisons.request import ComparisonRequest
    from gatewayx_nb.comparisons.run import ComparisonRun
    from gatewayx_nb.comparisons.verdicts import Vote
    from gatewayx_nb.secure_config import Config


class ComparisonPlanner(Protocol):
    """Plans comparisons; `EnginePool` implements it."""

    @property
    def config(self) -> Config:
        """The settings, including the limit on table rows in a prompt."""

    @property
    def plan_comparison(self) -> Callable[..., ComparisonRun]:
        """A function that plans calls to several models; nothing is sent."""


class ComparisonSession:
    """The latest run of a view, and the history of all its runs.

    Args:
        get_pool: Returns the pool.
        get_namespace: Returns the notebook's namespace, for ``{{name}}``.
        rng: The random generator that shuffles the columns if names are hidden.

    Attributes:
        history: The replies and votes of all runs.
        comparisons: The comparisons of the last run, one row for each input.
        run_number: Number of runs so far.
        request: The request of the last run.
    """

    def __init__(
        self,
        get_pool: Callable[[], ComparisonPlanner],
        get_namespace: Callable[[], Mapping[str, object]] = dict,
        rng: random.Random | None = None,
    ) -> None:
        self._get_pool, self._get_namespace = get_pool, get_namespace
        self._rng = rng or random.Random()  # noqa: S311 - not used for secrets
        self.history = ComparisonHistory()
        self.comparisons: list[LiveComparison] = []
        self.run_number = 0
        self.request: ComparisonRequest | None = None
        self._options: CallOptions = {}  # excluding the images and `{{input}}`

    @property
    def is_running(self) -> bool:
        """Whether any call is still running."""
        return not all(row_comparison.ended for row_comparison in self.comparisons)

    @property
    def code(self) -> str:
        """The code of a cell that repeats the last run; empty before the first run."""
        if self.request is None:
            return ""
        sent_prompts = [row_comparison.prompt for row_comparison in self.comparisons]
        return to_code(self.request, sent_prompts, self.comparisons[0].image_names)

    def run(self, request: ComparisonRequest) -> None:
        """Start a run; the history keeps the results of the previous run.

        Raises:
            UsageError: If the request is invalid, or the last run has not ended; nothing was sent.
        """
        if self.is_running:
            raise UsageError("The last run has not finished.", hint="Wait, or stop it.")
        self.record_finished()
        request.check()
        references = list(request.references) * request.samples
        if request.blind:
            # The order of selection would reveal the models.
            self._rng.shuffle(references)
        options: CallOptions = {**request.options}
        inputs = request.inputs or ("",)
        # All rows are planned before any is started, so that an error in one row is raised before
        # anything is sent.
        comparisons = [self._plan_row(request, references, options, value) for value in inputs]
        self.request, self.comparisons, self._options = request, comparisons, options
        self.run_number += 1
        for row_comparison in comparisons:
            row_comparison.start()

    def stop(self) -> None:
        """Stop all running calls and keep the partial replies."""
        for row_comparison in self.comparisons:
            row_comparison.stop()

    def retry(self, row: int, index: int) -> None:
        """Call the model in one column of a row again."""
        row_comparison = self.comparisons[row]
        options: CallOptions = {**row_comparison.options}  # type: ignore[typeddict-item]
        row_comparison.retry(
            index, lambda reference: self._plan_run(row_comparison.prompt, [reference], options)
        )

    def join(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for one of the running rows; return whether all have finished."""
        # Waiting for one row is sufficient, because callers wait in a loop.
        unfinished_row = next(
            (row_comparison for row_comparison in self.comparisons if not row_comparison.ended),
            None,
        )
        if unfinished_row is not None:
            unfinished_row.join(seconds)
        return not self.is_running

    def record_finished(self) -> None:
        """Store the finished rows in the history."""
        if self.request is None:
            return
        for row, row_comparison in enumerate(self.comparisons):
            if not row_comparison.ended:
                continue
            options = {
                **self._options,
                "images": _image_names(self.request, row_comparison.image_names),
            }
            record = ComparisonRecord(
                self.run_number, row_comparison.comparison, options, row_comparison.input, row
            )
            self.history.add(record)

    def record(self, row: int) -> ComparisonRecord | None:
        """Return the record of a row in the last run; ``None`` until the row has finished."""
        return self.history.find(self.run_number, row)

    def vote(self, row: int, vote: Vote, index: int | None = None) -> None:
        """Vote on the replies of a row; repeating the same vote withdraws it.

        Raises:
            UsageError: If some replies of the row have not finished.
        """
        self.record_finished()  # other rows may still be running
        record = self.record(row)
        if record is None:
            raise UsageError("Some replies have not finished.", hint="Wait, or stop the run.")
        previous_verdict = record.verdict
        verdict: Verdict | None = Verdict(
            vote, index, previous_verdict.note if previous_verdict else ""
        )
        # In a blind run, the first vote reveals the names, so it cannot be withdrawn.
        if verdict == previous_verdict and not self._is_blind:
            verdict = None
        self.history.set_verdict(self.run_number, row, verdict)

    def set_note(self, row: int, note: str) -> None:
        """Store the reason for a vote; do nothing if there is no vote."""
        record = self.record(row)
        if record and record.verdict:
            self.history.set_verdict(self.run_number, row, replace(record.verdict, note=note))

    def is_hidden(self, row: int) -> bool:
        """Return whether the names of a row's columns are hidden."""
        record = self.record(row)
        return self._is_blind and (record is None or record.verdict is None)

    def label(self, row: int, index: int) -> str:
        """Return a column's name, or a name such as ``Model A`` while names are hidden."""
        if self.is_hidden(row):
            return f"Model {string.ascii_uppercase[index % 26]}{index // 26 or ''}"
        return self.comparisons[row].columns[index].label

    @property
    def _is_blind(self) -> bool:
        return self.request is not None and self.request.blind

    def _plan_row(
        self, request: ComparisonRequest, references: list[str], options: CallOptions, value: str
    ) -> LiveComparison:
        """Plan the row for one value of ``{{input}}``: fill in the prompt, and send nothing."""
        limits = self._get_pool().config.settings.limits
        namespace = {**self._get_namespace(), **({"input": value} if request.inputs else {})}
        prompt = prompts.compose(request.prompt, namespace, (Secret,), rows=limits.table_rows)
        option_images = images.as_list(options.get("images", ()))
        # The prompt's own images come first, because it refers to them by number.
        all_images = (*prompt.images, *option_images, *request.images.values())
        if all_images:
            options = {**options, "images": all_images}
        run = self._plan_run(prompt.text, references, options)
        return LiveComparison(run, options, value, prompt.image_names)

    def _plan_run(self, prompt: str, references: list[str], options: CallOptions) -> ComparisonRun:
        return self._get_pool().plan_comparison(prompt, models=references, **options)


def _image_names(request: ComparisonRequest, image_names: tuple[str, ...]) -> str | None:
    """Return the names of the images that were sent: notebook values, files and uploads."""
    files = (
        str(image) if isinstance(image, str | Path) else type(image).__name__
        for image in images.as_list(request.options.get("images", ()))
    )
    return ", ".join([*image_names, *files, *request.images]) or None
