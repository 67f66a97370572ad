"""A comparison whose calls can be stopped and retried separately."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.comparisons.comparison import Comparison, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.comparisons.run import ComparisonRun


class LiveComparison:
    """A run of several models, in which single columns can be retried.

    Args:
        run: The run; nothing is sent before `start`.
        options: The options of the calls.
        input: The value of ``{{input}}``.
        image_names: The notebook expressions for the images in the prompt.

    Attributes:
        prompt: The prompt.
        columns: The current column at each position: the running or the latest call.
    """

    def __init__(
        self,
        run: ComparisonRun,
        options: Mapping[str, Any],
        input: str = "",  # noqa: A002 - the field's name
        image_names: tuple[str, ...] = (),
    ) -> None:
        self.prompt, self.options, self.input = run.prompt, options, input
        self.image_names = image_names
        self.columns = list(run.columns)
        self._runs = [run]

    @property
    def ended(self) -> bool:
        """Whether every position has an outcome."""
        return all(column.outcome is not None for column in self.columns)

    @property
    def comparison(self) -> Comparison:
        """The outcomes of the columns that have finished."""
        outcomes: list[tuple[str, Outcome]] = [
            (column.reference, column.outcome)
            for column in self.columns
            if column.outcome is not None
        ]
        references, answers = zip(*outcomes, strict=True) if outcomes else ((), ())
        return Comparison(self.prompt, references, answers)

    def start(self) -> None:
        """Start all columns; further calls have no effect."""
        for run in self._runs:
            run.start()

    def retry(self, index: int, plan: Callable[[str], ComparisonRun]) -> None:
        """Call the model at one position again, and discard its earlier answer.

        Args:
            index: The position, from 0.
            plan: Returns a run that calls only the model with this reference.
        """
        earlier_column = self.columns[index]
        # The earlier call may still be running.
        earlier_column.stop()
        run = plan(earlier_column.reference)
        # A run of a single model cannot number repeated references, so the old label is kept.
        run.columns[0].label = earlier_column.label
        self.columns[index] = run.columns[0]
        self._runs.append(run)
        run.start()

    def stop(self) -> None:
        """Stop the running columns and keep their partial answers."""
        for run in self._runs:
            run.stop()

    def join(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for one of the runs; return whether all positions have ended."""
        for column in self.columns:
            column.run_pending()
            column.settle_if_overdue()
        unfinished_run = next((run for run in self._runs if not run.ended), None)
        if unfinished_run is not None:
            unfinished_run.join(seconds)
        return self.ended
